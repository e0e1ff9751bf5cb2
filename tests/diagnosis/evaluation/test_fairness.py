from typing import Any

import pytest

from skinflow_plugins.data import Prediction
from skinflow_plugins.diagnosis import evaluate, load_taxonomy

TREE = load_taxonomy("fitzpatrick17k")


def report(*groups: tuple[Any, str, str, int]) -> dict[str, Any]:
    rows = [
        Prediction(
            f"{i}-{j}",
            "diagnosis",
            answer,
            {"diagnosis": truth, **({} if tone is None else {"skin_tone": tone})},
        )
        for i, (tone, truth, answer, n) in enumerate(groups)
        for j in range(n)
    ]
    return evaluate(rows, TREE, bootstrap=100).as_dict()


def gap(found: dict[str, Any], figure: str, grouping: str = "by_pair") -> dict[str, Any]:
    (one,) = [g for g in found["fairness"]["gaps"] if (g["figure"], g["grouping"]) == (figure, grouping)]
    return dict(one)


def refused(found: dict[str, Any]) -> dict[str, str]:
    return {each["figure"]: each["reason"] for each in found["fairness"]["refused"]}


def test_without_skin_tones_there_is_no_table() -> None:
    assert report((None, "acne", "acne", 40))["fairness"] is None


def test_groups_gaps_and_unknown() -> None:
    found = report(
        ("1", "acne", "acne", 30), ("2", "acne", "rosacea", 30), ("5", "acne", "rosacea", 40),
        ("6", "acne", "acne", 5), (None, "acne", "acne", 7), ("-1", "acne", "acne", 3),
    )  # fmt: skip
    fairness = found["fairness"]
    assert fairness["unknown"] == 10
    kinds = {g["name"]: (g["n"], g["enough"]) for g in fairness["groups"]["by_type"]}
    assert kinds == {"1": (30, True), "2": (30, True), "5": (40, True), "6": (5, False)}
    pairs = {g["name"]: g["figures"]["top_k.synonym@1"]["value"] for g in fairness["groups"]["by_pair"]}
    assert pairs == {"1-2": 0.5, "5-6": pytest.approx(5 / 45)}
    one = gap(found, "top_k.synonym@1")
    assert one["value"] == pytest.approx(0.5 - 5 / 45)
    assert (one["worst"], one["best"]) == ("5-6", "1-2")
    assert one["low"] <= one["value"] <= one["high"]
    # Type 6 has five samples: too few to be compared.
    assert gap(found, "top_k.synonym@1", "by_type")["groups"] == ["1", "2", "5"]


def test_ddi_pairs_need_no_types() -> None:
    found = report(("12", "melanoma", "melanoma", 40), ("56", "melanoma", "nevus", 40))
    assert set(found["fairness"]["groups"]) == {"by_pair"}
    assert "pairs of types" in refused(found)["by_type: all"]
    assert gap(found, "tpr")["value"] == 1.0
    miss = gap(found, "safety.malignant_miss@1")
    assert (miss["worst"], miss["best"]) == ("5-6", "1-2")


def test_parity_and_odds_need_real_positives_and_negatives() -> None:
    found = report(("1", "melanoma", "melanoma", 40), ("5", "acne", "acne", 40))
    reasons = {name: why for name, why in refused(found).items() if name.startswith("by_pair")}
    assert any("Equalized odds" in name for name in reasons)
    assert any("Demographic parity" in name for name in reasons)
    assert all("30 malignant and 30 other" in why for name, why in reasons.items() if "odds" in name)
    whole = report(
        ("1", "melanoma", "melanoma", 40), ("1", "acne", "melanoma", 10), ("1", "acne", "acne", 30),
        ("5", "melanoma", "melanoma", 20), ("5", "melanoma", "acne", 20), ("5", "acne", "acne", 40),
    )  # fmt: skip
    assert gap(whole, "odds")["value"] == pytest.approx(0.5)  # of true-positive rates 1 and .5; false: .25, 0
    assert gap(whole, "parity")["value"] == pytest.approx(50 / 80 - 20 / 80)


def test_the_same_mix_of_classes() -> None:
    # Both groups are equally good at each class, and only their mix of classes differs.
    found = report(
        ("1", "melanoma", "melanoma", 40), ("1", "acne", "rosacea", 40),
        ("5", "melanoma", "melanoma", 10), ("5", "acne", "rosacea", 70),
    )  # fmt: skip
    assert gap(found, "top_k.synonym@1")["value"] == pytest.approx(0.5 - 0.125)
    assert gap(found, "reweighted@1")["value"] == pytest.approx(0, abs=1e-12)


def test_the_interval_of_no_difference_holds_zero() -> None:
    same = [("acne", "acne", 25), ("acne", "rosacea", 25)]
    found = report(*((str(tone), *pair) for tone in range(1, 7) for pair in same))
    one = gap(found, "top_k.synonym@1", "by_type")
    assert one["value"] == 0
    assert one["low"] < 0 < one["high"]


def test_who_alarms_falsely_is_worse_off() -> None:
    found = report(
        ("1", "melanoma", "melanoma", 39), ("1", "melanoma", "acne", 1), ("1", "acne", "acne", 40),
        ("5", "melanoma", "melanoma", 40), ("5", "acne", "melanoma", 36), ("5", "acne", "acne", 4),
    )  # fmt: skip
    odds = gap(found, "odds")
    assert odds["value"] == pytest.approx(
        0.9
    )  # of false-positive rates 0 and .9; the true ones differ by .025
    assert (odds["worst"], odds["best"]) == ("5-6", "1-2")
    parity = gap(found, "parity")
    assert (parity["worst"], parity["best"]) == (None, None)
    assert (parity["lowest"], parity["highest"]) == ("1-2", "5-6")
