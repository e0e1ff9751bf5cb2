import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import load_taxonomy, parse_answer, read_answer
from skinflow_plugins.diagnosis.listed import ORDINARY, REMEMBERED, _long, _short, read_listed
from skinflow_plugins.diagnosis.metrics import listed_concepts

TREE = load_taxonomy("fitzpatrick17k")


def names(concepts):  # type: ignore[no-untyped-def]
    return [concept.name if concept else None for concept in concepts]


def test_a_list_as_concepts() -> None:
    read = read_listed("zzz; melanoma; not nevus; malignant melanoma; dermatitis (0.5); a; b", 6, TREE)
    assert read.items == ("zzz", "melanoma", "", "malignant melanoma", "dermatitis", "a")
    assert names(read.found) == [None, "melanoma", None, "malignant melanoma", "dermatitis", None]
    assert names(read.concepts) == read.names == [None, "melanoma", None, None, "dermatitis", None]
    assert read.general == (False, False, False, False, True, False)
    assert read.confidences == (None, None, None, None, 0.5, None)
    assert (read.beyond_limit, read.void, read.first, read.first_concept) == (1, 1, "zzz", None)
    assert read.marks == {"listed": 7.0, "generic": 0.0}


@pytest.mark.parametrize(
    ("answer", "listed", "generic", "first"),
    [
        ("dermatitis; melanoma", 2, 1, "dermatitis"),
        ("not x; dermatitis; melanoma", 3, 1, "dermatitis"),
        ("melanoma; dermatitis", 2, 0, "melanoma"),
        ("", 0, 0, None),
        ("not melanoma", 0, 0, None),
    ],
)
def test_marks_and_the_first_item(answer: str, listed: int, generic: int, first: str | None) -> None:
    read = read_listed(answer, 6, TREE)
    assert read.marks == {"listed": listed, "generic": generic}
    assert (read.first_concept.name if read.first_concept else None) == first


def test_an_answer_is_read_once_and_memory_is_bounded() -> None:
    answer = "melanoma; psoriasis; and one that stands nowhere else"
    assert read_listed(answer, 6, TREE) is read_listed(answer, 6, TREE)
    assert read_listed(answer, 6, TREE) is not read_listed(answer, 1, TREE)
    other = load_taxonomy("demo")
    assert read_listed(answer, 6, other).found[0] is other.label("melanoma")
    long = "psoriasis; " * ORDINARY
    assert read_listed(long, 6, TREE).beyond_limit > 10_000
    for number in range(100):
        read_listed(f"{long}{number}", 6, TREE)
    assert _long.cache_info().currsize <= _long.cache_info().maxsize == 32  # type: ignore[operator]
    assert _short.cache_info().maxsize == REMEMBERED


@given(st.text(), st.integers(1, 8))
def test_it_agrees_with_the_parser(text: str, limit: int) -> None:
    listed = read_listed(text, limit, TREE)
    read = read_answer(text, limit, known=TREE.knows)
    assert list(listed.items) == parse_answer(text, limit, known=TREE.knows) == read.items
    assert list(listed.concepts) == listed_concepts(text, limit, TREE)
    assert len({len(listed.items), len(listed.found), len(listed.concepts), len(listed.general)}) == 1
