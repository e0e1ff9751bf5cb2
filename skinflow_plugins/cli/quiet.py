"""Less noise around a run: progress bars, warnings and errors stay; repetition and advice go."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

# swift takes its level from LOG_LEVEL; the rest are read by transformers, tokenizers and child processes.
# Not TRANSFORMERS_VERBOSITY: above `warning` the trainer takes its progress bar away.
ENVIRONMENT = {
    "LOG_LEVEL": "WARNING",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}


def hush(root: Path) -> None:
    """Nothing; later imports and child processes say less. A variable that the user has set stays.

    `root` is the run folder, whose models are our own work.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ["PYTHONWARNINGS"] == "ignore":
        warnings.simplefilter("ignore")
    if os.environ["LOG_LEVEL"] == "WARNING":
        logging.getLogger("swift").addFilter(Repetition(root))
        logging.getLogger("transformers.configuration_utils").addFilter(_no_dtype)


def _no_dtype(record: logging.LogRecord) -> bool:
    """Not that swift sets `torch_dtype` of a config: nobody but swift can follow that advice."""
    return "`torch_dtype` is deprecated" not in record.getMessage()


class Repetition(logging.Filter):
    """Lets each warning of swift through once; it says most of them at every loading of a model.

    Two are never worth a line here: that a model below the run folder, which this run wrote itself, may bring
    code; and that `decord` is missing, which only reads videos.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = str(root.absolute())
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.WARNING:
            return True
        text = record.getMessage()
        known = text in self.said
        self.said.add(text)
        return not known and "decord" not in text and not (self.root in text and "trust_remote_code" in text)
