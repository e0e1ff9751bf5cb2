"""What was computed from an image, kept within a limit of bytes; the values are nobody's to change.

Keys are made of content (see `contents`), so what is found under one is what would be computed again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.bridge.reuse.contents import NoContent, bytes_of, copied


@dataclass(frozen=True)
class _Kept:
    value: Any
    size: int


class PixelCache:
    """Values by key, `limit` bytes of them at most; those that were used longest ago go first.

    Any number of threads may ask. `hits` and `misses` count what was found and what was computed, `bytes` is
    what is kept now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.hits = self.misses = self.bytes = 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._made: dict[Hashable, threading.Event] = {}  # what some thread computes at this moment
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` computes for the key, or a copy of what it computed before; errors are not kept.

        swift encodes the completions of a group in several threads at once. The first one computes, and the
        others wait for it.
        """
        while True:
            with self._lock:
                if (found := self._kept.get(key)) is not None:
                    self._kept.move_to_end(key)
                    self.hits += 1
                    break
                if (others := self._made.get(key)) is None:
                    mine = self._made[key] = threading.Event()
                    self.misses += 1
            if others is None:
                return self._make(key, make, mine)
            others.wait()
        return copied(found.value)

    def _make(self, key: Hashable, make: Callable[[], Any], mine: threading.Event) -> Any:
        try:
            value = make()
            self._keep(key, value)
            return value
        finally:
            with self._lock:
                del self._made[key]
            mine.set()

    def _keep(self, key: Hashable, value: Any) -> None:
        try:
            size = bytes_of(value)
            if size > self.limit:
                return
            kept = _Kept(copied(value), size)  # whoever asked owns the value
        except NoContent:
            return
        with self._lock:
            self._kept[key] = kept
            self.bytes += size
            while self.bytes > self.limit:
                self.bytes -= self._kept.popitem(last=False)[1].size

    def clear(self) -> None:
        """Give the memory back; the counts stay."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0
