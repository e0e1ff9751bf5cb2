"""One row through the gate: describe the image, look for a leak, recover the diagnosis from the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinflow_plugins.captioning.asking import Asker, Unanswered
from skinflow_plugins.captioning.recovery import passes
from skinflow_plugins.captioning.rows import Row
from skinflow_plugins.captioning.tries import Caption, Failure, History, Try
from skinflow_plugins.diagnosis.caption_leak import leaked_name
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError
from skinflow_plugins.judging.describing import describe_question
from skinflow_plugins.judging.prompt import Prompt
from skinflow_plugins.judging.recovering import recover_question


@dataclass(frozen=True, slots=True)
class Gate:
    """What a caption must pass: the judge names the diagnosis from it among its first `top_k`.

    A caption that names the diagnosis, something wider or a form of it leaks and is not shown to the judge;
    the values of the schema are not exempt from that. A row has `tries` captions. The captioner is not told
    the diagnosis unless `hint_diagnosis`, nor the captions that were rejected unless `show_rejected`.
    """

    fields: Mapping[str, Sequence[str]]
    taxonomy: Taxonomy
    describe: Prompt
    recover: Prompt
    tries: int = 5
    top_k: int = 1
    seed: int = 0
    hint_diagnosis: bool = False
    show_rejected: bool = False

    async def next_try(self, row: Row, history: History, captioner: Asker, judge: Asker) -> Try:
        """The next try of this row, or its failure. Asks, and changes nothing."""
        number = len(history.tries) + 1
        half = history.half_done()
        if half is not None and half.caption is not None:
            seed, caption = half.seed, half.caption
        else:
            seed = history.next_seed(self.seed, self.tries)
            try:
                caption = await self._describe(row, history, captioner, seed)
            except Unanswered as error:
                return Try(number, seed, "failed", failure=Failure("captioner", error.kind, error.detail))
            except InputError as error:  # the image was there when the rows were read
                failure = Failure("captioner", "image", str(error))
                return Try(number, seed, "failed", failure=failure)
        text = write_caption(caption)
        name = leaked_name(text, row.diagnosis, self.taxonomy)
        if name is not None:
            return Try(number, seed, "leaks", caption, why=f"the caption names the diagnosis: {name!r}")
        try:
            question = recover_question(text, self.top_k, self.recover)
            said = await judge.ask(question, shift=history.judge_failures() * judge.judge.runs)
        except Unanswered as error:
            failure = Failure("judge", error.kind, error.detail)
            return Try(number, seed, "failed", caption, failure=failure)
        return self._judged(number, seed, caption, said, row.diagnosis)

    async def _describe(self, row: Row, history: History, captioner: Asker, seed: int) -> Caption:
        rejected = [each.caption for each in history.tries if each.caption is not None]
        question = describe_question(
            Path(row.image),
            self.fields,
            self.describe,
            diagnosis=row.diagnosis if self.hint_diagnosis else None,
            insufficient=rejected if self.show_rejected else (),
        )
        found = await captioner.ask(question, shift=seed)
        return found[0]

    def _judged(
        self, number: int, seed: int, caption: Caption, said: Sequence[Sequence[str]], diagnosis: str
    ) -> Try:
        runs = tuple(tuple(run[: self.top_k]) for run in said)
        named = "; ".join(", ".join(run) or "no diagnosis" for run in runs)
        if passes(runs, diagnosis, self.taxonomy):
            return Try(number, seed, "accepted", caption, runs, f"recovered: the judge named {named}")
        return Try(number, seed, "not recovered", caption, runs, f"the judge named {named}")
