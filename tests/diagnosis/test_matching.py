from pathlib import Path

import pytest

from skinflow_plugins.diagnosis import load_taxonomy
from skinflow_plugins.errors import InputError

TREE = load_taxonomy("fitzpatrick17k")


@pytest.mark.parametrize(
    ("text", "name", "how"),
    [
        ("psoriasis", "psoriasis", "exact"),
        ("3. Psoriasis", "psoriasis", "folded"),
        ("carcinoma, basal cell", "basal cell carcinoma", "order"),
        ("rodent ulcer", "basal cell carcinoma", "alias"),
        ("bcc", "basal cell carcinoma", "abbreviation"),
        ("basal cell carcinoma (BCC)", "basal cell carcinoma", "folded"),
        ("seborrhoeic keratoses", "seborrheic keratosis", "folded"),
        ("dermatofibrosarcoma protuberens", "dermatofibrosarcoma protuberans", "close"),
        ("PG", None, "ambiguous"),
        ("melanoma?", None, "doubtful"),
        ("not melanoma", None, "doubtful"),
        ("x" * 201, None, "long"),
        ("", None, "unknown"),
        ("melanuma", None, "unknown"),  # one slip in eight letters is too much to be sure
    ],
)
def test_how_a_name_matched(text: str, name: str | None, how: str) -> None:
    found = TREE.match(text)
    assert (found.concept and found.concept.name, found.how) == (name, how)
    assert TREE.resolve(text) == found.concept


@pytest.mark.parametrize(
    "text",
    [
        *("systemic scleredema", "localized scleredema", "scleroderma adultorum", "tuberculosis leprosy"),
        *("cutaneous tuberculoid", "annular cheilitis", "subacute cutaneus lupus erythematosus variant"),
        *("phytodermatosis", "neurofibromatosis type 2", "hyperpigmented mycosis fungoides"),
        *("mel\u0430noma", "psori\u03b1sis vulgaris"),  # letters of other alphabets
    ],
)
def test_a_word_of_another_disease_is_no_slip_of_the_pen(text: str) -> None:
    assert TREE.resolve(text) is None


@pytest.mark.parametrize(
    "text",
    ["melanoma (nevus)", "melanoma (benign)", "eczema (vaccinatum)", "psoriasis (ruled out)", "acne (mimic)"],
)
def test_what_stands_in_parentheses_can_take_a_name_back(text: str) -> None:
    assert TREE.resolve(text) is None


def test_a_label_is_not_guessed() -> None:
    assert TREE.resolve("dermatofibrosarcoma protuberens") is not None
    assert TREE.label("dermatofibrosarcoma protuberens") is None
    assert TREE.label("dermatitis") is None
    assert TREE.label("BCC") is TREE.resolve("basal cell carcinoma")


def test_what_was_read_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from skinflow_plugins.diagnosis import matching

    monkeypatch.setattr(matching, "REMEMBERED", 10)
    tree = load_taxonomy("demo")
    for i in range(50):
        tree.match(f"zzz {i}")
    tree.match("y" * 100_000)
    assert len(tree._matcher._seen) <= 10
    assert all(len(text) <= 200 for text in tree._matcher._seen)


def table(tmp_path: Path, concepts: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"version: '1'\npartitions: [fine, coarse]\nmanagement: {{cut: x}}\nconcepts:\n{concepts}", "utf-8"
    )
    return file


@pytest.mark.parametrize(
    ("concepts", "words"),
    [
        ("  - {name: a, groups: {fine: x, coarse: y}, ambiguous: [q]}", "'q' is `ambiguous` at 'a' alone"),
        (
            "  - {name: a, groups: {fine: x, coarse: y}, aliases: [q]}\n"
            "  - {name: b, groups: {fine: x, coarse: y}, aliases: [Q]}",
            "mine.yaml:6: 'q' names two concepts: 'a' (line 5) and 'b'",
        ),
        ("  - {name: a, groups: {fine: x}}", "the label 'a' has no group of the partition 'coarse'"),
        ("  - {name: a, groups: {fien: x}}", "unknown partition 'fien'; did you mean 'fine'?"),
        (
            "  - {name: a, groups: {fine: x, coarse: y}}\n  - {name: b, groups: {fine: x, coarse: z}}",
            "the fine group 'x' lies in the coarse group 'z' here and in 'y' at 'a'",
        ),
        ("  - {name: a, groups: {fine: x, coarse: y}, management: cute}", "did you mean 'cut'?"),
        (
            "  - {name: a, groups: {fine: x, coarse: y}, risk: bengin}",
            "`risk` is 'bengin'; did you mean 'benign'",
        ),
        ("  - {name: a, groups: {fine: x, coarse: y}, same_as: [bb]}", "unknown id 'bb' in `same_as`"),
        (
            "  - {name: a, id: a, groups: {fine: x, coarse: y}, subtype_of: [b]}\n"
            "  - {name: b, id: b, groups: {fine: x, coarse: y}, subtype_of: [a]}",
            "subtypes and parents run in a circle",
        ),
        ("  - {name: a, kind: lable, groups: {fine: x, coarse: y}}", "did you mean 'label'?"),
        ("  - {name: a, infectious: perhaps, groups: {fine: x, coarse: y}}", "expected true or false"),
    ],
)
def test_mistakes_of_a_table_are_named_with_their_line(tmp_path: Path, concepts: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        load_taxonomy(table(tmp_path, concepts))
    assert words in str(raised.value)
    assert "mine.yaml:" in str(raised.value)


def test_one_disease_may_share_its_names(tmp_path: Path) -> None:
    tree = load_taxonomy(
        table(
            tmp_path,
            "  - {name: a, id: a, groups: {fine: x, coarse: y}, aliases: [q], same_as: [b]}\n"
            "  - {name: b, id: b, groups: {fine: x, coarse: y}, aliases: [q]}\n",
        )
    )
    a, b = tree.concepts["a"], tree.concepts["b"]
    assert tree.resolve("q") == a
    assert tree.same(a, b)
    assert tree.representative(b) == a
    assert not tree.subtype(b, a)
