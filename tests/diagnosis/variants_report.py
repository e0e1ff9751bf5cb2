"""How the matcher reads lists of written variants: python tests/diagnosis/variants_report.py [--list]

variants.jsonl was written without a look at the table of aliases, variants_second.jsonl too, and after the
table was done. Neither is mended to fit it. `right` is the label itself or the same disease under its other
label, `related` a group above it or a form of it, `wrong` any other concept. Of the negatives none may be
read as a label; another concept of the table is fine. The tables are Markdown.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.diagnosis import Concept, Taxonomy, load_taxonomy, read_answer

LISTS = ("variants.jsonl", "variants_second.jsonl")


@dataclass(frozen=True)
class Measured:
    """What was read, by kind of variant: counts, and the texts that were not read as they should be."""

    positives: dict[str, Counter[str]] = field(default_factory=dict)
    negatives: dict[str, Counter[str]] = field(default_factory=dict)
    missed: list[tuple[str, str, str, str]] = field(default_factory=list)  # kind, text, verdict, read as
    unlike: list[str] = field(default_factory=list)  # read otherwise as a whole answer than as a name

    def total(self, verdict: str) -> int:
        """How many of all positives have the verdict."""
        return sum(counts[verdict] for counts in self.positives.values())

    @property
    def count(self) -> int:
        """How many positives there are."""
        return sum(counts.total() for counts in self.positives.values())


def variants(name: str) -> list[dict[str, Any]]:
    """The rows of a list."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def measure(tree: Taxonomy, name: str) -> Measured:
    """Every variant of a list read by the matcher, and compared with what was expected."""
    found = Measured()
    for row in variants(name):
        concept = tree.match(row["text"]).concept
        if row["label"] is None:
            verdict = _negative(concept)
            found.negatives.setdefault(row["kind"], Counter())[verdict] += 1
        else:
            label = tree.resolve(row["label"])
            assert label is not None, row
            verdict = _positive(tree, concept, label)
            found.positives.setdefault(row["kind"], Counter())[verdict] += 1
        if verdict in ("related", "refused", "wrong", "accepted") and (row["label"] or concept):
            found.missed.append((row["kind"], row["text"], verdict, concept.name if concept else ""))
        read = [tree.resolve(item) if item else None for item in _items(row["text"], tree)]
        if row["label"] is None:
            if any(each is not None and each.kind == "label" for each in read) and verdict != "accepted":
                found.unlike.append(row["text"])
        elif (read[0] if read else None) != concept:
            found.unlike.append(row["text"])
    return found


def _items(text: str, tree: Taxonomy) -> list[str]:
    return read_answer(f"1. {text}\n2. -", 2, known=tree.knows).items


def _positive(tree: Taxonomy, concept: Concept | None, label: Concept) -> str:
    if concept is None:
        return "refused"
    if concept == label or tree.same(concept, label):
        return "right"
    related = tree.is_a(label, concept) or tree.is_a(concept, label) or tree.subtype(concept, label)
    return "related" if related and concept.kind != "label" else "wrong"


def _negative(concept: Concept | None) -> str:
    if concept is None:
        return "refused"
    return "accepted" if concept.kind == "label" else "other"


def as_markdown(found: Measured) -> str:
    """The two tables."""
    lines = ["| kind | n | right | related | refused | wrong | right, % |", "|---|--:|--:|--:|--:|--:|--:|"]
    total: Counter[str] = Counter()
    for kind, counts in [*sorted(found.positives.items()), ("all", total)]:
        n = counts.total()
        cells = [counts[verdict] for verdict in ("right", "related", "refused", "wrong")]
        lines.append(f"| {kind} | {n} | {' | '.join(map(str, cells))} | {100 * counts['right'] / n:.1f} |")
        total.update(counts)
    lines += [
        "",
        "| negatives | n | refused | another concept | accepted as a label |",
        "|---|--:|--:|--:|--:|",
    ]
    total = Counter()
    for kind, counts in [*sorted(found.negatives.items()), ("all", total)]:
        cells = [counts[verdict] for verdict in ("refused", "other", "accepted")]
        lines.append(f"| {kind} | {counts.total()} | {' | '.join(map(str, cells))} |")
        total.update(counts)
    return "\n".join(lines)


def main() -> None:
    """Prints the tables, and with --list every text that was not read as it should be."""
    tree = load_taxonomy("fitzpatrick17k")
    for name in LISTS:
        found = measure(tree, name)
        print(f"\n{name}\n\n{as_markdown(found)}")
        if "--list" in sys.argv[1:]:
            print()
            for kind, text, verdict, concept in found.missed:
                print(f"{verdict:8} {kind:20} {text!r} {concept and 'as ' + concept}")
            for text in found.unlike:
                print(f"as a whole answer otherwise: {text!r}")


if __name__ == "__main__":
    main()
