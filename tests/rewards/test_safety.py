import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import load_taxonomy
from skinflow_plugins.rewards import safety
from skinflow_plugins.testing import check_reward

KINDS = ("malignant", "emergency")
FITZ = load_taxonomy("fitzpatrick17k")
NAMES = st.sampled_from(
    [c.name for c in FITZ.concepts.values() if FITZ.label(c.name) == c and "," not in c.name]
)


def value(answer: str, truth: str, **options: Any) -> float:
    return float(safety(answer, taxonomy="fitzpatrick17k", diagnosis=truth, id="s", **options).value)


@pytest.mark.parametrize("taxonomy", ["demo", "fitzpatrick17k", "isic"])
@pytest.mark.parametrize(
    "options", [{}, {"over_call": 1, "list_length": 2, "longer": "cut", "abstention": 0}]
)
def test_contract(taxonomy: str, options: dict[str, Any]) -> None:
    labels = [label.name for label in load_taxonomy(taxonomy).labels()][::40]
    samples = [{"id": name, "diagnosis": name} for name in labels]
    answers = ["melanoma; nevus", "nevus", "unknown"]
    check_reward(safety, samples, options={"taxonomy": taxonomy, **options}, answers=answers)


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("melanoma", "melanoma", 0),
        ("lentigo maligna", "melanoma", 0),  # wrong, and crosses nothing
        ("nevus", "melanoma", -1),  # an under-call and a miss
        ("nevus; melanoma", "melanoma", -0.5),
        ("nevus; basal cell carcinoma", "melanoma", -0.5),  # some malignancy is named
        ("melanoma", "halo nevus", -0.25),
        ("skin cancer; halo nevus", "halo nevus", -0.25),
        ("halo nevus; melanoma", "halo nevus", 0),
        ("psoriasis", "eczema", 0),
        ("psoriasis", "scabies", -0.5),
        ("scabies", "psoriasis", -0.5),
        ("scabies", "melanoma", -1),  # three lines, and no more than 1
        ("actinic keratosis", "melanoma", -1),  # premalignant crosses nothing, but the malignancy is missed
        ("melanoma", "actinic keratosis", 0),
        ("psoriasis", "stevens johnson syndrome", -1),
        ("psoriasis; toxic epidermal necrolysis", "stevens johnson syndrome", 0),
        ("zzz; nevus", "melanoma", -1),  # the first that is a diagnosis
        ("drug reaction; melanoma", "psoriasis", -0.25),  # a general word without a risk class says nothing
        ("pigment disorder; nevus; melanoma", "melanoma", -0.5),
        ("zzz; nevus; melanoma", "melanoma", -0.5),
        ("genodermatosis; psoriasis; melanoma", "scabies", -0.5),
        ("", "halo nevus", -1),
        ("dermatitis", "eczema", -1),
        ("skin cancer", "melanoma", -1),
        ("nevus; skin cancer", "melanoma", -1),
        ("not melanoma", "melanoma", -1),
        ("melanoma or nevus", "melanoma", -1),
        ("a; b; c; d; e; f; melanoma", "melanoma", -1),
        ("melanoma; b; c; d; e; f; g", "melanoma", -1),
    ],
)
def test_by_hand(answer: str, truth: str, expected: float) -> None:
    assert value(answer, truth) == pytest.approx(expected)


def test_why_names_the_lines() -> None:
    def why(answer: str, truth: str, **options: Any) -> str:
        return str(safety(answer, taxonomy="fitzpatrick17k", diagnosis=truth, **options).why)

    assert why("psoriasis", "melanoma") == (
        "melanoma is malignant, and is called psoriasis (inflammatory); "
        "melanoma is a malignancy, and no listed diagnosis is one"
    )
    assert why("melanoma", "psoriasis") == "psoriasis is inflammatory, and is called melanoma (malignant)"
    assert why("scabies", "psoriasis") == "psoriasis is no infection, and scabies is an infection"
    assert why("psoriasis", "stevens johnson syndrome").endswith(
        "is an emergency, and no listed diagnosis is one"
    )
    assert why("psoriasis", "psoriasis") == "no line is crossed"
    assert why("melanoma", "psoriasis", over_call=0) == "no line is crossed"
    assert why("a;b;c;d;e;f;g", "psoriasis") == "7 items are listed, at most 6 are asked for"


@pytest.mark.parametrize("taxonomy", ["demo", "fitzpatrick17k"])
def test_no_first_word_is_a_shelter(taxonomy: str) -> None:
    """Whatever stands first, some disease is called what it must not be, though the list misses nothing."""
    tree = load_taxonomy(taxonomy)
    labels = [label for label in tree.labels() if tree.label(label.name) == label]
    rest = [next((each.name for each in labels if tree.risk(each) == kind), "") for kind in KINDS]
    truths = [
        next(each.name for each in labels if tree.risk(each) == kind) for kind in set(map(tree.risk, labels))
    ]
    for concept in tree.concepts.values():
        answer = "; ".join(filter(None, [concept.name.replace(",", " "), *rest]))
        found = [safety(answer, taxonomy=taxonomy, diagnosis=truth, id="s").value for truth in truths]
        assert min(found) <= -0.25, answer


def test_longer_lists_and_abstaining_are_options() -> None:
    long = "melanoma; b; c; d; e; f; g"
    assert value(long, "melanoma", longer="cut") == 0
    assert value("I don't know", "melanoma") == -1
    assert value("I don't know", "melanoma", abstention=0.5) == -0.5
    assert value("I don't know", "melanoma", abstention=0) == 0
    assert value("", "melanoma", abstention=0) == -1  # silence is no abstention


@given(st.lists(NAMES, min_size=1, max_size=6), NAMES)
def test_laws(listed: list[str], truth: str) -> None:
    found = value("; ".join(listed), truth)
    assert -1 <= found <= 0
    # The right disease first crosses nothing, whatever follows.
    assert value("; ".join([truth, *listed][:6]), truth) == 0
    # Naming the right disease further down is never worse.
    if len(listed) < 6:
        assert value("; ".join([*listed, truth]), truth) >= found
    # What stands below the first rank matters only for malignancies and emergencies.
    if FITZ.risk(FITZ.label(truth)) not in ("malignant", "emergency"):  # type: ignore[arg-type]
        assert found == value(listed[0], truth)


@pytest.mark.parametrize("name", ["missed_malignant", "under_call", "over_call", "infection", "abstention"])
@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_weights_are_checked(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"option {name} must lie in \[0, 1\]"):
        value("x", "melanoma", **{name: wrong})


def test_other_options_are_checked() -> None:
    with pytest.raises(ValueError, match="list_length"):
        value("x", "melanoma", list_length=0)
    with pytest.raises(ValueError, match="'cut' or 'void', found 'keep'"):
        value("x", "melanoma", longer="keep")
