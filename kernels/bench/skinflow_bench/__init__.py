"""What the programs of this folder share: cases, rows, checks, clocks, floors, tables.

Importing this package puts the `skinflow_kernels` that is to be measured first on the import path: that of
this tree, or of the folder that the environment variable SKINFLOW_BENCH_KERNELS names (`--base` sets it for
the other revision). So a checkout can be measured without being installed.
"""

import os
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
ROOT = BENCH.parents[1]
VARIABLE = "SKINFLOW_BENCH_KERNELS"

sys.path.insert(0, os.environ.get(VARIABLE, str(ROOT / "kernels")))
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # for skinflow_plugins, where it is not installed
