"""Which judge is asked, and how: checked before the first call. The key itself is never held here."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from skinflow_plugins.errors import InputError, Problem

DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_KEY = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Judge:
    """A model behind an OpenAI-compatible address, and the manner of asking it.

    Each question is asked `runs` times and the majority counts. Runs can only differ when the judge samples,
    so `temperature` is 0 for one run and 0.7 for more unless you set it, and run r is sampled with the seed
    `seed + r`, for servers that take one.

    `key_variable` names the environment variable that holds the key. Without it OPENAI_API_KEY is taken, if
    it is set and the address is https or of this machine: a key is not sent in the clear to another machine
    unless you name its variable. A server that wants no key needs none.

    `timeout` is for one attempt and `deadline` for a call with all its retries, in seconds. `failure_share`
    is the share of calls, and of records, that may fail; beyond it the work stops. `prompt` is the name of a
    built-in prompt or the path of a YAML file. Raises `InputError` with all mistakes.
    """

    endpoint: str
    model: str
    runs: int = 3
    temperature: float | None = None
    seed: int = 0
    key_variable: str = ""
    concurrency: int = 16
    timeout: float = 60.0
    deadline: float = 300.0
    retries: int = 3
    max_tokens: int = 2048
    failure_share: float = 0.2
    prompt: str = "ranked"

    def __post_init__(self) -> None:
        problems = [*self._address_problems(), *self._key_problems(), *self._number_problems()]
        if not self.model.strip():
            problems.append(
                Problem("the judge has no model", hint="give the name that its server knows it by")
            )
        if problems:
            raise InputError(problems)

    @property
    def heat(self) -> float:
        """The temperature that is asked for: `temperature`, or its default for this number of runs."""
        if self.temperature is not None:
            return self.temperature
        return 0.0 if self.runs == 1 else 0.7

    @property
    def local(self) -> bool:
        """Whether the address is one of this machine."""
        return urlsplit(self.endpoint).hostname in LOOPBACK

    @property
    def key_source(self) -> str:
        """The environment variable that the key comes from, "" when none is sent."""
        if self.key_variable:
            return self.key_variable
        safe = self.local or urlsplit(self.endpoint).scheme == "https"
        return DEFAULT_KEY_VARIABLE if safe and os.environ.get(DEFAULT_KEY_VARIABLE, "").strip() else ""

    def key(self) -> str | None:
        """The key, read from the environment at this moment; None when none is sent."""
        return os.environ.get(self.key_source, "").strip() or None if self.key_source else None

    def _address_problems(self) -> Iterator[Problem]:
        hint = "such as http://127.0.0.1:8000/v1; `skinflow serve` prints its own"
        try:
            parts = urlsplit(self.endpoint)
            parts.port  # noqa: B018 - raises when it is none
        except ValueError:
            yield Problem("the judge's address is no URL", hint=hint)
            return
        # An address with a password in it must not be shown either.
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            yield Problem(
                "the judge's address holds more than a place: a user, a password, a query or a fragment",
                hint="a key belongs into an environment variable",
            )
        elif (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or self.endpoint.split() != [self.endpoint]
        ):
            yield Problem(f"found {self.endpoint!r}; expected the judge's address as a URL", hint=hint)

    def _key_problems(self) -> Iterator[Problem]:
        name = self.key_variable
        if name and not _NAME.fullmatch(name):
            # Somebody may have given the key itself: say nothing of what was found.
            yield Problem(
                "expected the name of an environment variable that holds the judge's key, not the key",
                hint=f"such as {DEFAULT_KEY_VARIABLE}",
            )
        elif name and not os.environ.get(name, "").strip():
            yield Problem(
                "the environment variable that was named for the judge's key is not set or empty",
                hint="name the variable, not the key; a server that wants no key needs none",
            )
        elif (key := os.environ.get(name or DEFAULT_KEY_VARIABLE, "").strip()) and not _KEY.fullmatch(key):
            message = (
                f"the key in {name or DEFAULT_KEY_VARIABLE} holds a space or a character that is not ASCII"
            )
            yield Problem(message, hint="its value is not shown here")

    def _number_problems(self) -> Iterator[Problem]:
        least = {"runs": 1, "concurrency": 1, "retries": 0, "max_tokens": 16, "seed": 0}
        most = {"runs": 99, "concurrency": 1024, "retries": 20}
        for name, low in least.items():
            value, high = getattr(self, name), most.get(name)
            if type(value) is not int or value < low or (high is not None and value > high):
                expected = f"{low} to {high}" if high is not None else f"{low} or more"
                yield Problem(f"found {value!r}; expected a whole number, {expected}", path=name)
        for name in ("timeout", "deadline"):
            value = getattr(self, name)
            if not _is_number(value) or value <= 0:
                yield Problem(f"found {value!r}; expected seconds, more than 0", path=name)
        if self.temperature is not None and not (_is_number(self.temperature) and 0 <= self.temperature <= 2):
            yield Problem(f"found {self.temperature!r}; expected 0 to 2", path="temperature")
        if not (_is_number(self.failure_share) and 0 <= self.failure_share <= 1):
            yield Problem(f"found {self.failure_share!r}; expected a share, 0 to 1", path="failure_share")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
