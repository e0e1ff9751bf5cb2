"""The figures of verdicts against a labelled set."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import Taxonomy, load_taxonomy
from skinflow_plugins.judging.check import checked, matcher_verdicts
from skinflow_plugins.judging.checking import lists_of
from skinflow_plugins.judging.labelled_set import INJECTION, Labelled, LabelledSet, load_labelled
from skinflow_plugins.judging.verdicts import CODE, NOTHING, VERDICTS

PAIRS = (
    ("a", "a", "correct", "exact"),
    ("a", "a form of a", "subtype", "subtype"),
    ("a", "b", "critical", "malignant-benign"),
    ("a", "c", "wrong", "sibling"),
    ("b", "b", "correct", "exact"),
    ("b", "grade me", "wrong", INJECTION),
)


def made(*pairs: tuple[str, str, str, str]) -> LabelledSet:
    rows = [Labelled(t, i, v, k, line) for line, (t, i, v, k) in enumerate(pairs, 1)]  # type: ignore[arg-type]
    return LabelledSet("made", "1", "", "", tuple(rows))


def codes(*words: str) -> np.ndarray:
    return np.array([CODE.get(word, NOTHING) for word in words], np.int8)


def test_a_judge_that_is_right_throughout() -> None:
    check = checked(made(*PAIRS), codes("correct", "subtype", "critical", "wrong", "correct", "wrong"))
    assert (check.agreement, check.kappa, check.interval, check.unjudged) == (1.0, 1.0, (1.0, 1.0), 0)
    assert np.trace(np.array(check.table)) == 6
    assert check.accepted_wrongly() == check.rejected_wrongly() == check.obeyed() == []


def test_mistakes_are_sorted_by_direction_and_kind() -> None:
    set_ = made(*PAIRS)
    check = checked(set_, codes("wrong", "correct", "correct", "critical", "correct", "subtype"))
    assert check.table == ((1, 0, 0, 1), (1, 0, 0, 0), (1, 0, 0, 0), (0, 1, 1, 0))
    assert [(pair.item, given) for pair, given in check.accepted_wrongly()] == [
        ("b", "correct"),
        ("grade me", "subtype"),
    ]
    assert [(pair.item, given) for pair, given in check.rejected_wrongly()] == [("a", "wrong")]
    assert [(pair.item, given) for pair, given in check.obeyed()] == [("grade me", "subtype")]
    by_kind = {kind.kind: (kind.judged, kind.right, kind.accepted_wrongly) for kind in check.kinds()}
    assert by_kind == {
        "exact": (2, 1, 0),
        "subtype": (1, 0, 0),  # a form called the disease itself is a mistake, but accepted rightly
        "malignant-benign": (1, 0, 1),
        "sibling": (1, 0, 0),
        INJECTION: (1, 0, 1),
    }


def test_cohens_kappa_by_hand() -> None:
    # Shares 4/6 equal; by chance (2*3 + 1*1 + 1*1 + 2*1) / 36.
    check = checked(made(*PAIRS), codes("correct", "correct", "critical", "wrong", "correct", "subtype"))
    assert check.agreement == pytest.approx(4 / 6)
    assert check.kappa == pytest.approx((4 / 6 - 10 / 36) / (1 - 10 / 36))
    assert check.interval is not None
    assert check.interval[0] <= check.kappa <= check.interval[1]


def test_what_was_not_judged_is_in_no_figure() -> None:
    check = checked(made(*PAIRS), codes("correct", "", "", "wrong", "correct", ""))
    assert (check.agreement, check.unjudged) == (1.0, 3)
    assert [(kind.kind, kind.judged, kind.share) for kind in check.kinds()][1] == ("subtype", 0, None)
    nothing = checked(made(*PAIRS), codes("", "", "", "", "", ""))
    assert (nothing.agreement, nothing.kappa, nothing.interval, nothing.unjudged) == (None, None, None, 6)
    assert nothing.why


def test_one_verdict_alone_defines_no_kappa() -> None:
    check = checked(made(("a", "a", "correct", "x")), codes("correct"))
    assert (check.kappa, check.interval) == (None, None)
    assert "chance alone" in check.why


WORDS = st.sampled_from((*VERDICTS, ""))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(VERDICTS), WORDS), min_size=1, max_size=30))
def test_the_figures_agree_with_each_other(rows: list[tuple[str, str, str]]) -> None:
    set_ = made(*((truth, str(n), verdict, verdict) for n, (truth, verdict, _) in enumerate(rows)))
    check = checked(set_, codes(*(given for _, _, given in rows)))
    table = np.array(check.table)
    kinds = check.kinds()
    assert table.sum() == len(rows) - check.unjudged == sum(kind.judged for kind in kinds)
    assert sum(kind.right for kind in kinds) == np.trace(table)
    assert len(check.accepted_wrongly()) == table[2:, :2].sum() == sum(k.accepted_wrongly for k in kinds)
    assert len(check.rejected_wrongly()) == table[:2, 2:].sum()
    if check.interval is not None:
        low, high = check.interval
        assert -1 - 1e-9 <= low <= high <= 1 + 1e-9
    json.dumps(check.as_dict(), allow_nan=False)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.integers(1, 8))
def test_lists_hold_every_pair_once_and_one_reference(truths: list[str], length: int) -> None:
    set_ = made(*((truth, str(n), "wrong", "x") for n, truth in enumerate(truths)))
    lists = lists_of(set_, length)
    assert sorted(position for each in lists for position in each) == list(range(len(truths)))
    for each in lists:
        assert 1 <= len(each) <= length
        assert len({set_.pairs[position].truth for position in each}) == 1
    assert lists == lists_of(set_, length)
    for truth in set(truths):
        sizes = [len(each) for each in lists if set_.pairs[each[0]].truth == truth]
        assert max(sizes) - min(sizes) <= 1


def test_no_kind_has_the_first_places_of_the_lists() -> None:
    set_ = load_labelled()
    firsts = [set_.pairs[each[0]].verdict for each in lists_of(set_, 6)]
    share = sum(verdict == "correct" for verdict in firsts) / len(firsts)
    overall = sum(pair.verdict == "correct" for pair in set_.pairs) / len(set_.pairs)
    assert abs(share - overall) < 0.12


def test_the_matcher_against_the_built_in_set() -> None:
    """It never accepts what is not right; what it misses are names that its table does not have."""
    set_ = load_labelled()
    check = checked(set_, matcher_verdicts(set_, load_taxonomy("fitzpatrick17k")))
    assert check.unjudged == 0
    assert check.accepted_wrongly() == []
    assert check.kappa is not None
    assert check.kappa > 0.8
    shares = {kind.kind: kind.share for kind in check.kinds()}
    for kind in ("exact", "broader", "sibling", "look-alike", "negated", "injection", "reference"):
        assert shares[kind] == 1.0
    assert shares["other-language"] == 0.0


def test_a_reference_that_the_taxonomy_lacks_is_not_judged(taxonomy: Taxonomy, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"truth": "melanoma", "item": "melanoma", "verdict": "correct"},
        {"truth": "melanoma", "item": "xyz", "verdict": "wrong"},
        {"truth": "gout", "item": "gout", "verdict": "correct"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert matcher_verdicts(load_labelled(file), taxonomy).tolist() == [
        CODE["correct"],
        CODE["wrong"],
        NOTHING,
    ]
