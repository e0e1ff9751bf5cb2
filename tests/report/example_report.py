"""A report.json as an evaluation of 16,577 predictions would give it, with hostile strings and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_NINE = """
inflammatory: psoriasis, lichen planus, lupus erythematosus, allergic contact dermatitis, neutrophilic
    dermatoses, sarcoidosis, folliculitis, scabies, acne vulgaris, scleroderma, pityriasis rubra
    pilaris, nematode infection, erythema multiforme, granuloma annulare, eczema, drug eruption,
    pityriasis rosea, acne, vitiligo, keloid, tungiasis, urticaria, dermatomyositis, pediculosis lids,
    juvenile xanthogranuloma, lyme disease, stevens johnson syndrome, rosacea, hidradenitis, dyshidrotic
    eczema, papilomatosis confluentes and reticulate, acquired autoimmune bullous diseaseherpes
    gestationis, pustular psoriasis
genodermatoses: neurofibromatosis, hailey hailey disease, dariers disease, tuberous sclerosis, ehlers
    danlos syndrome, incontinentia pigmenti, xeroderma pigmentosum, epidermolysis bullosa
malignant epidermal: squamous cell carcinoma, basal cell carcinoma, actinic keratosis, solid cystic
    basal cell carcinoma, basal cell carcinoma morpheiform
