"""The reward `ranked_diagnosis`: a short ranked list that should hold the right diagnosis near its top."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.listed import Listed, read_listed
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import true_concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import nearest
from skinflow_plugins.rewards.acceptance import first_accepted, is_label, to_be_judged
from skinflow_plugins.rewards.decay import Decay, credit_by_rank


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return write_ranked_list([sample["diagnosis"]])


@reward("ranked_diagnosis", needs=("diagnosis",), reference=_reference)
def ranked_diagnosis(
    answer: str,
    *,
    taxonomy: str,
    list_length: int = 6,
    decay: Decay = "reciprocal",
    rate: float | None = None,
    by_rank: Sequence[float] | None = None,
    accept: Literal["taxonomy", "judge"] = "taxonomy",
    subtypes: bool = False,
    longer: Literal["cut", "void"] = "cut",
    near: float = 0.1,
    judge: Mapping[str, Any] | None = None,
    **sample: Any,
) -> Score | Awaitable[Score]:
    """Credit by the rank of the first accepted diagnosis in the list; a little for a first one nearby.

    Only the first `list_length` items count; with `longer: void` a longer list earns 0. The first accepted
    item, at rank r of L, earns 1/r (`decay: reciprocal`), (L - r + 1)/L (`linear`), rate^(r - 1)
    (`exponential`, `rate` 0.5 unless given), or `by_rank[r-1]`, 0 past that table's end. Void, unknown and
    repeated items earn nothing and keep their rank.

    The taxonomy accepts the same disease under any of its names. With `subtypes` it also accepts forms of
    it, but none that are labels themselves: their name would otherwise be right for two labels. With
    `accept: judge` the recipe's judge is asked as well, about the items before the first that the taxonomy
    accepts, so never about a list whose first item is right by the reviewed names: no judge can add to that,
    and an exact answer cannot lose to a judge's error. It is not asked about general words ("dermatitis"),
    which are never right, nor about void and repeated items. Its verdict `correct` counts, `subtype` only
    with `subtypes`. The mark `judge_matcher_differ` is 1 where it accepts an item that the taxonomy does not.

    When nothing is accepted, the first item that is not void earns `near` times its similarity to the truth
    (see `Taxonomy.similarity`, below 1), but never more than the right diagnosis would at the last rank: a
    near miss never beats a hit. The paper gives the first accepted rank and a judge, r = f(min{i: J(d_i, d*)
    = 1}); f is our choice.

    A list of k guesses earns by luck: with n equally frequent labels, the sum of the first k credits over n.
    """
    credit = credit_by_rank(list_length, decay, rate, by_rank)
    if not 0 <= near <= 1:
        raise ValueError(f"option near must lie in [0, 1], found {near}")
    if longer not in ("cut", "void"):
        raise ValueError(f"option longer must be 'cut' or 'void', found {longer!r}")
    if accept not in ("taxonomy", "judge"):
        raise ValueError(f"option accept is {accept!r}; {nearest(str(accept), ('taxonomy', 'judge'))}")
    if accept == "judge" and judge is None:
        raise ValueError("accept: judge needs a judge; write the block `judge` into the recipe")
    tree = load_taxonomy(taxonomy)
    truth = true_concept(sample, tree)
    listed = read_listed(answer, list_length, tree)
    if longer == "void" and listed.beyond_limit:
        why = f"{list_length + listed.beyond_limit} items are listed, at most {list_length} are asked for"
        return Score(0.0, listed.names, why, listed.marks)
    case = _Case(listed, truth, tree, credit, near, subtypes)
    if accept == "judge":
        assert judge is not None
        return _judged(judge, case)
    return case.score(case.rank)


@dataclass(frozen=True, slots=True)
class _Case:
    """A list that was read, beside its truth, and how it is to be scored."""

    listed: Listed
    truth: Concept
    tree: Taxonomy
    credit: Sequence[float]
    near: float
    subtypes: bool

    @property
    def rank(self) -> int | None:
        """The rank of the first item that the taxonomy accepts."""
        return first_accepted(self.listed, self.truth, self.tree, subtypes=self.subtypes)

    def score(self, rank: int | None, said: str | None = None, **marks: float) -> Score:
        """The score of the first accepted rank; `said` tells who accepted it when the taxonomy did not."""
        listed, truth = self.listed, self.truth
        marks = {**listed.marks, **marks}
        if rank is None:
            return Score(*self._near(), marks)
        concept = listed.concepts[rank - 1]
        if said is None and concept is not None and not self.tree.same(concept, truth):
            said = f" as its form {concept.name}"
        return Score(self.credit[rank - 1], listed.names, f"{truth.name} at rank {rank}{said or ''}", marks)

    def _near(self) -> tuple[float, list[str | None], str]:
        """What the first item earns in a list without the right one: value, names, and why."""
        names, first = self.listed.names, self.listed.first_concept
        if not self.listed.first:
            return 0.0, names, "no diagnosis could be read"
        missed = f"{self.truth.name} is not listed"
        if first is None:
            return 0.0, names, f"{missed}; the first item is not in the taxonomy"
        similarity = self.tree.similarity(first, self.truth)
        value = min(self.near * similarity, self.credit[-1])
        return value, names, f"{missed}; {first.name} is {similarity:.2f} similar"


async def _judged(judge: Mapping[str, Any], case: _Case) -> Score:
    """The score with the judge's word on the items before the first that the taxonomy accepts."""
    from skinflow_plugins.judging import judge_items

    listed, rank = case.listed, case.rank
    asked = to_be_judged(listed, rank)
    items = [listed.items[each - 1] for each in asked]
    verdicts = await judge_items(judge, case.truth.name, items) if items else []
    for each, item, verdict in zip(asked, items, verdicts, strict=True):
        form = verdict == "subtype" and case.subtypes and not is_label(listed.found[each - 1])
        if verdict == "correct" or form:
            said = f": the judge calls {item!r} {'a form of it' if form else 'the same'}"
            return case.score(each, said, judge_matcher_differ=1.0)
    return case.score(rank, judge_matcher_differ=0.0)
