import itertools
import pickle
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import Taxonomy, builtin_taxonomies, load_taxonomy
from skinflow_plugins.diagnosis.load import _load
from skinflow_plugins.errors import InputError

NAMES = sorted(builtin_taxonomies())


def test_the_tables_are_these() -> None:
    assert NAMES == ["ddi", "demo", "fitzpatrick17k", "ham10000", "isic", "pad_ufes_20"]


@pytest.mark.parametrize("name", NAMES)
def test_every_table_says_what_it_is(name: str) -> None:
    head = builtin_taxonomies()[name].read_text(encoding="utf-8").partition("concepts:")[0]
    assert load_taxonomy(name).name == name
    assert load_taxonomy(name).note == "Not clinically validated. Research use only."
    for word in ("# Source:", "Licence", "Version", "# Not clinically validated. Research use only."):
        assert word in head


@pytest.mark.parametrize(("name", "concepts", "leaves"), [("fitzpatrick17k", 500, 401), ("isic", 418, 326)])
def test_sizes(name: str, concepts: int, leaves: int) -> None:
    tree = load_taxonomy(name)
    assert (len(tree), len(tree.leaves())) == (concepts, leaves)


def test_two_trees_of_fitzpatrick17k() -> None:
    tree = load_taxonomy("fitzpatrick17k")
    keratosis = tree.resolve("actinic keratosis")
    assert keratosis is not None
    # The data set files it under malignant; the clinical tree does not.
    source = ("three:malignant", "nine:malignant epidermal", "actinic-keratosis")
    assert tree.path(keratosis, "source") == source
    assert tree.path(keratosis) == ("premalignant-lesion", "actinic-keratosis")
    twin = tree.resolve("malignant melanoma")
    melanoma = tree.resolve("melanoma")
    assert twin is not None
    assert melanoma is not None
    assert twin != melanoma
    assert tree.same(twin, melanoma)
    assert tree.path(twin) == tree.path(melanoma)
    assert tree.path(twin, "source")[:2] == ("three:malignant", "nine:malignant melanoma")
    dermatitis = tree.resolve("dermatitis")
    assert dermatitis is not None
    assert tree.path(dermatitis, "source") == ("three:non-neoplastic", "nine:inflammatory")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("melanomas", "Malignant melanocytic proliferations (Melanoma)"),
        ("naevus", "Nevus"),
        ("Nevus, Halo", "Nevus, Halo"),
    ],
)
def test_isic_names(text: str, name: str) -> None:
    concept = load_taxonomy("isic").resolve(text)
    assert concept is not None
    assert concept.name == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Melanoma", "melanoma"),
        ("1. Melanomas", "melanoma"),
        ("malignant melanoma", "melanoma"),
        ("basal cell carcinoma (BCC)", "basal cell carcinoma"),
        ("basal cell carcinoma [nodular]", "basal cell carcinoma"),
        ("seborrhoeic keratoses", "seborrheic keratosis"),
        ("scaly rash", "scaly rash"),
        ("not melanoma", None),
        ("rule out melanoma", None),
        ("no evidence of psoriasis", None),
        ("melanoma (ruled out)", None),
        ("(not) melanoma", None),
        ("melanoma?", None),
        ("melanoma, psoriasis", None),
        ("parapsoriasis", None),
        ("psoriatic arthritis", None),
        ("carcinoma", None),
        ("melanoma of the skin", None),
        ("", None),
        ("()", None),
        ("melanoma " * 10_000, None),
        ("\u0000", None),
    ],
)
def test_resolve_is_strict(text: str, name: str | None) -> None:
    concept = load_taxonomy("demo").resolve(text)
    assert (concept and concept.name) == name


def test_a_list_of_all_names_is_no_name() -> None:
    tree = load_taxonomy("fitzpatrick17k")
    for separator in (" ", ", ", "; "):
        assert tree.resolve(separator.join(c.name for c in tree.leaves()[:4])) is None


def _demo(name: str):  # type: ignore[no-untyped-def]
    concept = load_taxonomy("demo").resolve(name)
    assert concept is not None
    return concept


def test_lines_depths_and_distances_by_hand() -> None:
    tree = load_taxonomy("demo")
    melanoma, bcc, nevus, halo = map(_demo, ("melanoma", "BCC", "nevus", "halo nevus"))
    malignant = _demo("malignant")
    assert [c.name for c in tree.ancestors(melanoma)] == ["malignant melanocytic", "malignant"]
    assert (tree.depth(malignant), tree.depth(melanoma)) == (1, 3)
    assert tree.distance(melanoma, melanoma) == 0
    assert tree.distance(nevus, halo) == 2
    assert tree.distance(melanoma, bcc) == 4
    assert tree.distance(melanoma, nevus) == 6
    assert tree.distance(melanoma, malignant) == 2
    assert tree.similarity(nevus, halo) == pytest.approx(2 / 4)
    assert tree.similarity(melanoma, bcc) == pytest.approx(1 / 5)
    assert tree.similarity(melanoma, nevus) == 0
    assert tree.is_a(melanoma, malignant)
    assert tree.is_a(melanoma, melanoma)
    assert not tree.is_a(malignant, melanoma)
    assert [c.name for c in tree.children()] == ["benign", "malignant", "inflammatory"]
    assert tree.children(melanoma) == ()


ISIC = sorted(load_taxonomy("isic").concepts)


