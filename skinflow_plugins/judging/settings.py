"""Which judge is asked, and how: checked before the first call. The key itself is never held here."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import InitVar, dataclass
from urllib.parse import urlsplit

from skinflow_plugins.errors import InputError, Problem

DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OFF = "off"
"""The value of `cache` with which no answer is kept."""
_CACHE_HINT = 'leave it out for the usual file, or say "off" for none'
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

    `timeout` is for one attempt; `deadline` is for a question, from when it was put until its answer is
    there, with all waiting and retries; both in seconds. `failure_share` is the share of calls, and of
    records, that may fail; beyond it the work stops. `prompt` is the name of a built-in prompt or the path of
    a YAML file.

    At most `concurrency` calls are under way at a time, and in no minute more than `requests_per_minute` and
    about `tokens_per_minute` (of prompt and reply), where these are set; all three are for one process.
    `cache` is the file of kept answers, "off", or None for `$SKINFLOW_CACHE/judge.sqlite3` (see
    `cache_path`). An answer is found again by address and model name, and a server may serve another model
    under the same name: then remove the old ones, by `skinflow judge cache prune --model NAME`.
    `prompt_price` and `completion_price` are what a million tokens cost in `currency`; without them a judge
    counts as free of charge.

    `check_key=False` leaves out whether the key's variable is set here: for reading settings that are meant
    for another machine. Raises `InputError` with all mistakes.
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
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    cache: str | None = None
    prompt_price: float | None = None
    completion_price: float | None = None
    currency: str = "USD"
    check_key: InitVar[bool] = True

    def __post_init__(self, check_key: bool) -> None:
        problems = [
            *self._address_problems(),
            *self._key_problems(check_key),
            *self._number_problems(),
            *self._account_problems(),
        ]
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

    @property
    def priced(self) -> bool:
        """Whether a price is known."""
        return self.prompt_price is not None or self.completion_price is not None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost, in `currency`."""
        prompt, completion = self.prompt_price or 0.0, self.completion_price or 0.0
        return (prompt_tokens * prompt + completion_tokens * completion) / 1e6

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

    def _key_problems(self, check_key: bool) -> Iterator[Problem]:
        name = self.key_variable
        if name and not _NAME.fullmatch(name):
            # Somebody may have given the key itself: say nothing of what was found.
            yield Problem(
                "expected the name of an environment variable that holds the judge's key, not the key",
                hint=f"such as {DEFAULT_KEY_VARIABLE}",
            )
        elif not check_key:
            return
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
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                yield Problem(f"found {value!r}; expected a whole number, 1 or more, or nothing", path=name)
        if self.temperature is not None and not (_is_number(self.temperature) and 0 <= self.temperature <= 2):
            yield Problem(f"found {self.temperature!r}; expected 0 to 2", path="temperature")
        if not (_is_number(self.failure_share) and 0 <= self.failure_share <= 1):
            yield Problem(f"found {self.failure_share!r}; expected a share, 0 to 1", path="failure_share")

    def _account_problems(self) -> Iterator[Problem]:
        if self.cache is not None and not str(self.cache).strip():
            yield Problem("found an empty name; expected the path of a file", path="cache", hint=_CACHE_HINT)
        for name in ("prompt_price", "completion_price"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                yield Problem(f"found {value!r}; expected a price per million tokens, 0 or more", path=name)
        if not re.fullmatch(r"[A-Za-z]{3}|[^\w\s]{1,3}", str(self.currency)):
            message = f"found {self.currency!r}; expected a code of three letters or a sign, such as USD"
            yield Problem(message, path="currency")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
