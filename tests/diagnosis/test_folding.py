import pytest

from skinflow_plugins.diagnosis.folding import doubtful, fold, strip_marker, without_parentheses


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Melanoma", "melanoma"),
        ("haemangioma", "hemangioma"),
        ("naevi", "nevus"),
        ("seborrhoeic keratoses", "seborrheic keratosis"),
        ("Darier\u2019s disease", "dariers disease"),
        ("Kaposi's sarcoma", "Kaposi sarcoma"),
        ("  port-wine   stain ", "port wine stain"),
        ("squamous_cell-carcinoma", "squamous cell carcinoma"),
        ("1. psoriasis", "psoriasis"),
        ("(2) psoriasis", "psoriasis"),
        ("- psoriasis", "psoriasis"),
        ("ﬁbroma", "fibroma"),
        ("ＢＣＣ", "bcc"),
        ("Sjögren syndrome", "sjogren syndrome"),
        ("bullae", "bulla"),
        ("patches", "patch"),
        ("naevus sebaceus tumours", "nevus sebaceus tumor"),
        ("telangiectases", "telangiectasis"),
        ("diseases", "disease"),
    ],
)
def test_spellings_that_fold_together(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("granuloma pyogenic", "pyogenic granuloma"),
        ("acne", "acne vulgaris"),
        ("melanoma?", "melanoma"),
        ("parapsoriasis", "psoriasis"),
        ("psoriasis", "psoriatic"),
    ],
)
def test_what_stays_apart(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize(
    "text",
    [
        "not melanoma",
        "rule out melanoma",
        "r/o BCC",
        "no evidence of psoriasis",
        "possible melanoma",
        "melanoma vs nevus",
        "melanoma or nevus",
        "melanoma?",
        "melanoma, excluded",
        "negative for melanoma",
        "isn\u2019t melanoma",
    ],
)
def test_doubt(text: str) -> None:
    assert doubtful(text)


@pytest.mark.parametrize(
    "text", ["melanoma", "nodular melanoma", "notalgia paresthetica", "nonmelanoma", "orf", "non-neoplastic"]
)
def test_no_doubt(text: str) -> None:
    assert not doubtful(text)


def test_parentheses_and_markers() -> None:
    assert fold(without_parentheses("squamous cell carcinoma (SCC)")) == "squamous cell carcinoma"
    assert without_parentheses("(melanoma)") == "(melanoma)"
    assert strip_marker("12) x") == "x"
    assert strip_marker("5-fluorouracil") == "5-fluorouracil"
