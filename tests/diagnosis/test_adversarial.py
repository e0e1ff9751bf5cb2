"""The adversarial corpus: whole answers, read by the parser and the matcher together."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.diagnosis import Concept, Taxonomy, abstains, load_taxonomy, parse_answer, read_answer

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in Path(__file__).with_name("adversarial.jsonl").read_text(encoding="utf-8").splitlines()
]
KINDS = sorted({row["kind"] for row in ROWS})
TREE = load_taxonomy("fitzpatrick17k")
LABELS = [concept.name for concept in TREE.concepts.values() if concept.kind == "label"]


def read(answer: str, limit: int = 6, tree: Taxonomy = TREE) -> list[Concept | None]:
    found = [tree.resolve(item) if item else None for item in parse_answer(answer, limit, known=tree.knows)]
    while found and found[-1] is None:
        found.pop()
    return found


def label(name: str) -> Concept:
    concept = TREE.resolve(name)
    assert concept is not None
    assert concept.kind == "label"
    return concept


def same(found: Concept | None, name: str | None) -> bool:
    if found is None or name is None:
        # A general word or a diagnosis that is no label is no label's credit.
        return name is None and (found is None or found.kind != "label")
    return TREE.same(found, label(name))


def problem(row: dict[str, Any]) -> str | None:
    found = read(row["answer"], row["limit"])
    names = [concept.name if concept else None for concept in found]
    if "read" in row:
        wanted = row["read"] + [None] * (len(found) - len(row["read"]))
        right = len(wanted) == len(found) and all(map(same, found, wanted))
    else:
        wanted = row["never"]
        right = not any(
            concept
            and (
                ("*" in wanted and concept.kind == "label")
                or any(same(concept, n) for n in wanted if n != "*")
            )
            for concept in found
        )
    if not right:
        items = parse_answer(row["answer"], row["limit"], known=TREE.knows)
        kind = "read" if "read" in row else "never"
        return f"{row['answer'][:120]!r}\n   {kind} {wanted}\n   found {names} from {items}\n   {row['why']}"
    if "abstains" in row and abstains(row["answer"]) != row["abstains"]:
        return f"{row['answer'][:120]!r}: abstains must be {row['abstains']}"
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_corpus(kind: str) -> None:
    rows = [row for row in ROWS if row["kind"] == kind]
    problems = [found for row in rows if (found := problem(row))]
    assert not problems, f"{len(problems)} of {len(rows)} {kind}\n" + "\n".join(problems)


def test_the_corpus_is_large_and_its_names_are_labels() -> None:
    assert len(ROWS) >= 500
    assert len({(row["answer"], row["limit"]) for row in ROWS}) == len(ROWS)
    assert min(Counter(row["kind"] for row in ROWS).values()) >= 4
    for row in ROWS:
        assert row["why"]
        assert ("read" in row) != ("never" in row)
        assert len(row.get("read", ())) <= row["limit"]
        for name in row.get("read", row.get("never")):
            assert name in {*LABELS, None, "*"}, row


# Answers that are too long for a file.
LONG: dict[str, Callable[[], str]] = {
    "every label ten times": lambda: "; ".join(LABELS * 10),
    "every label without separators": lambda: " ".join(LABELS * 50),
    "two hundred items": lambda: "\n".join(f"{i}. {name}" for i, name in enumerate((LABELS * 2)[:200], 1)),
    "200,000 characters of names": lambda: "psoriasis " * 20_000,
    "a name behind 200,000 spaces": lambda: " " * 200_000 + "psoriasis",
    "a name behind 200,000 letters": lambda: "x" * 200_000 + "psoriasis",
    "a name behind 200,000 letters and a semicolon": lambda: "x" * 200_000 + "; psoriasis",
    "thinking of 200,000 characters": lambda: "<think>" + "; ".join(LABELS * 90) + "</think>psoriasis",
    "endless thinking": lambda: "<think>" + "; ".join(LABELS * 90),
    "a block in 200,000 blocks": lambda: "<answer>" * 25_000 + "psoriasis",
    "deep JSON": lambda: "[" * 100_000 + '"psoriasis"' + "]" * 100_000,
    "deep objects": lambda: '{"diagnosis":' * 20_000 + '"psoriasis"' + "}" * 20_000,
    "a JSON list of 100,000": lambda: json.dumps(["psoriasis"] * 100_000),
    "ranks of 20,000": lambda: json.dumps({str(i): "psoriasis" for i in range(20_000)}),
    "a table of 20,000 rows": lambda: "| Diagnosis |\n|---|\n" + "| psoriasis |\n" * 20_000,
    "100,000 marks on one letter": lambda: "p" + "\u0301\u0316" * 100_000,
    "200,000 invisible characters": lambda: "\u200b" * 200_000 + "psoriasis",
    "200,000 negations": lambda: "not " * 50_000 + "psoriasis",
    "200,000 brackets": lambda: "psoriasis " + "(" * 200_000,
    "200,000 dashes": lambda: "1. psoriasis" + " - x" * 50_000,
    "a number without end": lambda: "1" * 200_000 + ". psoriasis",
    "a confidence without end": lambda: '[{"diagnosis": "psoriasis", "confidence": ' + "9" * 4_000 + "}]",
}
FIRST = {
    "every label ten times": LABELS[:6],
    "two hundred items": LABELS[:6],
    "a name behind 200,000 spaces": ["psoriasis"],
    "a name behind 200,000 letters and a semicolon": [None, "psoriasis"],
    "thinking of 200,000 characters": ["psoriasis"],
    "a block in 200,000 blocks": ["psoriasis"],
    "a JSON list of 100,000": ["psoriasis"] * 6,
    "ranks of 20,000": ["psoriasis"] * 6,
    "a table of 20,000 rows": ["psoriasis"] * 6,
    "200,000 invisible characters": ["psoriasis"],
    "200,000 dashes": ["psoriasis"],
    "a confidence without end": ["psoriasis"],
}


@pytest.mark.parametrize("name", LONG)
def test_long_answers(name: str) -> None:
    answer = LONG[name]()
    start = time.perf_counter()
    found = read(answer)
    abstains(answer)
    assert time.perf_counter() - start < 1.5
    wanted = FIRST.get(name, [])
    assert [concept and concept.name for concept in found] == [each and label(each).name for each in wanted]


def test_what_came_too_late_is_counted() -> None:
    found = read_answer("; ".join(LABELS), 6, known=TREE.knows)
    assert found.beyond_limit == len(LABELS) - 6
    assert found.void == 0


def test_any_six_labels_read_back_in_any_form() -> None:
    chance = random.Random(5)
    for _ in range(200):
        names = chance.sample(LABELS, 6)
        for text in (
            "; ".join(names),
            "\n".join(names),
            ", ".join(names),
            "\n".join(f"{i}. {name.title()}" for i, name in enumerate(names, 1)),
            "\n".join(f"- **{name}**: because of its look" for name in names),
            "\n".join(f"{i}) {name} ({90 - i}%)" for i, name in enumerate(names, 1)),
            json.dumps(names),
            json.dumps([{"diagnosis": name, "confidence": 0.1} for name in names]),
            "<think>melanoma</think><answer>" + "; ".join(names) + "</answer>",
        ):
            assert read(text) == [label(name) for name in names], text


def test_no_denied_label_is_credited() -> None:
    for name in LABELS:
        for text in (
            f"not {name}",
            f"{name}: unlikely",
            f"{name} - ruled out",
            f"{name} (excluded)",
            f"{name}?",
            f"no evidence of {name}",
            f"~~{name}~~",
            f"{name} (0%)",
            f"1. {name} - less likely, because of its look",
            f"non-{name}",
            f"pseudo-{name}",
            f"anti{name}",
            f"{name}-like",
            f"{name} mimic",
            f"history of {name}",
        ):
            credited = [concept.name for concept in read(text) if concept and concept.kind == "label"]
            assert not credited, text


def test_a_letter_of_another_alphabet_is_no_slip_of_the_pen() -> None:
    for name in LABELS:
        for latin, other in (
            ("a", "\u0430"),
            ("e", "\u0435"),
            ("o", "\u043e"),
            ("c", "\u0441"),
            ("o", "\u03bf"),
        ):
            if latin in name:
                assert read(name.replace(latin, other, 1)) == [], (name, latin)
