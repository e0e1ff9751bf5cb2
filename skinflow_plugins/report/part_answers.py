"""What became of every row and every item: the counts that must add up, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Code, Facts, Folded, Says, Section, Shown
from skinflow_plugins.report.part_judge import judge
from skinflow_plugins.report.part_summary import intervals
from skinflow_plugins.report.run_story import RunStory
from skinflow_plugins.report.tables import Cell, Raw, table

HOWS = {
    "exact": "spelled as in the taxonomy",
    "folded": "equal once British spelling, plurals and punctuation are folded",
    "order": "the same words in another order",
    "alias": "a reviewed alias",
    "abbreviation": "a reviewed abbreviation",
    "close": "a long name with a slip of the pen, and no other name as near",
    "ambiguous": "claimed by several diagnoses: counts as none",
    "doubtful": "negated or hedged: void",
    "long": "longer than a name can be: void",
    "unknown": "not in the taxonomy",
    "void": "void: too long, negated, hedged, or more than one disease",
}
MOST_UNMATCHED = 200
HINT = """\
concepts:
  - name: psoriasis
    aliases: [psoriasis vulgaris, plaque psoriasis]   # add the spelling to the concept that it means
"""


def unmatched(document: Mapping[str, Any]) -> Section:
    """How the items of the answers were read, and those that were not, by frequency."""
    answers = document.get("answers")
    title = "What was read, and what was not"
    if not answers:
        text = "The report does not say how the answers were read."
        return Section("answers", title, "", [Says(text, "why"), *judge(document)], "Unmatched answers")
    items = wording.finite(answers.get("items")) or 0
    rows: list[list[Raw]] = [
        [Cell(how), HOWS.get(how, ""), wording.count(n), wording.value(n / items if items else None)]
        for how, n in (answers.get("matched") or {}).items()
    ]
    blocks: list[Block] = []
    if rows:
        heads = ("How", "Meaning", "Items", "Share")
        blocks.append(Shown(table("How items matched the taxonomy", heads, rows, words=(1,))))
    pairs = [
        ("Items in all answers", "items"),
        ("Void items", "void"),
        ("Named twice, counted once", "duplicates"),
        ("Items beyond the last counted rank", "beyond_limit"),
        ("Answers in which nothing was read", "unread"),
        ("Answers that abstain", "abstained"),
    ]
    pairs.insert(1, ("Items that match nothing", "unmatched_items"))
    blocks.append(Facts([(words, wording.count(answers.get(key))) for words, key in pairs if key in answers]))
    blocks += _unmatched(answers.get("unmatched") or [])
    blocks += judge(document)
    lead = "Every item of every answer is either matched to a concept or counted here; none disappears."
    return Section("answers", title, lead, blocks, "Unmatched answers")


def _unmatched(found: list[Mapping[str, Any]]) -> list[Block]:
    if not found:
        return [Says("No unmatched items: everything that was read is in the taxonomy.", "why")]
    ordered = sorted(found, key=lambda each: (-(wording.finite(each.get("n")) or 0), str(each.get("text"))))
    rows = [[wording.shortened(str(each.get("text")), 160), wording.count(each.get("n"))] for each in ordered]
    made = table("Unmatched items, by frequency", ("Text", "n"), rows[:MOST_UNMATCHED], kind="tall")
    blocks: list[Block] = [Shown(made)]
    if len(rows) > MOST_UNMATCHED:
        text = f"{wording.count(len(rows) - MOST_UNMATCHED)} rarer items are in report.json alone."
        blocks.append(Says(text))
    text = (
        "A spelling in this list that means a known disease belongs under `aliases` of that concept: copy "
        "the taxonomy's table, add it, and hand the file to --taxonomy."
    )
    return [*blocks, Says(text), Code(HINT)]


def adds_up(document: Mapping[str, Any]) -> bool:
    """Whether scored rows and those left out make up all rows of the input."""
    given = document.get("input") or {}
    left = sum(wording.finite(n) or 0 for n in (given.get("left_out") or {}).values())
    return (wording.finite(given.get("scored")) or 0) + left == wording.finite(given.get("rows"))


def accounting(document: Mapping[str, Any]) -> Section:
    """All rows of the input, scored or left out for a reason."""
    given = document.get("input")
    title = "Accounting for the input"
    if not given:
        text = "The report does not say what its input held."
        return Section("input", title, "", [Says(text, "why")], "Input")
    left_out = given.get("left_out") or {}
    rows = [["scored", wording.count(given.get("scored"))]]
    rows += [[f"left out: {reason}", wording.count(n)] for reason, n in left_out.items()]
    total = [Cell("rows in the input", kind="total"), Cell(wording.count(given.get("rows")), kind="total")]
    blocks: list[Block] = [Shown(table("Rows of the input", ("", "Rows"), [*rows, total]))]
    if adds_up(document):
        blocks.append(Says("The counts add up to the rows of the input."))
    else:
        blocks.append(
            Says("The counts do NOT add up to the rows of the input: do not trust this report.", "bad")
        )
    if not left_out:
        blocks.append(Says("No row was left out.", "why"))
    unknown = given.get("unknown_labels") or []
    if unknown:
        lines = [[str(u.get("label")), wording.count(u.get("n")), _names(u.get("nearest"))] for u in unknown]
        heads = ("Label", "Rows", "Nearest known")
        blocks.append(Shown(table("Labels that the taxonomy does not know", heads, lines, words=(2,))))
    return Section("input", title, "", blocks, "Input")


def _names(nearest: object) -> str:
    """Nearest names, of which there may be none, one, or a list."""
    if isinstance(nearest, list | tuple):
        return ", ".join(map(str, nearest)) or wording.NONE
    return wording.shortened(str(nearest or wording.NONE), 100)


def versions(document: Mapping[str, Any], run: RunStory | None) -> Section:
    """Everything one needs to make the same report again."""
    given, taxonomy = document.get("input") or {}, document.get("taxonomy") or {}
    options, found = document.get("options") or {}, document.get("versions") or {}
    pairs = []
    for words, value in (
        ("Predictions", given.get("file")),
        ("Their format", given.get("format")),
        ("Their SHA-256", given.get("sha256")),
        ("Taxonomy", f"{taxonomy.get('name')} {taxonomy.get('version')}" if taxonomy else None),
        ("Concepts", wording.count(taxonomy.get("concepts")) if taxonomy else None),
        ("Note", taxonomy.get("note")),
        ("Ranks counted", options.get("top_k")),
        ("Intervals", intervals(options) if options else None),
        ("Judged by", options.get("judged_by")),
        ("Python", found.get("python")),
    ):
        if value:
            pairs.append((words, str(value)))
    blocks: list[Block] = []
    blocks.append(Facts(pairs) if pairs else Says("The report records no versions.", "why"))
    packages = found.get("packages") or {}
    trained = (run.environment.get("packages") if run is not None else None) or {}
    names = list(dict.fromkeys([*packages, *trained]))
    if names:
        heads = ["Package", *(["Evaluation"] if packages else []), *(["Training"] if trained else [])]
        columns = [each for each in (packages, trained) if each]
        rows = [[name, *(str(column.get(name, wording.NONE)) for column in columns)] for name in names]
        blocks.append(Folded("Versions of packages", table("Versions of packages", heads, rows)))
    if run is not None and run.environment:
        shown = [(name, str(run.environment[name])) for name in ("python", "platform", "processor", "cores")
                 if run.environment.get(name) is not None]  # fmt: skip
        blocks.append(Facts([(f"Training: {name}", value) for name, value in shown]))
    return Section("versions", "Data and software", "", blocks, "Versions")
