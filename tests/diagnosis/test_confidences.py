import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import load_taxonomy, read_answer
from skinflow_plugins.diagnosis.confidences import stated_probabilities, write_with_confidences
from skinflow_plugins.diagnosis.listed import read_listed

TREE = load_taxonomy("fitzpatrick17k")


@pytest.mark.parametrize(
    ("text", "confidences"),
    [
        ("melanoma (0.7); eczema (20%)", [0.7, 0.2]),
        ("melanoma: 0.7, eczema: .2", [0.7, 0.2]),
        ("melanoma (p=0.7); eczema (p = 1)", [0.7, 1.0]),
        ("melanoma - 0.7; eczema \u2013 0.2", [0.7, 0.2]),
        ("melanoma [0.7]; eczema = 0.2", [0.7, 0.2]),
        ("squamous cell carcinoma (SCC) (0.70); eczema", [0.7, None]),
        ('[{"diagnosis": "melanoma", "confidence": "0.7"}, {"name": "eczema", "p": 0.2}]', [0.7, 0.2]),
        ('{"melanoma": "0.7", "eczema": "20%"}', [0.7, 0.2]),
        ('{"diagnoses": ["melanoma", "eczema"], "confidences": [0.7, 0.2]}', [None, None]),
        ('{"diagnoses": ["melanoma", "eczema"], "confidence": [0.7, 0.2]}', [0.7, 0.2]),
        ('{"diagnoses": ["melanoma", "eczema"], "confidence": [0.7]}', [None, None]),
        ('{"diagnoses": ["melanoma", "eczema"], "confidence": ["high", 0.2]}', [None, None]),
        ("| Diagnosis | Confidence |\n|---|---|\n| melanoma | 0.7 |\n| eczema | 20% |", [0.7, 0.2]),
        ("melanoma (2); eczema (p53)", [None, None]),
        ("melanoma (1.5); eczema (120%)", [None, None]),
    ],
)
def test_what_is_read(text: str, confidences: list[float | None]) -> None:
    read = read_answer(text, 6, known=TREE.knows)
    assert read.confidences == pytest.approx(confidences)
    found = read_listed(text, 6, TREE)
    assert found.found[0] in (TREE.label("melanoma"), TREE.label("squamous cell carcinoma"))


def test_probabilities_by_disease() -> None:
    text = "melanoma (0.3); malignant melanoma (0.2); zzz (0.1); eczema; acne (0%)"
    stated = stated_probabilities(read_listed(text, 6, TREE), TREE)
    melanoma, eczema = TREE.label("melanoma"), TREE.label("eczema")
    assert melanoma is not None
    assert eczema is not None
    assert stated.of(melanoma, TREE) == pytest.approx(0.5)
    assert stated.of(eczema, TREE) == 0
    assert len(stated.by_disease) == 2
    assert stated.total == pytest.approx(0.6)
    assert stated.possible


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("melanoma (1.0)", True),
        ("melanoma (0.1); acne (0.2); eczema (0.7)", True),
        ("melanoma (0.6); acne (0.6)", False),
        ("melanoma (1.0); acne (0.00001)", False),
        ("melanoma", False),
        ("", False),
    ],
)
def test_what_can_be_probabilities(text: str, possible: bool) -> None:
    assert stated_probabilities(read_listed(text, 6, TREE), TREE).possible is possible


NAMES = [label.name for label in TREE.labels() if "," not in label.name]


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.integers(1, 10**9).map(lambda n: n / 10**9), min_size=1, max_size=6
    )
)
def test_what_is_written_reads_back(pairs: dict[str, float]) -> None:
    read = read_answer(write_with_confidences(pairs.items()), 6, known=TREE.knows)
    assert read.items == list(pairs)
    assert read.confidences == pytest.approx(list(pairs.values()), abs=1e-12)


def test_a_name_with_a_comma_reads_back() -> None:
    isic = load_taxonomy("isic")
    read = read_listed(write_with_confidences([("Blue nevus, Cellular", 0.25)]), 6, isic)
    assert (read.names, read.confidences) == (["Blue nevus, Cellular"], (0.25,))
