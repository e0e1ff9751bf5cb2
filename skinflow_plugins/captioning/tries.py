"""What has happened to each row so far: tries, failures, an expert's decision. Made from events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Outcome = Literal["accepted", "not recovered", "leaks", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Status = Literal["accepted", "review", "failed", "waiting"]
"""`accepted` by the judge; `review`: all tries are spent; `failed`: no verdict; `waiting`: not asked yet."""

Caption = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that gave nothing: who was asked (`captioner` or `judge`), the kind of failure, the detail."""

    asked: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Try:
    """One caption of one row and what came of it.

    `said` holds the diagnoses that the judge named, a list per run, the likeliest first. With the outcome
    `failed` the caption is None where the captioner failed, and there where the judge did.
    """

    number: int
    seed: int
    outcome: Outcome
    caption: Caption | None = None
    said: tuple[tuple[str, ...], ...] = ()
    why: str = ""
    failure: Failure | None = None

    def as_event(self) -> dict[str, Any]:
        found: dict[str, Any] = {"try": self.number, "seed": self.seed, "outcome": self.outcome}
        if self.caption is not None:
            found["caption"] = {name: list(values) for name, values in self.caption.items()}
        if self.said:
            found["said"] = [list(run) for run in self.said]
        if self.why:
            found["why"] = self.why
        if self.failure is not None:
            found |= {"asked": self.failure.asked, "kind": self.failure.kind, "detail": self.failure.detail}
        return found

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Try:
        """The try of an event; raises `KeyError`, `TypeError` or `ValueError` when it is none."""
        if (
            event["outcome"] not in OUTCOMES
            or type(event["try"]) is not int
            or type(event["seed"]) is not int
        ):
            raise ValueError("no outcome of a try")
        failure = None
        if event["outcome"] == "failed":
            failure = Failure(event["asked"], event["kind"], event["detail"])
        elif not isinstance(event["caption"], dict):
            raise TypeError("no caption")
        said = tuple(tuple(run) for run in event.get("said", ()))
        return Try(
            event["try"], event["seed"], event["outcome"], event.get("caption"), said,
            event.get("why", ""), failure,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """What an expert decided on a row: `accept` with a caption, or `drop`."""

    word: str
    caption: Caption
    note: str = ""


@dataclass(slots=True)
class History:
    """One row's past. `sha256` and `diagnosis` are those of the row when it was first asked."""

    sha256: str
    diagnosis: str
    attempts: list[Try] = field(default_factory=list)
    decision: Decision | None = None

    @property
    def tries(self) -> list[Try]:
        """The tries with a verdict; failures do not use one up."""
        return [each for each in self.attempts if each.outcome != "failed"]

    @property
    def failures(self) -> list[Try]:
        return [each for each in self.attempts if each.outcome == "failed"]

    @property
    def accepted(self) -> Try | None:
        """The try that passed the gate."""
        return next((each for each in self.attempts if each.outcome == "accepted"), None)

    def status(self, most: int) -> Status:
        """Where the row stands when it has `most` tries."""
        if self.accepted:
            return "accepted"
        if len(self.tries) >= most:
            return "review"
        return "failed" if self.attempts and self.attempts[-1].outcome == "failed" else "waiting"

    def half_done(self) -> Try | None:
        """A last attempt whose caption is there and whose judge failed: only the judge is asked again."""
        last = self.attempts[-1] if self.attempts else None
        return last if last and last.outcome == "failed" and last.caption is not None else None

    def next_seed(self, base: int, most: int) -> int:
        """The seed of the next caption: one for each try, and another after a reply that could not be used.

        A server that is down or busy is asked for the same caption again.
        """
        number = len(self.tries)
        unusable = sum(
            each.number == number + 1 and each.caption is None and not _passing(each)
            for each in self.failures
        )
        return base + number + most * unusable

    def judge_failures(self) -> int:
        """How often the judge's reply on the next try could not be used."""
        number = len(self.tries) + 1
        return sum(
            each.number == number and each.caption is not None and not _passing(each)
            for each in self.failures
        )


def _passing(attempt: Try) -> bool:
    return attempt.failure is not None and attempt.failure.kind not in ("unparsable", "refusal")


def histories(events: Iterable[Mapping[str, Any]]) -> dict[str, History]:
    """Id -> history, in the order in which the rows were first asked.

    Raises `KeyError`, `TypeError` or `ValueError` for an event that cannot be read, or that speaks of another
    image or diagnosis under the same id.
    """
    found: dict[str, History] = {}
    for event in events:
        if event["event"] not in ("try", "decision"):
            continue
        id, facts = event["id"], (event["image_sha256"], event["diagnosis"])
        if not isinstance(id, str) or not all(isinstance(fact, str) for fact in facts):
            raise TypeError("no id, image or diagnosis")
        history = found.setdefault(id, History(*facts))
        if (history.sha256, history.diagnosis) != facts:
            raise ValueError(f"row {id!r} has two images or diagnoses")
        if event["event"] == "try":
            history.attempts.append(Try.from_event(event))
        else:
            history.decision = Decision(event["decision"], event["caption"], event.get("note", ""))
    return found