@given(st.sampled_from(ISIC), st.sampled_from(ISIC), st.sampled_from(ISIC))
def test_distance_is_a_metric_and_similarity_follows(one: str, two: str, three: str) -> None:
    tree = load_taxonomy("isic")
    a, b, c = (tree.concepts[key] for key in (one, two, three))
    assert tree.distance(a, b) == tree.distance(b, a)
    assert (tree.distance(a, b) == 0) == (a == b)
    assert tree.distance(a, c) <= tree.distance(a, b) + tree.distance(b, c)
    assert 0 <= tree.similarity(a, b) == tree.similarity(b, a) <= 1
    assert (tree.similarity(a, b) == 1) == (a == b)
    if tree.distance(a, b) <= tree.distance(a, c) and tree.shared(a, b) >= tree.shared(a, c):
        assert tree.similarity(a, b) >= tree.similarity(a, c)


@given(st.text(max_size=60))
def test_resolve_takes_any_text(text: str) -> None:
    load_taxonomy("demo").resolve(text)


def test_loading_is_fast_and_kept() -> None:
    load_taxonomy("isic")
    _load.cache_clear()
    start = time.perf_counter()
    first = load_taxonomy("isic")
    assert time.perf_counter() - start < 0.5  # 0.02 s on two idle cores; the rest is for a busy machine
    assert load_taxonomy("isic") is first
    assert load_taxonomy(builtin_taxonomies()["isic"]) is first


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("version: '1'\nconcepts: [one]\n")
    assert isinstance(load_taxonomy(path), Taxonomy)
    assert load_taxonomy(str(path)).name == "mine"
    path.write_text("version: '1'\nconcepts: [one, two]\n")
    assert len(load_taxonomy(path)) == 2


def test_pickle() -> None:
    copied = pickle.loads(pickle.dumps(load_taxonomy("demo")))
    assert copied.resolve("BCC") == _demo("BCC")


def _mistakes(tmp_path: Path, text: str) -> list[tuple[int | None, str]]:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_taxonomy(path)
    assert all(problem.where == str(path) for problem in caught.value.problems)
    return [(problem.line, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("version: '1'\nconcepts: [a\n", 3, "not YAML"),
        ("- a\n", 1, "must be a mapping"),
        ("", None, "no `version`"),
        ("", None, "no `concepts`"),
        ("version: '1'\nconcepts: []\n", 2, "empty"),
        ("concepts: [a]\n", 1, "no `version`"),
        ("version: '1'\nconcept: [a]\n", 2, "did you mean 'concepts'?"),
        ("version: '1'\nconcepts:\n- name: a\n  alias: [b]\n", 4, "did you mean 'aliases'?"),
        ("version: '1'\nconcepts:\n- a\n- b\n- a\n", 5, "the id 'a' stands already in line 3"),
        (
            "version: '1'\nconcepts:\n- {name: a, aliases: [c]}\n- {name: b, aliases: [C]}\n",
            4,
            "'c' names two concepts: 'a' (line 3) and 'b'",
        ),
        ("version: '1'\nconcepts:\n- {name: a, aliases: [b]}\n- b\n", 4, "names two concepts"),
        (
            "version: '1'\nconcepts:\n- {name: x, children: [a]}\n- {name: y, children: [a]}\n",
            4,
            "two concepts",
        ),
        ("version: '1'\nconcepts:\n- {name: x, aliases: [a], children: [a]}\n", 3, "two concepts"),
        ("version: '1'\nconcepts:\n- {name: a, parent: bone}\n- bones\n", 3, "did you mean 'bones'?"),
        (
            "version: '1'\nconcepts:\n- {name: a, parent: b}\n- {name: b, parent: a}\n",
            3,
            "circle: a -> b -> a",
        ),
        ("version: '1'\nconcepts:\n- &a\n  name: a\n  children: [*a]\n", 3, "its own descendant"),
        ("version: '1'\nconcepts:\n- {name: a, children: [{name: b, parent: a}]}\n", 3, "`parent` too"),
        ("version: '1'\nconcepts:\n- {name: '!!'}\n", 3, "at least one letter"),
        ("version: '1'\nconcepts:\n- {name: a, aliases: ['?']}\n", 3, "empty alias"),
        ("version: '1'\nconcepts:\n- {name: a, aliases: b}\n", 3, "`aliases` must be a list"),
        ("version: '1'\nconcepts:\n- {name: [a]}\n", 3, "`name` must be a text"),
    ],
)
def test_mistakes_are_explained_with_their_line(
    tmp_path: Path, text: str, line: int | None, part: str
) -> None:
    found = _mistakes(tmp_path, text)
    assert any(at == line and part in message for at, message in found), found


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = "version: '1'\nnotes: x\nconcepts:\n- {name: a, alias: b}\n- {name: c, parent: d}\n- c\n"
    assert [line for line, _ in _mistakes(tmp_path, text)] == [2, 4, 5, 6]


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown taxonomy 'fitzpatrik17k'; did you mean 'fitzpatrick17k'\?"
    ):
        load_taxonomy("fitzpatrik17k")
    with pytest.raises(InputError, match="No such file"):
        load_taxonomy(tmp_path / "none.yaml")


def test_flat_parents(tmp_path: Path) -> None:
    path = tmp_path / "flat.yaml"
    path.write_text("version: '1'\nconcepts:\n- {name: leaf, parent: top}\n- top\n")
    tree = load_taxonomy(path)
    leaf, top = tree.concepts["leaf"], tree.concepts["top"]
    assert tree.ancestors(leaf) == (top,)
    assert tree.leaves() == (leaf,)


def test_no_two_concepts_share_an_id() -> None:
    for name in NAMES:
        for one, two in itertools.pairwise(sorted(load_taxonomy(name).concepts)):
            assert one != two
