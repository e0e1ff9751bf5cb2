import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import load_taxonomy, write_caption, write_ranked_list
from skinflow_plugins.rewards import answer_form, caption_fields, ranked_diagnosis
from skinflow_plugins.testing import check_reward

FIELDS = {"colour": ["red", "blue", "brown", "white"], "border": ["sharp", "ill-defined"], "scale": ["yes"]}
DEMO = load_taxonomy("demo")
SAMPLES = [
    {"id": "a", "diagnosis": "melanoma", "caption": {"colour": ["red"], "border": ["sharp"]}},
    {"id": "b", "diagnosis": "Mole", "caption": {"colour": ["blue", "brown"], "scale": ["yes"]}},
]
ANSWERS = [
    "melanoma; nevus",
    "colour: red; border: sharp; scale: yes",
    "psoriasis",
    "halo nevus",
    "BCC; mole",
]


@pytest.mark.parametrize(
    ("reward", "options"),
    [
        (ranked_diagnosis, {"taxonomy": "demo"}),
        (ranked_diagnosis, {"taxonomy": "demo", "by_rank": [0.9, 0.9, 0.1], "near": 0.5, "list_length": 3}),
        (caption_fields, {"fields": FIELDS}),
        (caption_fields, {"fields": FIELDS, "weights": {"colour": 3.0, "border": 0}}),
        (answer_form, {"form": "ranked_list"}),
        (answer_form, {"form": "caption", "fields": FIELDS}),
    ],
)
def test_contract(reward, options) -> None:  # type: ignore[no-untyped-def]
    check_reward(reward, SAMPLES, options=options, answers=ANSWERS)


def ranked(answer: str, truth: str = "melanoma", **options) -> float:  # type: ignore[no-untyped-def]
    return ranked_diagnosis(answer, id="s", diagnosis=truth, **{"taxonomy": "demo", **options}).value


@pytest.mark.parametrize(
    ("answer", "options", "value"),
    [
        ("melanoma", {}, 1),
        ("Malignant melanomas; nevus", {}, 1),
        ("nevus; melanoma", {}, 1 / 2),
        ("nevus; mole; melanoma", {}, 1 / 3),  # a repeated concept keeps its rank
        ("not nevus; melanoma", {}, 1 / 2),  # so does a void item
        ("wart; melanoma", {}, 1 / 2),
        ("a;b;c;d;e;melanoma", {}, 1 / 6),
        ("a;b;c;d;e;f;melanoma", {}, 0),
        ("a;b;melanoma", {"list_length": 2}, 0),
        ("nevus; melanoma", {"by_rank": [1, 0.8]}, 0.8),
        ("nevus; psoriasis; melanoma", {"by_rank": [1, 0.8]}, 0),
        ("BCC", {}, 0.1 / 5),
        ("malignant melanocytic", {}, 0.1 * 2 / 3),
        ("malignant", {}, 0.1 / 3),
        ("nevus", {}, 0),
        ("nevus; BCC", {}, 0),  # only the first item can be near
        ("wart; BCC", {}, 0),
        ("not nevus; BCC", {}, 0.1 / 5),
        ("BCC", {"near": 1.0}, 1 / 6),  # never above the right diagnosis at the last rank
        ("BCC", {"near": 1.0, "by_rank": [1.0]}, 0),
        ("BCC", {"near": 0.0}, 0),
        ("not melanoma", {}, 0),
        ("melanoma?", {}, 0),
        ("melanoma or nevus", {}, 0),
        ("This is a melanoma", {}, 0),
        ("", {}, 0),
        ("<think>melanoma", {}, 0),
    ],
)
def test_ranked_diagnosis_by_hand(answer: str, options: dict, value: float) -> None:  # type: ignore[type-arg]
    assert ranked(answer, **options) == pytest.approx(value)


@pytest.mark.parametrize("name", ["demo", "fitzpatrick17k", "isic"])
def test_every_name_of_every_table_can_be_the_truth(name: str) -> None:
    tree = load_taxonomy(name)
    for concept in tree.concepts.values():
        if tree.resolve(concept.name) == concept and concept.kind in ("group", "generic"):
            with pytest.raises(ValueError, match="is a general word of the taxonomy"):
                ranked("x", concept.name, taxonomy=name)
        elif tree.resolve(concept.name) == concept:
            assert ranked(write_ranked_list([concept.name]), concept.name, taxonomy=name) == 1
            assert ranked(write_ranked_list(["x", concept.name]), concept.name, taxonomy=name) == 0.5


