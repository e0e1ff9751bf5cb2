"""The built-in tables, each as a whole, and what was reviewed in them by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from skinflow_plugins.diagnosis import Taxonomy, builtin_taxonomies, load_taxonomy
from skinflow_plugins.diagnosis.concept import RISKS, Concept
from skinflow_plugins.diagnosis.folding import fold

NAMES = sorted(builtin_taxonomies())
AUTHORED = ("demo", "fitzpatrick17k", "ham10000", "pad_ufes_20", "ddi")  # a risk class for every label
MALIGNANT = {
    "demo": ("melanoma", "basal cell carcinoma"),
    "ham10000": ("mel", "bcc", "Bowen's disease"),
    "pad_ufes_20": ("MEL", "BCC", "SCC"),
    "ddi": ("melanoma-in-situ", "nodular-melanoma-(nm)", "mycosis-fungoides", "leukemia-cutis"),
    "isic": ("Melanoma, NOS", "melanoma in situ", "BCC", "SCC", "Bowen's disease", "Mycosis fungoides"),
}
CODES = {
    "pad_ufes_20": "ACK actinic keratosis, BCC basal cell carcinoma, MEL melanoma, NEV nevus, "
    "SCC squamous cell carcinoma, SEK seborrheic keratosis",
    "ham10000": "akiec actinic keratoses and intraepithelial carcinoma, bcc basal cell carcinoma, "
    "bkl benign keratosis-like lesions, df dermatofibroma, mel melanoma, nv melanocytic nevi, "
    "vasc vascular lesions",
}
BENIGN = {
    "demo": ("nevus", "halo nevus", "seborrheic keratosis"),
    "ham10000": ("nv", "bkl", "df", "vasc", "solar lentigo"),
    "pad_ufes_20": ("NEV", "SEK"),
    "ddi": ("melanocytic-nevi", "seborrheic-keratosis-irritated", "keloid", "hematoma"),
    "isic": ("Nevus", "Nevus, Halo", "seborrheic keratosis", "Dermatofibroma", "epidermoid cyst"),
}


def read(name: str, text: str) -> Concept:
    concept = load_taxonomy(name).resolve(text)
    assert concept is not None, f"{name} does not read {text!r}"
    return concept


def fitzpatrick(text: str) -> Concept:
    return read("fitzpatrick17k", text)


@pytest.fixture(scope="module")
def tree() -> Taxonomy:
    return load_taxonomy("fitzpatrick17k")


# Every table.


def test_the_tables_are_these() -> None:
    assert {*AUTHORED, "isic"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_says_what_it_is(name: str) -> None:
    tree = load_taxonomy(name)
    text = builtin_taxonomies()[name].read_text(encoding="utf-8")
    head = text.partition("concepts:\n")[0]
    assert tree.name == name
    assert tree.version
    assert "Not clinically validated" in tree.note
    for key in ("version:", "note:", "source:", "licence:", "reviewed:"):
        assert f"\n{key} " in head
    assert "Licence" in head
    assert max(map(len, head.splitlines())) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_every_spelling_means_its_concept(name: str) -> None:
    tree = load_taxonomy(name)
    lost = []
    for concept in tree.concepts.values():
        for text in (concept.name, *concept.aliases, *concept.abbreviations):
            found = tree.resolve(text)
            if found is None or not (found == concept or found == tree.representative(concept)):
                lost.append((concept.id, text, found and found.id))
    assert lost == []


@pytest.mark.parametrize("name", NAMES)
def test_every_label_means_itself(name: str) -> None:
    tree = load_taxonomy(name)
    assert [label.id for label in tree.labels() if tree.resolve(label.name) != label] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_spelling_has_two_diseases(name: str) -> None:
    tree = load_taxonomy(name)
    owners: dict[str, set[str]] = {}
    for concept in tree.concepts.values():
        for text in (*concept.aliases, *concept.abbreviations):
            owners.setdefault(fold(text), set()).add(tree.representative(concept).id)
    assert {text: ids for text, ids in owners.items() if len(ids) > 1} == {}


@pytest.mark.parametrize("name", NAMES)
def test_an_ambiguous_spelling_means_nothing(name: str) -> None:
    tree = load_taxonomy(name)
    for concept in tree.concepts.values():
        for text in concept.ambiguous:
            assert tree.match(text).how == "ambiguous"


@pytest.mark.parametrize("name", NAMES)
def test_a_map_leads_to_a_concept_of_the_other_table(name: str) -> None:
    broken = [
        (concept.id, other, id)
        for concept in load_taxonomy(name).concepts.values()
        for other, id in concept.maps.items()
        if other not in NAMES or id not in load_taxonomy(other).concepts
    ]
    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_a_map_never_crosses_between_malignant_and_benign(name: str) -> None:
    tree = load_taxonomy(name)
    for concept in tree.concepts.values():
        for other, id in concept.maps.items():
            there = load_taxonomy(other)
            risks = {tree.risk(concept), there.risk(there.concepts[id])}
            assert not {"malignant", "benign"} <= risks, (concept.id, other, id)


@pytest.mark.parametrize("name", NAMES)
def test_management_groups_are_explained_and_shared(name: str) -> None:
    tree = load_taxonomy(name)
    used = {concept.management for concept in tree.concepts.values() if concept.management}
    assert used == set(tree.management)
    known = load_taxonomy("fitzpatrick17k").management
    assert all(known.get(key) == text for key, text in tree.management.items())


@pytest.mark.parametrize("name", AUTHORED)
def test_every_label_has_a_risk_and_a_management_group(name: str) -> None:
    tree = load_taxonomy(name)
    without = [c.id for c in tree.labels() if tree.risk(c) not in RISKS or not tree.management_of(c)]
    assert without == []


@pytest.mark.parametrize("name", NAMES)
def test_a_generic_word_has_something_below_and_is_never_the_truth(name: str) -> None:
    tree = load_taxonomy(name)
    generic = [c for c in tree.concepts.values() if c.kind == "generic"]
    for concept in generic:
        assert tree.children(concept), concept.id
        assert not any(tree.subtype(below, concept) for below in tree.children(concept))


@pytest.mark.parametrize("name", sorted(BENIGN))
def test_malignant_and_benign(name: str) -> None:
    tree = load_taxonomy(name)
    assert {text: tree.risk(read(name, text)) for text in MALIGNANT[name]} == dict.fromkeys(
        MALIGNANT[name], "malignant"
    )
    assert {text: tree.risk(read(name, text)) for text in BENIGN[name]} == dict.fromkeys(
        BENIGN[name], "benign"
    )


@pytest.mark.parametrize("name", ["fitzpatrick17k", "ham10000", "pad_ufes_20", "ddi", "isic"])
def test_actinic_keratosis_is_premalignant(name: str) -> None:
    concept = read(name, "actinic keratosis")
    assert load_taxonomy(name).risk(concept) == "premalignant"
    assert load_taxonomy(name).management_of(concept) == "field-treatment-and-surveillance"
    assert read(name, "solar keratosis") == read(name, "AK") == concept


# The small tables and ISIC's.


@pytest.mark.parametrize(("name", "labels"), [("demo", 6), ("pad_ufes_20", 6), ("ham10000", 7), ("ddi", 78)])
def test_labels(name: str, labels: int) -> None:
    assert len(load_taxonomy(name).labels()) == labels


@pytest.mark.parametrize(
    ("name", "code", "text"), [(n, *item.split(" ", 1)) for n in CODES for item in CODES[n].split(", ")]
)
def test_the_codes_of_the_data_sets_are_read(name: str, code: str, text: str) -> None:
    assert read(name, code) == read(name, text)
    assert read(name, code).kind == "label"
    assert load_taxonomy(name).depth(read(name, code)) == 2


@pytest.mark.parametrize(
    ("name", "form", "label"),
    [
        ("pad_ufes_20", "Bowen's disease", "SCC"),
        ("pad_ufes_20", "lentigo maligna", "MEL"),
        ("ham10000", "solar lentigo", "bkl"),
        ("ham10000", "seborrheic keratosis", "bkl"),
        ("ham10000", "lichen planus-like keratosis", "bkl"),
        ("ham10000", "Bowen's disease", "akiec"),
        ("ham10000", "cherry angioma", "vasc"),
        ("ddi", "squamous-cell-carcinoma-in-situ", "squamous-cell-carcinoma"),
        ("ddi", "nodular melanoma", "melanoma"),
        ("ddi", "seborrheic-keratosis-irritated", "seborrheic-keratosis"),
        ("ddi", "blue-nevus", "melanocytic-nevi"),
        ("isic", "Nevus, Halo", "nevus"),
        ("isic", "Melanoma in situ", "Melanoma, NOS"),
        ("isic", "superficial spreading melanoma", "melanoma"),
        ("isic", "Squamous cell carcinoma, Invasive", "squamous cell carcinoma"),
    ],
)
def test_forms_of_a_label(name: str, form: str, label: str) -> None:
    tree = load_taxonomy(name)
    assert read(name, label).kind == "label"
    assert tree.subtype(read(name, form), read(name, label))
    assert not tree.subtype(read(name, label), read(name, form))


def test_ddi_names_are_spelt_as_in_the_data_set_and_read_with_spaces() -> None:
    for label in load_taxonomy("ddi").labels():
        assert " " not in label.name
        assert label.name == label.name.lower()
        assert read("ddi", label.name.replace("-", " ")) == label


def test_kinds_of_isic() -> None:
    tree = load_taxonomy("isic")
    groups = [c for c in tree.concepts.values() if c.kind == "group"]
    assert {c.name for c in tree.children()} <= {c.name for c in groups}
    assert all(tree.depth(c) == 1 or " - " in c.name for c in groups)
    assert {c.kind for c in tree.concepts.values()} == {"group", "label"}
    assert tree.same(read("isic", "melanoma"), read("isic", "Melanoma, NOS"))
    assert tree.resolve("carcinoma") is None


def test_isic_does_not_guess_a_risk_where_the_archive_does_not() -> None:
    tree = load_taxonomy("isic")
    assert tree.risk(read("isic", "Atypical Spitz tumor")) is None
    assert tree.risk(read("isic", "Indeterminate")) is None
    assert tree.infectious(read("isic", "wart"))


# Fitzpatrick17k.


def test_groups_of_fitzpatrick17k(tree: Taxonomy) -> None:
    labels = tree.labels()
    assert len(labels) == 114
    assert Counter(tree.group(c, "nine") for c in labels) == {
        "benign dermal": 12,
        "benign epidermal": 9,
        "benign melanocyte": 3,
        "malignant cutaneous lymphoma": 1,
        "malignant dermal": 1,
        "malignant epidermal": 5,
        "malignant melanoma": 4,
        "genodermatoses": 10,
        "inflammatory": 69,
    }
    three = Counter(tree.group(c, "three") for c in labels)
    assert three == {"benign": 24, "malignant": 11, "non-neoplastic": 79}


@pytest.mark.parametrize(
    "text",
    [
        *("stevens johnson syndrome", "SJS", "toxic epidermal necrolysis", "TEN", "DRESS", "DRESS syndrome"),
        *("necrotizing fasciitis", "necrotising fasciitis", "eczema herpeticum", "erythroderma"),
    ],
)
def test_emergencies(tree: Taxonomy, text: str) -> None:
    assert tree.risk(fitzpatrick(text)) == "emergency"
    assert tree.management_of(fitzpatrick(text)) == "emergency-admission"


def test_no_emergency_by_inheritance(tree: Taxonomy) -> None:
    """Whatever is an emergency says so itself, and goes to hospital; so nothing gets it from above."""
    for concept in tree.concepts.values():
        emergency = tree.risk(concept) == "emergency"
        assert emergency == (concept.risk == "emergency"), concept.id
        assert emergency == (tree.management_of(concept) == "emergency-admission"), concept.id
    assert [c.id for c in tree.labels() if c.risk == "emergency"] == ["stevens-johnson-syndrome"]


@pytest.mark.parametrize(
    "text",
    [
        *("eczema", "atopic dermatitis", "dermatitis", "psoriasis", "pustular psoriasis", "drug eruption"),
        *("fixed eruptions", "erythema multiforme", "herpes simplex", "cellulitis", "impetigo", "urticaria"),
    ],
)
def test_what_looks_like_an_emergency_and_is_none(tree: Taxonomy, text: str) -> None:
    assert tree.risk(fitzpatrick(text)) != "emergency"


@pytest.mark.parametrize(
    ("text", "risk"),
    [
        *((text, "infectious") for text in ("scabies", "tungiasis", "lyme disease")),
        *((text, "malignant") for text in ("melanoma", "malignant melanoma", "lentigo maligna")),
        *((text, "malignant") for text in ("basal cell carcinoma morpheiform", "squamous cell carcinoma")),
        *((text, "malignant") for text in ("mycosis fungoides", "kaposi sarcoma")),
        *((text, "benign") for text in ("nevocytic nevus", "seborrheic keratosis")),
        ("psoriasis", "inflammatory"),
        ("dermatomyositis", "systemic"),
    ],
)
def test_risks_of_fitzpatrick17k(tree: Taxonomy, text: str, risk: str) -> None:
    assert tree.risk(fitzpatrick(text)) == risk
    assert tree.infectious(fitzpatrick(text)) == (risk == "infectious")


def test_malignant_labels_are_those_of_the_data_set_without_actinic_keratosis(tree: Taxonomy) -> None:
    source = {c.id for c in tree.labels() if tree.group(c, "three") == "malignant"}
    assert {c.id for c in tree.labels() if tree.risk(c) == "malignant"} == source - {"actinic-keratosis"}


def test_psoriasis_and_its_look_alikes_are_three(tree: Taxonomy) -> None:
    three = [fitzpatrick(text) for text in ("psoriasis", "parapsoriasis", "psoriatic arthritis")]
    for a in three:
        for b in three:
            assert tree.same(a, b) == (a == b)
            assert not tree.subtype(a, b)


@pytest.mark.parametrize("text", ["dermatitis", "carcinoma", "nevus", "keratosis", "lymphoma"])
def test_generic_words(tree: Taxonomy, text: str) -> None:
    concept = fitzpatrick(text)
    assert concept.kind == "generic"
    assert tree.children(concept)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("epidermoid cyst", "pilar cyst"),
        ("epidermal cyst", "pilar cyst"),
        ("neutrophilic eccrine hidradenitis", "hidradenitis"),
        ("atopic dermatitis", "eczema"),
        ("dermatitis", "eczema"),
        ("porokeratosis", "porokeratosis of mibelli"),
        ("neurofibroma", "neurofibromatosis"),
        ("eczema herpeticum", "eczema"),
        ("parapsoriasis", "psoriasis"),
        ("carcinoma", "basal cell carcinoma"),
        ("keratosis", "actinic keratosis"),
        ("urticaria pigmentosa", "urticaria"),
        ("contact dermatitis", "allergic contact dermatitis"),
        ("dysplastic nevus", "nevocytic nevus"),
    ],
)
def test_wrong_senses_stay_out(tree: Taxonomy, text: str, label: str) -> None:
    found = tree.resolve(text)
    assert found is None or not tree.same(found, fitzpatrick(label))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("acne", "acne vulgaris"),
        ("melanoma", "malignant melanoma"),
        ("granuloma pyogenic", "pyogenic granuloma"),
        ("disseminated actinic porokeratosis", "porokeratosis actinic"),
        ("neurodermatitis", "lichen simplex"),
    ],
)
def test_one_disease_under_two_labels(tree: Taxonomy, one: str, other: str) -> None:
    a, b = fitzpatrick(one), fitzpatrick(other)
    assert a != b
    assert a.kind == b.kind == "label"
    assert tree.same(a, b)
    assert tree.same(b, a)
    assert tree.path(a) == tree.path(b)
    assert tree.risk(a) == tree.risk(b)
    assert tree.management_of(a) == tree.management_of(b)
    assert not tree.subtype(a, b)


@pytest.mark.parametrize(
    ("form", "disease"),
    [
        ("pustular psoriasis", "psoriasis"),
        ("lupus subacute", "lupus erythematosus"),
        ("superficial spreading melanoma ssm", "melanoma"),
        ("superficial spreading melanoma ssm", "malignant melanoma"),
        ("lentigo maligna", "malignant melanoma"),
        ("basal cell carcinoma morpheiform", "basal cell carcinoma"),
        ("solid cystic basal cell carcinoma", "basal cell carcinoma"),
        ("dyshidrotic eczema", "eczema"),
    ],
)
def test_forms_of_fitzpatrick17k(tree: Taxonomy, form: str, disease: str) -> None:
    assert tree.subtype(fitzpatrick(form), fitzpatrick(disease))
    assert not tree.subtype(fitzpatrick(disease), fitzpatrick(form))
    assert not tree.same(fitzpatrick(form), fitzpatrick(disease))
