"""`python -m skinflow_plugins.cli`, for when the `skinflow` program is not on the PATH."""

import sys

from skinflow_plugins.cli import main

if __name__ == "__main__":
    sys.exit(main())