def test_an_unknown_truth_names_the_sample() -> None:
    with pytest.raises(
        ValueError, match="sample s: the taxonomy 'demo' does not know its diagnosis 'melanomma'"
    ):
        ranked("x", "melanomma")
    with pytest.raises(ValueError, match=r"sample s: .* None; expected a name"):
        ranked("x", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"by_rank": [0.5, 0.6]}, "never rise"),
        ({"by_rank": []}, "one or more"),
        ({"by_rank": [1.5]}, r"in \[0, 1\]"),
        ({"by_rank": [1, math.nan]}, "by_rank"),
        ({"near": -0.1}, "near"),
        ({"near": math.nan}, "near"),
        ({"list_length": 0}, "list_length"),
    ],
)
def test_options_that_make_no_sense(options: dict, part: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=part):
        ranked("x", **options)


CONCEPTS = st.sampled_from(sorted(load_taxonomy("isic").concepts))
ITEMS = st.lists(
    CONCEPTS.map(lambda key: load_taxonomy("isic").concepts[key].name)
    | st.sampled_from(["", "wart?", "zzz"]),
    min_size=1,
    max_size=8,
)
OPTIONS = st.fixed_dictionaries(
    {"taxonomy": st.just("isic"), "near": st.floats(0, 1), "list_length": st.integers(1, 7)},
    optional={"by_rank": st.lists(st.floats(0, 1), min_size=1, max_size=7).map(lambda v: sorted(v)[::-1])},
)


def numbered(items: list[str]) -> str:
    return "\n".join(f"{rank}. {item}" for rank, item in enumerate(items, 1))


TRUTHS = st.sampled_from(
    sorted(c.id for c in load_taxonomy("isic").concepts.values() if c.kind in ("label", "answer"))
)


@given(ITEMS, TRUTHS, CONCEPTS, CONCEPTS, OPTIONS)
def test_laws_of_ranked_diagnosis(items: list[str], truth_id: str, one: str, two: str, options: dict) -> None:  # type: ignore[type-arg]
    tree = load_taxonomy("isic")
    truth = tree.concepts[truth_id]
    length = options["list_length"]

    def value(some: list[str]) -> float:
        return ranked(numbered(some), truth.name, **options)

    assert 0 <= value(items) <= 1
    # A list beyond the cap never helps.
    assert value(items + [truth.name] * 3) == value(items) or len(items) < length
    assert value([*items[:length], *["zzz"] * (length - len(items)), truth.name]) == value(items[:length])
    # A repeated item never helps, wherever it stands.
    for place in range(1, len(items) + 1):
        assert value([*items[:place], items[place - 1], *items[place:]]) <= value(items)
    # A nearer first diagnosis is never worse; the right one is the nearest.
    a, b = tree.concepts[one], tree.concepts[two]
    near_a = (tree.shared(a, truth), -tree.distance(a, truth))
    near_b = (tree.shared(b, truth), -tree.distance(b, truth))
    if near_a[0] >= near_b[0] and near_a[1] >= near_b[1]:
        assert value([a.name, "zzz"]) >= value([b.name, "zzz"])
    # An exact hit at any rank of the list is never below a near miss.
    for rank in range(length):
        hit = value(["zzz"] * rank + [truth.name])
        assert a == truth or hit >= value([a.name])
        assert hit <= value([truth.name])


@pytest.mark.parametrize("field", [name for name, values in FIELDS.items() if len(values) >= 2])
@pytest.mark.parametrize("column", ["one", "all"])
def test_naming_every_value_does_not_pay(field: str, column: str) -> None:
    values = FIELDS[field]
    for value in values:
        sample = (
            {"caption": {field: [value]}} if column == "one" else {"caption": {**_ones(), field: [value]}}
        )
        listed = caption_fields(write_caption({**_ones(), field: values}), fields=FIELDS, **sample).value
        right = caption_fields(write_caption({**_ones(), field: [value]}), fields=FIELDS, **sample).value
        assert listed < right == 1
        if column == "one":
            assert listed == 0


def _ones() -> dict[str, list[str]]:
    return {name: values[:1] for name, values in FIELDS.items()}


