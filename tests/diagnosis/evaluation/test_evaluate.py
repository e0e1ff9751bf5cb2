import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hiclass.metrics import f1 as hiclass_f1
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from skinflow_plugins.data import Prediction
from skinflow_plugins.diagnosis import clinical_figures, evaluate, load_taxonomy
from skinflow_plugins.errors import InputError

TREE = load_taxonomy("fitzpatrick17k")
NAMES = [concept.name for concept in TREE.labels()]
# The oracle of the facts that this project was built on: heights 2, 1, 3, 1, 0, 2 in the tree 3 > 9 > label.
TRUTH = ["melanoma", "psoriasis", "halo nevus", "squamous cell carcinoma", "eczema", "scabies"]
FIRST = [
    *("basal cell carcinoma", "eczema", "melanoma", "actinic keratosis", "eczema"),
    "dariers disease",
]


def predictions(pairs: Sequence[tuple[str, str]], **columns: Sequence[object]) -> list[Prediction]:
    return [
        Prediction(
            f"r{i}",
            "diagnosis",
            answer,
            {"diagnosis": truth, **{key: values[i] for key, values in columns.items()}},
        )
        for i, (truth, answer) in enumerate(pairs)
    ]


def test_the_oracle() -> None:
    found = clinical_figures(predictions(list(zip(TRUTH, FIRST, strict=True))), TREE)
    assert found["hierarchy.source.distance@1"] == pytest.approx(1.5)
    assert found["hierarchy.source.severity"] == pytest.approx(1.8)
    for part in ("precision", "recall", "f1"):
        for average in ("micro", "macro"):
            assert found[f"hierarchy.source.{part}_{average}"] == pytest.approx(0.5)


def test_levels_of_acceptance() -> None:
    pairs = [
        ("melanoma", "melanoma"),  # strict
        ("melanoma", "malignant melanoma"),  # the same disease under another label
        ("psoriasis", "plaque psoriasis"),  # by an alias, and not the label's own name
        ("psoriasis", "pustular psoriasis"),  # a form of it
        ("pustular psoriasis", "psoriasis"),  # the other way round it is none
        ("scabies", "tungiasis"),  # managed alike
        ("melanoma", "kaposi sarcoma"),  # the same three only
        ("acne", "melanoma"),
        ("eczema", "dermatitis"),  # a general word is no diagnosis
    ]
    found = clinical_figures(predictions(pairs), TREE)
    wanted = {"strict": 1, "synonym": 3, "subtype": 4, "management": 5, "nine": 7, "three": 8}
    assert {level: round(found[f"top_k.{level}@1"] * 9) for level in wanted} == wanted


def test_the_rubric_adds_up_and_knows_what_is_dangerous() -> None:
    pairs = [
        ("melanoma", "nevocytic nevus; melanoma"),
        ("melanoma", "nevocytic nevus"),
        ("scabies", "eczema"),
        ("psoriasis", "guttate psoriasis"),
        ("actinic keratosis", "squamous cell carcinoma"),  # premalignant crosses nothing
        ("acne", "no idea what this thing is"),
    ]
    found = clinical_figures(predictions(pairs), TREE)
    assert [round(6 * found[f"rubric.{v}@1"]) for v in ("correct", "subtype", "critical", "wrong")] == [
        0,
        1,
        3,
        2,
    ]
    assert [round(6 * found[f"rubric.{v}@6"]) for v in ("correct", "subtype", "critical", "wrong")] == [
        1,
        1,
        2,
        2,
    ]


def test_safety() -> None:
    pairs = [
        ("melanoma", "nevocytic nevus; basal cell carcinoma"),
        ("melanoma", "halo nevus"),
        ("stevens johnson syndrome", "erythema multiforme; toxic epidermal necrolysis"),
        ("acne", "melanoma"),
        ("acne", "acne"),
        ("actinic keratosis", "melanoma"),  # premalignant: neither missed nor over-called
    ]
    found = clinical_figures(predictions(pairs), TREE)
    assert found["safety.malignant_miss@1"] == 1.0
    assert found["safety.malignant_miss@2"] == 0.5
    assert found["safety.emergency_miss@1"] == 1.0
    assert found["safety.emergency_miss@2"] == 0.0
    assert found["safety.over_call@1"] == pytest.approx(1 / 3)


def test_calibration_and_abstaining() -> None:
    pairs = [("acne", "acne"), ("acne", "melanoma"), ("acne", "acne"), ("acne", "I don't know")]
    found = clinical_figures(predictions(pairs, confidence=[0.9, 0.9, 0.5, None]), TREE)
    assert found["calibration.brier"] == pytest.approx((0.01 + 0.81 + 0.25) / 3)
    assert found["calibration.ece"] == pytest.approx((abs(1.8 - 1) + abs(0.5 - 1)) / 3)
    assert found["selective.coverage"] == 0.75
    assert found["selective.accuracy"] == pytest.approx(2 / 3)
    assert not any(key.startswith("calibration") for key in clinical_figures(predictions(pairs), TREE))


