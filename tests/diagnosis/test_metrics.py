import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.data import Prediction
from skinflow_plugins.diagnosis import (
    caption_field_f1,
    constant_caption,
    constant_diagnosis,
    diagnosis_top1,
    diagnosis_top_k,
    distinct_first_answers,
    load_taxonomy,
    unparsed_share,
    with_answer,
    write_caption,
)
from skinflow_plugins.diagnosis.metrics import caption_scores
from skinflow_plugins.testing import check_metric

FIELDS = {"colour": ["red", "blue", "brown", "white"], "border": ["sharp", "ill-defined"]}
LABELS = ["melanoma", "psoriasis", "melanoma", "nevus", "psoriasis", "melanoma"]

DEMO = {"taxonomy": "demo"}


def diagnosed(*pairs: tuple[str, str]) -> list[Prediction]:
    return [
        Prediction(f"r{i}", "diagnosis", answer, {"id": f"r{i}", "diagnosis": truth})
        for i, (truth, answer) in enumerate(pairs)
    ]


def captioned(*pairs: tuple[dict[str, list[str]], str]) -> list[Prediction]:
    return [
        Prediction(f"r{i}", "caption", answer, {"id": f"r{i}", "caption": truth})
        for i, (truth, answer) in enumerate(pairs)
    ]


def test_top_k_by_hand() -> None:
    some = diagnosed(
        ("melanoma", "Melanoma; nevus"),
        ("melanoma", "nevus; malignant melanoma"),
        ("melanoma", "nevus; mole; melanoma"),
        ("melanoma", "not nevus; melanoma"),
    )
    assert diagnosis_top1(some, taxonomy="demo") == 0.25
    assert diagnosis_top_k(some, k=2, taxonomy="demo") == 0.75
    assert diagnosis_top_k(some, k=3, taxonomy="demo") == 1
    assert diagnosis_top_k(some, k=1, taxonomy="demo") == diagnosis_top1(some, taxonomy="demo")


def test_what_is_wrong_with_the_sample_is_said() -> None:
    with pytest.raises(ValueError, match=r"sample r0: .* 'melanomma'; did you mean 'melanoma'"):
        diagnosis_top1(diagnosed(("melanomma", "x")), taxonomy="demo")
    with pytest.raises(ValueError, match="no predictions"):
        diagnosis_top1([], taxonomy="demo")
    with pytest.raises(ValueError, match="k must be at least 1"):
        diagnosis_top_k(diagnosed(("melanoma", "x")), k=0, taxonomy="demo")
    with pytest.raises(ValueError, match=r"sample r0: .* 'colour' = 'rad', .* did you mean 'red'"):
        caption_field_f1(captioned(({"colour": ["rad"]}, "")), fields=FIELDS)
    with pytest.raises(ValueError, match=r"sample r0: .* unknown field 'color'; did you mean 'colour'"):
        caption_field_f1(captioned(({"color": ["red"]}, "")), fields=FIELDS)
    with pytest.raises(ValueError, match="no value in any field"):
        caption_field_f1(captioned(({"colour": []}, "")), fields=FIELDS)


def test_counts_of_first_answers() -> None:
    some = diagnosed(*(("melanoma", a) for a in ("nevus", "Mole; x", "wart", "Warts", "", "not nevus; BCC")))
    assert distinct_first_answers(some, taxonomy="demo") == 2
    assert unparsed_share(some, taxonomy="demo") == pytest.approx(3 / 6)


@pytest.mark.parametrize("field", FIELDS)
def test_listing_every_value_scores_nothing(field: str) -> None:
    values = FIELDS[field]
    for right in values:
        sample = {"id": 1, "caption": {field: [right]}}

        def score(named: list[str], field: str = field, sample: dict = sample) -> float:  # type: ignore[type-arg]
            return caption_scores(write_caption({field: named}), sample, FIELDS)[field]

        assert score(values) == 0
        assert score([right]) == 1
        others = [value for value in values if value != right]
        assert score([right, *others[1:]]) == pytest.approx(2 / len(values))


CAPTIONS = st.fixed_dictionaries(
    {}, optional={f: st.lists(st.sampled_from(v), min_size=1, unique=True) for f, v in FIELDS.items()}
).filter(bool)


@given(
    CAPTIONS, CAPTIONS, st.sampled_from(sorted(FIELDS)), st.sampled_from(["pink", "red", "sharp", "brown"])
)
def test_a_wrong_value_never_helps(right: dict, answered: dict, field: str, value: str) -> None:  # type: ignore[type-arg]
    sample = {"id": 1, "caption": right}
    before = caption_scores(write_caption(answered), sample, FIELDS)
    more = write_caption({**answered, field: [*answered.get(field, []), value]})
    after = caption_scores(more, sample, FIELDS)
    assert all(0 <= score <= 1 for score in after.values())
    for name in before:
        if name != field or value not in right[name]:
            assert after[name] <= before[name]


def test_contracts() -> None:
    some = diagnosed(*((label, "nevus; melanoma") for label in LABELS))
    check_metric(diagnosis_top1, some, options=DEMO)
    check_metric(diagnosis_top_k, some, options={"k": 2, **DEMO})
    check_metric(distinct_first_answers, some, options=DEMO)
    check_metric(unparsed_share, some, options=DEMO, higher_is_better=False)
    seen = captioned(({"colour": ["red"]}, "colour: red, blue"), ({"border": ["sharp"]}, "border: x"))
    check_metric(caption_field_f1, seen, options={"fields": FIELDS})


def test_constant_diagnosis() -> None:
    some = diagnosed(*((label, "") for label in [*LABELS, "Psoriasis", "Melanoma"]))
    assert constant_diagnosis(some, 2).lower() == "melanoma; psoriasis"
    assert diagnosis_top_k(
        with_answer(some, constant_diagnosis(some, 2)), k=2, taxonomy="demo"
    ) == pytest.approx(7 / 8)
    commas = diagnosed(("Nevus, Halo", ""))
    assert diagnosis_top1(with_answer(commas, constant_diagnosis(commas, 1)), taxonomy="isic") == 1


@given(
    st.lists(st.sampled_from(["melanoma", "psoriasis", "nevus", "BCC"]), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_no_constant_list_beats_the_constant_diagnosis(labels: list[str], k: int) -> None:
    some = diagnosed(*((label, "") for label in labels))
    best = diagnosis_top_k(with_answer(some, constant_diagnosis(some, k)), k=k, taxonomy="demo")
    for leaf in load_taxonomy("demo").leaves():
        assert diagnosis_top1(with_answer(some, leaf.name), taxonomy="demo") <= best


def test_constant_caption() -> None:
    some = captioned(
        ({"colour": ["red"], "border": ["sharp"]}, ""),
        ({"colour": ["blue", "red"]}, ""),
        ({"colour": ["blue"], "border": ["ill-defined"]}, ""),
        ({"colour": ["red"], "border": ["ill-defined"]}, ""),
    )
    assert constant_caption(some, FIELDS) == "colour: red; border: ill-defined"
    assert 0 < caption_field_f1(with_answer(some, constant_caption(some, FIELDS)), fields=FIELDS) < 1
