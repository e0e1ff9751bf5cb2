"""One call to an OpenAI-compatible chat server: its text, or a named failure that never shows the key.

Connections, retries with backoff and `Retry-After` are those of the package `openai`, which is imported when
the first client is made. Calls go through its documented `post` and take the body as text: its chat
resource checks every field of request and reply against models, which costs more than the call itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.judging.key_mask import KeyMask

if TYPE_CHECKING:
    import openai

    from skinflow_plugins.judging.settings import Judge

Kind = Literal["transport", "timeout", "refusal", "unparsable", "open"]
KINDS: tuple[Kind, ...] = ("transport", "timeout", "refusal", "unparsable")
"""Of calls that were made."""

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
_attempts: ContextVar[list[int]] = ContextVar("attempts of the call under way")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave nothing.

    `transport`: no connection, a broken one, or an error status. `timeout`: no answer in time. `refusal`: the
    judge or its filter declined. `unparsable`: an answer that is not what was asked for.
    `open`: the call was not made, because the judge is out of order.

    `hopeless` says that all other calls would fail alike; `outage` that the failure speaks of the server, and
    not of this one request or its answer.
    """

    kind: Kind
    detail: str
    hopeless: bool = False
    outage: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call: a text, or a failure (with the text that caused it, if there was one).

    The key is in neither. `retries` are the attempts beyond the first; `left_out` the options of the request
    that the server does not take.
    """

    text: str = ""
    failure: Failure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    left_out: tuple[str, ...] = ()


class Client:
    """Asks one judge. Use it as an asynchronous context manager, in one event loop.

    `unknown` are options that the server is known not to take; `attempted` is called at every attempt beyond
    the first of a call.
    """

    def __init__(
        self,
        judge: Judge,
        unknown: Iterable[str] = (),
        attempted: Callable[[], object] = lambda: None,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise WorkFailed("a judge needs the package openai: pip install openai") from error

        self._judge = judge
        key = judge.key()
        self._mask = KeyMask(key)
        self._mask.hide_in_logs()
        self._unknown = frozenset(each for each in unknown if each in _OPTIONS)
        self._attempted = attempted
        self._client = openai.AsyncOpenAI(
            base_url=judge.endpoint.rstrip("/"),
            api_key=key or "none",  # the client insists on one; a server without keys ignores it
            timeout=judge.timeout,
            max_retries=judge.retries,
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=not judge.local,  # no proxy stands between us and a server on this machine
                follow_redirects=False,  # data go to the address that was named, and to no other
                event_hooks={"request": [self._count_attempt]},
            ),
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    @property
    def unknown_options(self) -> tuple[str, ...]:
        """The options of a request that this server does not take, and that are left out since."""
        return tuple(sorted(self._unknown))

    async def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        schema: Mapping[str, Any],
        seed: int,
        name: str = "verdicts",
        max_tokens: int | None = None,
        retries: int | None = None,
        within: float | None = None,
    ) -> Answer:
        """The server's answer to a chat; its text should fit the schema, but nobody has looked yet.

        `name` is that of the schema. `max_tokens`, `retries` and the seconds `within` which there must be an
        answer are the judge's own (its deadline) unless they are given.
        """
        import openai

        judge = self._judge
        within = judge.deadline if within is None else within
        limit = judge.max_tokens if max_tokens is None else max_tokens
        form = {"name": name, "strict": True, "schema": schema}
        request = {"messages": messages, "form": form, "seed": seed, "limit": limit}
        attempts = [0]
        token = _attempts.set(attempts)
        try:
            async with asyncio.timeout(within):
                completion, left_out = await self._create(request, retries)
                answer = replace(self._read(completion, limit), left_out=left_out)
        except openai.APITimeoutError:
            detail = f"no answer within {judge.timeout:g} s, nor at any retry"
            answer = self._failed("timeout", detail, outage=True)
        except TimeoutError:
            detail = f"no answer within {within:.3g} s, retries included"
            answer = self._failed("timeout", detail, outage=True)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            answer = self._failed("transport", f"{type(cause).__name__}: {cause}", outage=True)
        except openai.APIStatusError as error:
            answer = self._status(error)
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            # A body that calls itself JSON and is none.
            answer = self._failed("unparsable", f"the server's reply is no chat completion: {error}")
        finally:
            _attempts.reset(token)
        return replace(answer, retries=max(0, attempts[0] - 1))

    async def _count_attempt(self, _: object) -> None:
        attempts = _attempts.get([0])
        attempts[0] += 1
        if attempts[0] > 1:
            self._attempted()

    async def _create(self, request: Mapping[str, Any], retries: int | None) -> tuple[Any, tuple[str, ...]]:
        """The completion as plain values, and the options that the server did not know.

        An option is forgotten for good only once a request without it went well: a server may complain of a
        request for another reason and name the option in passing.
        """
        import openai

        unknown = self._unknown
        while True:
            try:
                text = await self._client.post(
                    "/chat/completions",
                    cast_to=str,
                    body=self._body(request, unknown),
                    options={} if retries is None else {"max_retries": retries},
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                option = _complaint(error, unknown)
                if option is None:
                    raise
                unknown |= {option}
            else:
                self._unknown |= unknown
                return json.loads(text), tuple(sorted(unknown))

    def _body(self, request: Mapping[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
        judge = self._judge
        body: dict[str, Any] = {"model": judge.model, "messages": _encodable(list(request["messages"]))}
        if "temperature" not in unknown:
            body["temperature"] = judge.heat
        if "seed" not in unknown:
            body["seed"] = request["seed"]
        if "response_format" not in unknown:
            body["response_format"] = {"type": "json_schema", "json_schema": request["form"]}
        limit = "max_completion_tokens" if "max_tokens" in unknown else "max_tokens"
        return {**body, limit: request["limit"]}

    def _read(self, completion: Any, limit: int) -> Answer:
        usage = completion.get("usage") if isinstance(completion, dict) else None
        counts = usage if isinstance(usage, dict) else {}
        tokens = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
        try:
            choice = completion["choices"][0]
            message, end = choice["message"], choice.get("finish_reason")
            text, refusal = message.get("content"), message.get("refusal")
        except (AttributeError, IndexError, KeyError, TypeError):
            return self._failed("unparsable", "the server's reply is no chat completion", "", *tokens)
        shown = text if isinstance(text, str) else ""
        if refusal or end == "content_filter":
            return self._failed(
                "refusal", str(refusal or "stopped by the server's content filter"), shown, *tokens
            )
        if end == "length":
            detail = f"cut off after max_tokens = {limit}; allow more of them"
            return self._failed("unparsable", detail, shown, *tokens)
        return Answer(self._mask.hide(shown), None, *tokens)

    def unreadable(self, answer: Answer, detail: str) -> Answer:
        """The same answer as a failure of the kind `unparsable`."""
        tokens = answer.prompt_tokens, answer.completion_tokens
        failed = self._failed("unparsable", detail, answer.text, *tokens)
        return replace(failed, retries=answer.retries, left_out=answer.left_out)

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
            return self._failed("transport", detail, hopeless=True, outage=True)
        if status in _HOPELESS or 300 <= status < 400:
            hint = "is the model's name right, and does the address end in /v1?"
            detail = f"HTTP {status}: {error.message}; {hint}"
            return self._failed("transport", detail, hopeless=True, outage=True)
        # 408, 409 and 429 are of the moment, what else is of this kind is of the request.
        outage = status >= 500 or status in (408, 409, 429)
        return self._failed("transport", f"HTTP {status}: {error.message}", outage=outage)

    def _failed(
        self,
        kind: Kind,
        detail: str,
        text: str = "",
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        *,
        hopeless: bool = False,
        outage: bool = False,
    ) -> Answer:
        detail = " ".join(self._mask.hide(detail).split())[:_LONGEST_DETAIL]
        failure = Failure(kind, detail, hopeless, outage)
        return Answer(self._mask.hide(text), failure, prompt_tokens, completion_tokens)


def _encodable(value: Any) -> Any:
    """Messages without lone surrogates, which no body in UTF-8 can hold; a model may well have made some."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


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