def random_predictions(seed: int, n: int) -> list[Prediction]:
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(n):
        truth = NAMES[random.integers(len(NAMES))]
        listed = [NAMES[i] for i in random.permutation(len(NAMES))[: random.integers(1, 8)]]
        if random.random() < 0.5:
            listed[random.integers(len(listed))] = truth
        pairs.append((truth, "; ".join(listed) if len(listed) > 1 else f"1. {listed[0]}"))
    return predictions(pairs)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_laws(seed: int, n: int) -> None:
    given_predictions = random_predictions(seed, n)
    found = clinical_figures(given_predictions, TREE)
    for key, value in found.items():
        assert math.isfinite(value)
        assert value >= 0 or key == "similarity.chance_corrected@1"
        if (
            not key.startswith(("hierarchy.clinical.distance", "hierarchy.source.distance"))
            and "severity" not in key
        ):
            assert value <= 1 + 1e-12
    for level in ("strict", "synonym", "subtype", "management", "nine", "three"):
        by_k = [found[f"top_k.{level}@{k}"] for k in range(1, 7)]
        assert by_k == sorted(by_k)
    for k in range(1, 7):
        chain = [found[f"top_k.{level}@{k}"] for level in ("strict", "synonym", "subtype", "management")]
        assert chain == sorted(chain)
        assert found[f"top_k.synonym@{k}"] <= found[f"top_k.nine@{k}"] <= found[f"top_k.three@{k}"]
    again = clinical_figures(given_predictions[::-1], TREE)
    assert again.keys() == found.keys()
    assert all(math.isclose(again[key], found[key], abs_tol=1e-12) for key in found)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_others_find_the_same(seed: int) -> None:
    given_predictions = random_predictions(seed, 80)
    found = clinical_figures(given_predictions, TREE)
    truth = [TREE.resolve(str(p.sample["diagnosis"])) for p in given_predictions]
    first = [TREE.resolve(p.answer.partition(";")[0].removeprefix("1. ")) for p in given_predictions]
    paths = [np.array([TREE.path(c, "source") for c in side if c], dtype=object) for side in (truth, first)]
    for average in ("micro", "macro"):
        theirs = hiclass_f1(*paths, average=average)
        assert found[f"hierarchy.source.f1_{average}"] == pytest.approx(theirs, abs=1e-12)
    true = [TREE.representative(c).id for c in truth if c]
    said = [TREE.representative(c).id for c in first if c]
    # Balanced accuracy takes each label by itself, scikit-learn the classes that it is given.
    own = [c.id for c in truth if c]
    right = [t if t_class == s else "wrong" for t, t_class, s in zip(own, true, said, strict=True)]
    assert found["balanced.top1"] == pytest.approx(
        recall_score(own, right, labels=sorted(set(own)), average="macro", zero_division=0), abs=1e-12
    )
    assert found["top_k.synonym@1"] == pytest.approx(
        np.mean([t == s for t, s in zip(true, said, strict=True)])
    )


def test_a_nearer_answer_is_never_worse() -> None:
    truth = "superficial spreading melanoma ssm"
    near = ["acne", "nevocytic nevus", "basal cell carcinoma", "melanoma", truth]
    found = [clinical_figures(predictions([(truth, answer)]), TREE) for answer in near]
    for key in ("hierarchy.clinical.recall_micro", "hierarchy.clinical.f1_micro"):
        values = [each[key] for each in found]
        assert values == sorted(values)
    distance = [each["hierarchy.clinical.distance@1"] for each in found]
    assert distance == sorted(distance, reverse=True)


def test_the_report_accounts_for_everything() -> None:
    given_predictions = [
        *random_predictions(3, 50),
        Prediction("a", "diagnosis", "acne; acne; pimples; zzz", {"diagnosis": "acne"}),
        Prediction("b", "diagnosis", "acne", {}),
        Prediction("c", "diagnosis", "acne", {"diagnosis": "melanomma"}),
        Prediction("d", "diagnosis", "acne", {"diagnosis": "dermatitis"}),
        Prediction("e", "diagnosis", "x" * 200_000, {"diagnosis": "acne"}),
        Prediction("f", "diagnosis", "\x00\u202e<|image_pad|>", {"diagnosis": "acne"}),
    ]
    report = evaluate(given_predictions, TREE, bootstrap=20).as_dict()
    read = report["input"]
    assert read["scored"] + sum(read["left_out"].values()) == read["rows"] == len(given_predictions)
    assert read["left_out"] == {
        "no label": 1, "label not in the taxonomy": 1, "label is a general word": 1
    }  # fmt: skip
    assert {"label": "melanomma", "n": 1, "nearest": "did you mean 'melanoma'?"} in read["unknown_labels"]
    answers = report["answers"]
    unmatched = answers["unmatched_items"]
    assert answers["items"] == (
        sum(answers["matched"].values()) + answers["void"] + answers["duplicates"] + unmatched
    )
    assert answers["duplicates"] == 2
    assert {"text": "zzz", "n": 1} in answers["unmatched"]
    for confusion in report["confusion"]:
        assert sum(map(sum, confusion["counts"])) == read["scored"]
    assert sum(each["n"] for each in report["labels"]) == read["scored"]
    listed = [key for family in report["families"] for key in family["figures"]]
    assert sorted(listed) == sorted(report["figures"])
    json.dumps(report, allow_nan=False)
    assert report == evaluate(given_predictions, TREE, bootstrap=20).as_dict()


