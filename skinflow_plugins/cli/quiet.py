"""Less noise around a run: progress bars, our own lines and errors stay; advice and deprecations go."""

from __future__ import annotations

import os
import warnings

# swift takes its level from LOG_LEVEL; the rest are read by transformers, tokenizers and child processes.
ENVIRONMENT = {
    "LOG_LEVEL": "WARNING",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}


def hush() -> None:
    """Nothing; later imports and child processes say less. A variable that the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ["PYTHONWARNINGS"] == "ignore":
        warnings.simplefilter("ignore")