malignant melanoma: melanoma, superficial spreading melanoma ssm, malignant melanoma, lentigo maligna
benign dermal: syringoma, telangiectases, pyogenic granuloma, fordyce spots, pilar cyst, dermatofibroma
benign epidermal: porokeratosis actinic, prurigo nodularis, milia, epidermal nevus, seborrheic keratosis
benign melanocyte: nevocytic nevus, halo nevus, congenital nevus
malignant dermal: kaposi sarcoma
malignant cutaneous lymphoma: mycosis fungoides
"""
NINE = {
    group: names.split(", ")
    for group, _, names in (
        line.partition(": ") for line in _NINE.replace("\n    ", " ").strip().splitlines()
    )
}
RISKS = ("emergency", "malignant", "premalignant", "infectious", "systemic", "inflammatory", "benign")
LEVELS = {
    "strict": (0.392, 0.66, 0.039, 0.183),
    "synonym": (0.421, 0.69, 0.042, 0.190),
    "subtype": (0.438, 0.70, 0.061, 0.214),
    "management": (0.582, 0.86, 0.270, 0.642),
    "nine": (0.741, 0.955, 0.657, 0.965),
    "three": (0.842, 0.985, 0.729, 1.0),
}
SCORED = 16_301


def figure(
    title: str,
    value: float | None,
    *,
    n: int = SCORED,
    constant: float | None = None,
    answer: str = "psoriasis",
    random: float | None = None,
    better: str = "higher",
    unit: str = "share",
    why: str = "",
) -> dict[str, Any]:
    wide = 0.0 if value is None else 1.96 * (max(value * (1 - value), 0.002) / n) ** 0.5
    ends = (None, None) if value is None else (round(value - wide, 6), round(value + wide, 6))
    return {
        "title": title,
        "value": value,
        "low": ends[0],
        "high": ends[1],
        "n": n,
        "constant": constant,
        "constant_answer": answer if constant is not None else None,
        "random": random,
        "better": better,
        "unit": unit,
        "why": why,
    }


def figures() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for level, (first, last, low, high) in LEVELS.items():
        for k in range(1, 7):
            part = (k - 1) / 5
            bend = 1 - (1 - part) ** 1.8
            found[f"top_k.{level}@{k}"] = figure(
                f"{level.capitalize()}, top {k}",
                round(first + (last - first) * bend, 4),
                constant=round(low + (high - low) * part, 4),
                random=round(low * 0.8 + 0.7 * (high - low) * part, 4),
                answer="; ".join(
                    [
                        "psoriasis",
                        "squamous cell carcinoma",
                        "lichen planus",
                        "basal cell carcinoma",
                        "allergic contact dermatitis",
                        "lupus erythematosus",
                    ][:k]
                ),
            )
    for k, shares in ((1, (0.392, 0.046, 0.481, 0.081)), (6, (0.66, 0.04, 0.262, 0.038))):
        for name, share in zip(("correct", "subtype", "wrong", "critical"), shares, strict=True):
            better = "higher" if name in ("correct", "subtype") else "lower"
            found[f"rubric.{name}@{k}"] = figure(f"Rubric: {name}, top {k}", share, better=better)
    for tree, base in (("clinical", 0.513), ("source", 0.688)):
        for average in ("micro", "macro"):
            for name, more in (("precision", 0.01), ("recall", -0.012), ("f1", 0.0)):
                value = round(base + more - (0.06 if average == "macro" else 0), 4)
                words = f"{'F1' if name == 'f1' else name.capitalize()}, {average}"
                found[f"hierarchy.{tree}.{name}_{average}"] = figure(
                    words, value, constant=0.475, random=0.345
                )
    found["hierarchy.clinical.severity"] = figure(
        "Mistake severity", 2.31, constant=2.9, random=2.71, better="lower", unit="edges"
    )
    for k in range(1, 7):
        found[f"hierarchy.clinical.distance@{k}"] = figure(
            f"Hierarchical distance, first {k}",
            1.4 + 0.2 * k,
            constant=2.4,
            random=2.8,
            better="lower",
            unit="edges",
        )
    found["similarity.lin@1"] = figure(
        "Lin similarity, top 1", 0.482, constant=0.113, random=0.080, unit="score"
    )
    found["similarity.chance_corrected@1"] = figure(
        "Similarity beyond chance, top 1", 0.437, constant=0.036, random=0.0, unit="score"
    )
    for k in range(1, 7):
        part = 1 - (1 - (k - 1) / 5) ** 2
        found[f"safety.malignant_miss@{k}"] = figure(
            f"Malignant missed, top {k}",
            round(0.312 - 0.212 * part, 4),
            n=2_088,
            constant=0.0,
            random=round(0.87**k, 4),
            answer="squamous cell carcinoma",
            better="lower",
        )
        found[f"safety.emergency_miss@{k}"] = figure(
            f"Emergency missed, top {k}",
            round(0.46 - 0.2 * part, 4),
            n=113,
            constant=0.0,
            random=round(0.99**k, 4),
            answer="stevens johnson syndrome",
            better="lower",
        )
    found["safety.over_call@1"] = figure(
        "Over-called, top 1", 0.071, n=13_900, constant=0.0, random=0.13, better="lower"
    )
    found["balanced.top1"] = figure("Balanced accuracy, top 1", 0.351, constant=0.0088, random=0.0088)
    found["balanced.top6"] = figure("Balanced accuracy, top 6", 0.604, constant=0.0526, random=0.052)
    found["calibration.ece"] = figure("Expected calibration error", 0.142, n=15_877, better="lower")
    found["calibration.brier"] = figure("Brier score", 0.231, n=15_877, better="lower", unit="score")
    found["selective.coverage"] = figure("Coverage", None, why="no answer abstains")
    found["selective.accuracy"] = figure("Accuracy where answered", None, why="no answer abstains")
    found["stranger.figure"] = figure("A figure that no family lists", 0.5)
    return found


def confusion(rng: np.random.Generator) -> list[dict[str, Any]]:
    labels = [name for names in NINE.values() for name in names]
    nine_sizes = [10886, 1194, 1352, 573, 1067, 931, 236, 156, 182]
    three = ["non-neoplastic", "malignant", "benign"]
    return [
        _level(rng, "three", three, [11_900, 2_188, 2_213], 0.8, "(not read)"),
        _level(rng, "nine", list(NINE), nine_sizes, 0.66, "(not read)"),
        _level(rng, "risk", list(RISKS), [113, 2_088, 358, 1_890, 2_400, 6_900, 2_552], 0.6, "(not read)"),
        _level(rng, "label", labels, [int(n) for n in rng.integers(53, 653, len(labels))], 0.4, "(not read)"),
    ]


def _level(
    rng: np.random.Generator, level: str, names: list[str], sizes: list[int], right: float, none: str
) -> dict[str, Any]:
    counts = []
    for row, size in enumerate(sizes):
        shares = rng.dirichlet(np.full(len(names) + 1, 0.35)) * (1 - right)
        shares[row] += right
        counts.append(rng.multinomial(size, shares / shares.sum()).tolist())
    return {"level": level, "names": names, "answers": [*names, none], "counts": counts}


def fairness() -> dict[str, Any]:
    keys = {
        "top_k.strict@1": 0.4,
        "top_k.strict@6": 0.67,
        "safety.malignant_miss@6": 0.1,
        "balanced.top1": 0.35,
    }
    sizes = {"1": 2903, "2": 4731, "3": 3251, "4": 2733, "5": 1508, "6": 19}
    pairs = {"1-2": 7634, "3-4": 5984, "5-6": 1527}

    def group(name: str, n: int, darker: float) -> dict[str, Any]:
        found = {}
        for key, base in keys.items():
            value = base - (0.016 if "miss" not in key else -0.018) * darker
            wide = 1.96 * (value * (1 - value) / (n / (8 if "miss" in key else 1))) ** 0.5
            low, high = max(0.0, value - wide), min(1.0, value + wide)
            found[key] = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
        return {"name": name, "n": n, "enough": n >= 30, "figures": found}

    return {
        "groups": {
            "by_type": [group(name, n, rank) for rank, (name, n) in enumerate(sizes.items())],
            "by_pair": [group(name, n, 0.5 + 2 * rank) for rank, (name, n) in enumerate(pairs.items())],
        },
        "unknown": 1_156,
        "minimum": 30,
        "gaps": [
            {
                "figure": "top_k.strict@1",
                "grouping": "by_type",
                "title": "Top-1 gap",
                "value": 0.064,
                "low": 0.038,
                "high": 0.091,
                "worst": "5",
                "best": "1",
            },
            {
                "figure": "top_k.strict@6",
                "grouping": "by_pair",
                "title": "Top-6 gap",
                "value": 0.064,
                "low": 0.04,
                "high": 0.088,
                "worst": "5-6",
                "best": "1-2",
            },
            {
                "figure": "top_k.strict@1",
                "grouping": "by_pair",
                "title": "Top-1 gap, class mix made equal",
                "value": 0.021,
                "low": -0.006,
                "high": 0.047,
                "worst": "5-6",
                "best": "1-2",
            },
            {
                "figure": "safety.malignant_miss@6",
                "grouping": "by_pair",
                "title": "True-positive-rate gap",
                "value": 0.072,
                "low": 0.011,
                "high": 0.133,
                "worst": "5-6",
                "best": "1-2",
            },
        ],
        "refused": [
            {"figure": "equalized odds by type", "reason": "type 6 has 19 records: fewer than 30"},
            {
                "figure": "demographic parity",
                "reason": "the groups differ in how many malignant lesions they hold",
            },
        ],
    }


def document(hostile: Sequence[str], examples: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole report, with strings among its labels and answers that must do no harm."""
    rng = np.random.default_rng(17)
    found = figures()
    titles = {
        "top_k": (
            "Top-k accuracy",
            "Whether one of the first k diagnoses is accepted, at six levels of leniency.",
        ),
        "rubric": (
            "Rubric",
            "The verdict on the best of the first k answers: correct, valid subtype, wrong, critical.",
        ),
        "hierarchy": ("Hierarchy", "Shared ancestors in a tree of diseases, as precision, recall and F1."),
        "similarity": ("Similarity", "How much information the answer and the truth share."),
        "safety": ("Safety", "What is missed among the first k, and what is called too often."),
        "balanced": (
            "Balanced accuracy",
            "The mean over labels, so that rare ones count as much as frequent ones.",
        ),
        "calibration": ("Calibration", "Whether stated confidences mean what they say."),
        "selective": ("Abstaining", "How often the model answers, and how often it is right then."),
    }
    families = [
        {
            "key": key,
            "title": title,
            "text": text,
            "figures": [name for name in found if name.startswith(f"{key}.")],
        }
        for key, (title, text) in titles.items()
    ]
    labels = [
        {"label": name, "n": int(n), "top1": round(float(a), 4), "topk": round(float(min(1, a + b)), 4)}
        for name, n, a, b in zip(
            (name for names in NINE.values() for name in names),
            rng.integers(53, 653, 99),
            rng.beta(2, 3, 99),
            rng.beta(2, 5, 99),
            strict=False,
        )
    ]
    labels.append({"label": "lichen simplex", "n": 0, "top1": None, "topk": None})
    return {
        "format": 1,
        "created": "2026-11-25T13:05:00+00:00",
        "name": "SkinFlow 7B on Fitzpatrick17k, test",
        "taxonomy": {
            "name": "fitzpatrick17k",
            "version": "2",
            "labels": 114,
            "concepts": 412,
            "note": "Not clinically validated. Research use only.",
        },
        "input": {
            "file": "predictions.jsonl",
            "format": "skinflow",
            "sha256": "5d1c" * 16,
            "rows": 16_577,
            "scored": SCORED,
            "left_out": {"no label": 41, "label not in the taxonomy": 188, "duplicate id": 47},
            "unknown_labels": [
                {"label": "tinea corporis", "n": 120, "nearest": ["tungiasis"]},
                {"label": hostile[0], "n": 68, "nearest": None},
            ],
        },
        "options": {
            "top_k": 6,
            "bootstrap": 1000,
            "seed": 0,
            "confidence_level": 0.95,
            "clusters": None,
            "judged_by": "matcher",
        },
        "families": families,
        "figures": found,
        "answers": {
            "items": 93_212,
            "matched": {
                "exact": 70_400,
                "folded": 9_104,
                "order": 611,
                "alias": 6_930,
                "abbreviation": 402,
                "close": 318,
                "ambiguous": 37,
                "doubtful": 96,
                "long": 203,
                "unknown": 5_111,
            },
            "void": 299,
            "duplicates": 1_204,
            "unread": 212,
            "abstained": 0,
            "beyond_limit": 3_004,
            "unmatched": [
                {"text": "tinea corporis", "n": 811},
                {"text": "contact dermatitis irritant", "n": 402},
                *({"text": text, "n": 40 - 2 * i} for i, text in enumerate(hostile)),
                *({"text": f"rare condition number {i}", "n": 3} for i in range(240)),
            ],
        },
        "confusion": confusion(rng),
        "labels": labels,
        "fairness": fairness(),
        "calibration": {
            "bins": [
                {
                    "low": i / 10,
                    "high": (i + 1) / 10,
                    "n": [12, 90, 400, 1200, 2400, 3000, 3100, 2800, 2000, 875][i],
                    "confidence": i / 10 + 0.05,
                    "accuracy": round(0.03 + 0.08 * i, 3),
                }
                for i in range(10)
            ]
        },
        "selective": {
            "curve": [
                {"coverage": c / 20, "accuracy": round(0.86 - 0.468 * (c / 20) ** 0.8, 4)}
                for c in range(1, 21)
            ]
        },
        "examples": examples,
        "versions": {
            "python": "3.11.7",
            "packages": {"skinflow-plugins": "0.1.0", "numpy": "2.4.6", "matplotlib": "3.11.2"},
        },
    }