def test_intervals_hold_the_value_and_widen_with_patients() -> None:
    pairs = [("acne", "acne" if i % 3 else "rosacea") for i in range(300)]
    alone = evaluate(predictions(pairs), TREE, bootstrap=400)
    patients = evaluate(predictions(pairs, group=[str((i % 3) + 3 * (i // 60)) for i in range(300)]), TREE,
                        bootstrap=400)  # fmt: skip
    for report in (alone, patients):
        figure = report.figures["top_k.synonym@1"]
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high  # type: ignore[operator]
    wide, narrow = (r.figures["top_k.synonym@1"] for r in (patients, alone))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)  # type: ignore[operator]
    assert patients.document["options"]["clusters"] == 15


def test_certainty_is_not_claimed_from_few_cases() -> None:
    report = evaluate(predictions([("stevens johnson syndrome", "SJS")] * 4), TREE, bootstrap=50)
    missed = report.figures["safety.emergency_miss@1"]
    assert (missed.value, missed.n) == (0.0, 4)
    assert missed.high is not None
    assert missed.high > 0.3


def test_baselines() -> None:
    pairs = [("psoriasis", "eczema")] * 60 + [("melanoma", "melanoma")] * 30 + [("acne", "acne")] * 10
    report = evaluate(predictions(pairs), TREE, bootstrap=0)
    one = report.figures["top_k.strict@1"]
    assert (one.value, one.constant) == (0.4, 0.6)
    assert one.constant_answer[0] == "psoriasis"
    assert one.random == pytest.approx(0.36 + 0.09 + 0.01, abs=0.02)
    assert report.figures["top_k.strict@3"].constant == 1.0
    assert report.figures["safety.malignant_miss@1"].constant == 0.0
    assert report.figures["similarity.chance_corrected@1"].random == pytest.approx(0, abs=0.02)
    assert one.low is None


def test_a_constant_answer_scores_what_is_reported() -> None:
    # Two labels of one disease: the answer that names both has one of them void, as any answer would.
    pairs = [("melanoma", "x")] * 5 + [("malignant melanoma", "x")] * 5 + [("acne", "x")] * 3
    for draws in (pairs, pairs[::-1]):
        report = evaluate(predictions(draws), TREE, bootstrap=0)
        for key, figure in report.figures.items():
            if figure.constant is None or key.startswith(("calibration", "selective")):
                continue
            answer = "; ".join(figure.constant_answer)
            answer = answer if len(figure.constant_answer) > 1 else f"1. {answer}"
            again = clinical_figures(predictions([(truth, answer) for truth, _ in draws]), TREE)
            assert again[key] == pytest.approx(figure.constant, abs=1e-9), key
        assert report.figures["top_k.strict@2"].constant == pytest.approx(8 / 13)


def test_no_single_word_beats_the_best_constant_answer() -> None:
    pairs = [(name, "x") for name in NAMES[:40]]
    report = evaluate(predictions(pairs), TREE, bootstrap=0)
    for word in ("dermatitis", "skin cancer", "nevus", "psoriasis", "drug reaction"):
        found = clinical_figures(predictions([(truth, f"1. {word}") for truth, _ in pairs]), TREE)
        for key, value in found.items():
            figure = report.figures[key]
            if figure.constant is None:
                continue
            assert (
                value <= figure.constant + 1e-9
                if figure.better == "higher"
                else value >= figure.constant - 1e-9
            )


def test_drawn_answers_do_not_depend_on_the_order_of_the_file() -> None:
    pairs = [("melanoma", "x")] * 10_001 + [("psoriasis", "x")] * 2_000
    for draws in (pairs, pairs[::-1]):
        figures = evaluate(predictions(draws), TREE, bootstrap=0, top_k=1).figures
        share = 10_001 / 12_001
        assert figures["top_k.strict@1"].random == pytest.approx(share**2 + (1 - share) ** 2, abs=0.015)
        assert figures["similarity.chance_corrected@1"].random == pytest.approx(0, abs=0.05)


def test_without_risk_classes_nothing_is_called_safe(tmp_path: Path) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text("version: '1'\nconcepts: [acne, melanoma]\n", encoding="utf-8")
    report = evaluate(
        predictions([("melanoma", "acne"), ("acne", "melanoma")]), load_taxonomy(table), bootstrap=0
    )
    assert report.figures["safety.over_call@1"].value is None
    assert report.figures["safety.over_call@1"].why
    assert "rubric.critical@1" not in report.figures


def test_a_form_of_the_disease_is_as_near_as_the_disease() -> None:
    found = clinical_figures(predictions([("psoriasis", "guttate psoriasis"), ("acne", "acne")]), TREE)
    assert found["similarity.lin@1"] == pytest.approx(1.0)


def test_one_patient_and_three_cases_claim_nothing() -> None:
    rows = predictions([("acne", "acne"), ("acne", "rosacea")] * 20, group=["p"] * 40)
    assert evaluate(rows, TREE, bootstrap=50).figures["top_k.strict@1"].low is None
    few = evaluate(predictions([("acne", "acne")] * 3), TREE, bootstrap=50).figures
    assert few["balanced.top1"].low is None
    assert few["top_k.strict@1"].low == pytest.approx(0.438, abs=0.01)


def test_the_examples_and_the_curve() -> None:
    pairs = [
        ("acne", "acne"),
        ("melanoma", "halo nevus"),
        ("acne", "zzz"),
        ("psoriasis", "guttate psoriasis"),
    ]
    report = evaluate(predictions(pairs, confidence=[0.9, 0.8, 0.1, 0.8]), TREE, bootstrap=0).as_dict()
    verdicts = {each["truth"]: each["verdict"] for each in report["examples"] if each["answer"] != "zzz"}
    assert verdicts == {"acne": "correct", "melanoma": "critical", "psoriasis": "subtype"}
    (unread,) = [each for each in report["examples"] if each["answer"] == "zzz"]
    assert (unread["verdict"], unread["read"], unread["how"]) == ("not read", [""], ["unknown"])
    curve = [(round(4 * p["coverage"]), p["accuracy"]) for p in report["selective"]["curve"]]
    assert curve == [(1, 1.0), (3, pytest.approx(1 / 3)), (4, 0.25)]
    filled = {round(b["low"], 3): (b["n"], b["accuracy"]) for b in report["calibration"]["bins"] if b["n"]}
    assert filled == {0.067: (1, 0.0), 0.8: (2, 0.0), 0.867: (1, 1.0)}


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(InputError, match="no predictions"):
        evaluate([], TREE)
    with pytest.raises(InputError, match=r"none of the 1 .* \(label not in the taxonomy: 1\)"):
        evaluate(predictions([("melanomma", "acne")]), TREE)
    with pytest.raises(InputError, match="top_k: found 0; expected 1 to 50"):
        evaluate(predictions([("acne", "acne")]), TREE, top_k=0)


def test_every_builtin_taxonomy_can_be_evaluated() -> None:
    from skinflow_plugins.diagnosis import builtin_taxonomies

    for name in builtin_taxonomies():
        tree = load_taxonomy(name)
        labels = [c.name for c in tree.labels()]
        pairs = [(label, f"1. {label}") for label in labels]
        found = clinical_figures(predictions(pairs), tree)
        assert found["top_k.strict@1"] == 1.0, name
        assert found["hierarchy.clinical.f1_macro"] == 1.0, name


def test_a_judge_decides_and_its_failures_are_left_out() -> None:
    from skinflow_plugins.diagnosis.evaluation import Verdicts

    rows = predictions([("acne", "rosacea; acne"), ("acne", "acne"), ("melanoma", "zzz"), ("acne", "acne")])
    rows.append(Prediction("none", "diagnosis", "acne", {}))
    codes = np.array([[0, 3], [2, -1], [1, -1], [-1, -1], [-1, -1]], dtype=np.int8)
    failed = np.array([False, False, False, True, False])
    verdicts = Verdicts(codes, failed, "judge test", {"summary": "test"})
    report = evaluate(rows, TREE, top_k=2, bootstrap=0, verdicts=verdicts)
    value = {key: figure.value for key, figure in report.figures.items()}
    assert value["top_k.synonym@1"] == pytest.approx(1 / 3)
    assert value["top_k.subtype@1"] == pytest.approx(2 / 3)
    assert value["rubric.critical@1"] == pytest.approx(1 / 3)
    assert value["top_k.strict@1"] == pytest.approx(1 / 3)  # the matcher's: the second row
    read = report.as_dict()["input"]
    assert read["left_out"] == {"the judge failed on it": 1, "no label": 1}
    assert read["scored"] + sum(read["left_out"].values()) == read["rows"] == 5
