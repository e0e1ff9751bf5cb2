"""Keeping a key out of texts: whatever a server says of it is shown as `(key)`."""

from __future__ import annotations

import json
import logging
import re
from urllib.parse import quote

SHOWN = "(key)"
_LEAST_SECRET = 8
"""A shorter key, such as EMPTY, is a word that may stand within others."""
_TRACED = [f"{package}.{part}" for package in ("httpcore", "httpcore2") for part in ("http11", "http2")]
"""Loggers that, when they are set to DEBUG, write every header of a response, as the server made it."""


class KeyMask:
    """Takes one key out of texts; without a key it leaves them as they are."""

    def __init__(self, key: str | None) -> None:
        self._pattern: re.Pattern[str] | None = None
        if key:
            # As it is, and as JSON or an address spells it.
            spellings = {key, json.dumps(key)[1:-1], quote(key), quote(key, safe="")}
            found = "|".join(re.escape(each) for each in sorted(spellings, key=len, reverse=True))
            whole = found if len(key) >= _LEAST_SECRET else rf"(?<!\w)(?:{found})(?!\w)"
            self._pattern = re.compile(whole)

    def hide(self, text: str) -> str:
        """The text without the key."""
        return self._pattern.sub(SHOWN, text) if self._pattern is not None else text

    def hide_in_logs(self) -> None:
        """Have the key taken out of what the connection logs, for as long as this process lives."""
        if self._pattern is None or any(each.pattern == self._pattern.pattern for each in _filter.patterns):
            return
        _filter.patterns.append(self._pattern)
        for name in _TRACED:
            logging.getLogger(name).addFilter(_filter)  # adding it twice is adding it once


class _Filter(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self.patterns: list[re.Pattern[str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for pattern in self.patterns:
            text = pattern.sub(SHOWN, text)
        record.msg, record.args = text, ()
        return True


_filter = _Filter()
