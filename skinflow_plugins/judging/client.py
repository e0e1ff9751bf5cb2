"""One call to an OpenAI-compatible chat server: its text, or a named failure that never shows the key.

Connections, retries with backoff and `Retry-After` are those of the package `openai`, which is imported when
the first client is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from skinflow_plugins.errors import WorkFailed

if TYPE_CHECKING:
    import openai

    from skinflow_plugins.judging.settings import Judge

Kind = Literal["transport", "timeout", "refusal", "unparsable"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_HOPELESS = frozenset((401, 403, 404, 405))
"""Statuses that every further call would meet too: key, rights, address, model."""
_REFUSED = ("content_filter", "content_policy", "responsible_ai")
# What a server may not know of our request, each with the words by which it then complains.
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "response_format": ("response_format", "json_schema", "guided", "grammar", "structured"),
    "seed": ("seed",),
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens",),  # newer models of one provider want `max_completion_tokens`
}
_LONGEST_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave nothing.

    `transport`: no connection, a broken one, or an error status. `timeout`: no answer in time. `refusal`: the
    judge or its filter declined. `unparsable`: an answer that is not what was asked for.
    `hopeless` says that all other calls would fail alike.
    """

    kind: Kind
    detail: str
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call: a text, or a failure (with the text that caused it, if there was one)."""

    text: str = ""
    failure: Failure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Client:
    """Asks one judge. Use it as an asynchronous context manager, in one event loop."""

    def __init__(self, judge: Judge) -> None:
        try:
            import openai
        except ImportError as error:
            raise WorkFailed("a judge needs the package openai: pip install openai") from error

        self._judge = judge
        self._key = judge.key()
        self._unknown: frozenset[str] = frozenset()  # options that the server turned out not to take
        self._client = openai.AsyncOpenAI(
            base_url=judge.endpoint.rstrip("/"),
            api_key=self._key or "none",  # the client insists on one; a server without keys ignores it
            timeout=judge.timeout,
            max_retries=judge.retries,
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=not judge.local,  # no proxy stands between us and a server on this machine
                follow_redirects=False,  # data go to the address that was named, and to no other
            ),
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    @property
    def unknown_options(self) -> tuple[str, ...]:
        """The options of a request that this server does not take, and that are left out since."""
        return tuple(sorted(self._unknown))

    async def ask(
        self, messages: Sequence[Mapping[str, str]], *, schema: Mapping[str, Any], seed: int
    ) -> Answer:
        """The server's answer to a chat; its text should fit the schema, but nobody has looked yet."""
        import openai

        try:
            async with asyncio.timeout(self._judge.deadline):
                return self._read(await self._create(messages, schema, seed))
        except openai.APITimeoutError:
            return self._failed("timeout", f"no answer within {self._judge.timeout:g} s, nor at any retry")
        except TimeoutError:
            return self._failed("timeout", f"no answer within {self._judge.deadline:g} s, retries included")
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            return self._failed("transport", f"{type(cause).__name__}: {cause}")
        except openai.APIStatusError as error:
            return self._status(error)
        except (openai.OpenAIError, ValueError) as error:
            # A body that calls itself JSON and is none.
            return self._failed("unparsable", f"the server's reply is no chat completion: {error}")

    async def _create(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int
    ) -> Any:
        """The raw completion, without the options that the server does not know.

        An option is forgotten for good only once a request without it went well: a server may complain of a
        request for another reason and name the option in passing.
        """
        import openai

        unknown = self._unknown
        while True:
            try:
                found = await self._client.chat.completions.create(
                    **self._request(messages, schema, seed, unknown)
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                option = _complaint(error, unknown)
                if option is None:
                    raise
                unknown |= {option}
            else:
                self._unknown |= unknown
                return found

    def _request(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any],
        seed: int,
        unknown: frozenset[str],
    ) -> dict[str, Any]:
        judge = self._judge
        request: dict[str, Any] = {"model": judge.model, "messages": list(messages)}
        if "temperature" not in unknown:
            request["temperature"] = judge.heat
        if "seed" not in unknown:
            request["seed"] = seed
        if "response_format" not in unknown:
            form = {"name": "verdicts", "strict": True, "schema": dict(schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        limit = "max_completion_tokens" if "max_tokens" in unknown else "max_tokens"
        return {**request, limit: judge.max_tokens}

    def _read(self, completion: Any) -> Answer:
        usage = getattr(completion, "usage", None)
        tokens = [_count(getattr(usage, name, None)) for name in ("prompt_tokens", "completion_tokens")]
        try:
            choice = completion.choices[0]
            text, refusal, end = choice.message.content, choice.message.refusal, choice.finish_reason
        except (AttributeError, IndexError, KeyError, TypeError):
            return self._failed("unparsable", "the server's reply is no chat completion", "", *tokens)
        shown = text if isinstance(text, str) else ""
        if refusal or end == "content_filter":
            return self._failed(
                "refusal", str(refusal or "stopped by the server's content filter"), shown, *tokens
            )
        if end == "length":
            detail = f"cut off after max_tokens = {self._judge.max_tokens}; allow more of them"
            return self._failed("unparsable", detail, shown, *tokens)
        return Answer(shown, None, *tokens)

    def unreadable(self, answer: Answer, detail: str) -> Answer:
        """The same answer as a failure of the kind `unparsable`."""
        return self._failed("unparsable", detail, answer.text, answer.prompt_tokens, answer.completion_tokens)

    def _status(self, error: openai.APIStatusError) -> Answer:
        status = error.status_code
        if _says(error, _REFUSED) and status in (400, 403, 422):
            return self._failed("refusal", f"HTTP {status}: {error.message}")
        if status in (401, 403):
            # Servers like to quote the key, or a part of it, in these answers.
            source = self._judge.key_source
            detail = f"HTTP {status}: the server does not take the key " + (
                f"in {source}" if source else "(none was sent; name the variable that holds it)"
            )
            return self._failed("transport", detail, hopeless=True)
        if status in _HOPELESS or 300 <= status < 400:
            hint = "is the model's name right, and does the address end in /v1?"
            return self._failed("transport", f"HTTP {status}: {error.message}; {hint}", hopeless=True)
        return self._failed("transport", f"HTTP {status}: {error.message}")

    def _failed(
        self,
        kind: Kind,
        detail: str,
        text: str = "",
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        *,
        hopeless: bool = False,
    ) -> Answer:
        detail = " ".join(self._without_key(detail).split())[:_LONGEST_DETAIL]
        failure = Failure(kind, detail, hopeless)
        return Answer(self._without_key(text), failure, prompt_tokens, completion_tokens)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "(key)") if self._key else text


def _complaint(error: openai.APIStatusError, unknown: frozenset[str]) -> str | None:
    """The option of our request that the server seems not to take, if any is left to try without."""
    if _says(error, _REFUSED):
        return None
    left = [option for option in _OPTIONS if option not in unknown]
    for option in left:
        if _says(error, _OPTIONS[option]):
            return option
    return "response_format" if "response_format" in left else None


def _says(error: openai.APIStatusError, words: Sequence[str]) -> bool:
    text = f"{error.message} {error.code} {error.param}".lower()
    return any(word in text for word in words)


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
