"""How a broken contract is worded: the plug-in's name, the law, and what was found."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


class Check:
    """Words a broken law, with the plug-in's name in front."""

    def __init__(self, who: str) -> None:
        self.who = who

    def fail(self, law: str, found: str = "") -> NoReturn:
        """Raise the `AssertionError` of a law that does not hold."""
        raise AssertionError(f"{self.who}: {law}" + (f": {found}" if found else ""))

    @contextmanager
    def law(self, law: str) -> Iterator[None]:
        """Whatever is raised within breaks `law`."""
        try:
            yield
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{self.who}: {law}: {type(error).__name__}: {error}") from error

    def pickled(self, declared: Any) -> Any:
        """A copy of a declared plug-in by way of a pickle."""
        law = "it survives pickling (declare it at the top level of a module, under its function's name)"
        with self.law(law):
            copied = pickle.loads(pickle.dumps(declared))
        if type(copied) is not type(declared) or copied.name != declared.name:
            self.fail(law, f"came back as {copied!r}")
        return copied