def test_caption_fields_by_hand() -> None:
    sample = {"id": "s", "caption": {"colour": ["red"], "border": ["sharp"]}}
    score = caption_fields("Colour: red, blue; border: sharp; scale: yes", fields=FIELDS, **sample)
    assert score.value == pytest.approx((2 / 3 + 1) / 2)
    assert score.why == "colour 0.67: red is right, blue is wrong; border 1.00: sharp is right"
    assert score.read == {"colour": ["red", "blue"], "border": ["sharp"], "scale": ["yes"]}
    weighted = caption_fields("colour: red", fields=FIELDS, weights={"colour": 3}, **sample)
    assert weighted.value == pytest.approx(0.75)
    assert weighted.why == "colour 1.00 (weight 3): red is right; border 0.00: sharp is missed"
    outside = caption_fields("colour: red, crimson; border: sharp", fields=FIELDS, **sample)
    assert outside.value == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize(
    ("weights", "part"),
    [({"color": 1}, "did you mean 'colour'"), ({"colour": -1}, "not negative"), ({"colour": 0}, "weight 0")],
)
def test_weights_that_make_no_sense(weights: dict[str, float], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        caption_fields("x", fields=FIELDS, weights=weights, caption={"colour": ["red"]})


@given(st.permutations(["colour: red, blue", "border: sharp", "scale: yes"]))
def test_the_order_of_the_fields_does_not_matter(parts: list[str]) -> None:
    sample = {"caption": {"colour": ["red"], "border": ["sharp"]}}
    assert caption_fields("; ".join(parts), fields=FIELDS, **sample).value == pytest.approx((1 + 2 / 3) / 2)


GOOD_LISTS = [
    "melanoma",
    "melanoma; nevus",
    "1. melanoma\n2. nevus",
    "1. Nevus, Halo",
    "Nevus, Halo; melanoma",
    "<answer>melanoma; nevus</answer>",
    "<think>why, 1 < 2</think>\n<answer>1. melanoma\n2. nevus</answer>\n",
    "squamous cell carcinoma (SCC); actinic keratosis",
    "a;b;c;d;e;f",
]
BAD_LISTS = [
    "",
    ";",
    "melanoma;",
    "melanoma, nevus",
    "melanoma\nnevus",
    "- melanoma\n- nevus",
    "2. melanoma\n1. nevus",
    "1. melanoma\n3. nevus",
    "1. melanoma; 2. nevus",
    "1. melanoma; nevus",
    "a;b;c;d;e;f;g",
    "melanoma; Melanomas",
    "melanoma.",
    "**melanoma**",
    "Diagnosis: melanoma",
    "not melanoma",
    "melanoma; possibly nevus",
    "one two three four five six seven eight nine",
    '["melanoma"]',
    "The list:\n1. melanoma",
    "<answer>melanoma</answer> thanks",
    "<answer>melanoma",
    "<answer>a</answer><answer>b</answer>",
    "<think><answer>a</answer></think><answer>b</answer>",
    "???",
    "!!!",
]


@pytest.mark.parametrize("answer", GOOD_LISTS)
def test_good_lists(answer: str) -> None:
    score = answer_form(answer, form="ranked_list")
    assert (score.value, score.why[:4]) == (1.0, "a li")


@pytest.mark.parametrize("answer", BAD_LISTS)
def test_bad_lists(answer: str) -> None:
    score = answer_form(answer, form="ranked_list")
    assert score.value == 0
    assert score.why


@pytest.mark.parametrize(
    ("answer", "value", "why"),
    [
        ("colour: red; border: sharp; scale: yes", 1, "every field once"),
        ("scale: yes\nColour: red, blue\nborder: sharp", 1, "every field once"),
        ("<answer>colour: red; border: sharp; scale: yes</answer>", 1, "every field once"),
        ("colour: red; border: sharp", 0, "missing or without a value: scale"),
        ("colour: red; border: sharp; scale:", 0, "missing or without a value: scale"),
        ("colour: red; border: sharp; scale: yes; scale: yes", 0, "more than once: scale"),
        ("colour: red, red; border: sharp; scale: yes", 0, "more than once: red"),
        ("colour: pink; border: sharp; scale: yes", 0, "not a value of its field: colour: pink"),
        ("colour: red; border: sharp; scale: yes; shape: round", 0, "not a field: shape"),
        ("Here it is. colour: red; border: sharp; scale: yes", 0, "not a field: Here it is. colour"),
        ("colour: red; border: sharp; scale: yes; done", 0, "no `field: value`: done"),
        ('{"colour": "red", "border": "sharp", "scale": "yes"}', 0, "not in the form `field: value`"),
        ("", 0, "missing or without a value: colour"),
    ],
)
def test_form_of_captions(answer: str, value: float, why: str) -> None:
    score = answer_form(answer, form="caption", fields=FIELDS)
    assert (score.value, score.why) == (value, why)


def test_form_options() -> None:
    with pytest.raises(ValueError, match="fields is needed"):
        answer_form("x", form="caption")
    with pytest.raises(ValueError, match="'caption', 'ranked_list' or 'described', found 'captions'"):
        answer_form("x", form="captions")
    assert answer_form("a; b", form="ranked_list", list_length=1).value == 0
