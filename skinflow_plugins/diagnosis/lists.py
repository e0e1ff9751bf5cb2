"""A plain text taken apart into the pieces of the ranked list that it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skinflow_plugins.diagnosis.folding import LONGEST_NAME
from skinflow_plugins.diagnosis.items import BULLET, LEAD, LETTER, NUMBER, Known, comments, trim

SEMICOLON = re.compile(r";[^\S\n]*\n?|\n+")
STRUCK_OUT = " ~~"  # behind a piece: it is denied by what stands above or before it

_INLINE_SECOND = re.compile(r"\s\(?2[.)]\s")
_INLINE_NUMBER = re.compile(r"(?:^|\s)\(?\d{1,2}[.)]\s")
_AND = re.compile(r"\s*and\s", re.IGNORECASE)
_PIECE_END = re.compile(r"(?=[;,])|\Z")

# "Ruled out: ..." denies all that it introduces, on its line or, as a heading, below it.
_DENIAL = (
    r"(?:not|no|none|never|wrong|against|exclude[sd]?|excluding|rul(?:e|ed|es|ing) out|unlikely|"
    r"(?:less|least) (?:likely|probable)|negative)"
)
_DENYING = re.compile(rf"\b{_DENIAL}\b", re.IGNORECASE)
_DENYING_HEADING = re.compile(
    rf"[\s#>*_]{{0,12}}(?:(?:definitely|already|to)\s)?{_DENIAL}(?:\s(?:diagnos[ei]s|differentials?|conditions?|diseases?))?"
    r"[\s*_:]*",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r"[\s#>*_]{0,12}(?:confidence|certainty|reason(?:s|ing)?|explanation|rationale|justification|evidence|analysis|"
    r"(?:key |clinical )?(?:features|findings)|description|observations?|notes?|summary|management|treatment|"
    r"recommendations?|next steps?)[*_]*\s?:",
    re.IGNORECASE,
)


def pieces(text: str, lines: Sequence[str], known: Known | None) -> Sequence[str]:
    """The items as they are written, by rank, with their markers. `lines` are those of the text.

    The lines with numbers, else those with bullets, else with letters; else what semicolons, lines or commas
    part, the first of these that occurs.
    """
    lines = [line for line in lines if line.strip()]
    if ":" in text or "#" in text:
        told = _without_headings(lines, known)
        if told != lines:
            lines, text = told, "\n".join(told)
    marked = _marked(lines)
    if len(marked) > 1:
        return marked
    if marked:
        text = marked[0]
        if ";" not in text and _INLINE_SECOND.search(text):
            return _INLINE_NUMBER.split(text)[1:]
        if ";" not in text:
            return [text]
    elif text.startswith("["):  # no JSON, but meant as a list
        text = text[1:].removesuffix("]").strip(", \n")
        lines = [line for line in text.splitlines() if line.strip()]
    if ";" in text:
        return SEMICOLON.split(text)
    if len(lines) > 1:
        return lines
    if "," not in text or (known is not None and len(text) <= LONGEST_NAME and known(trim(text))):
        return [text]
    listed = text.split(",")
    if _AND.match(listed[-1]):
        listed[-1] = _AND.sub("", listed[-1], count=1)
    later = [*listed[1:], ""]
    return [
        piece + STRUCK_OUT if comments(after) else piece for piece, after in zip(listed, later, strict=True)
    ]


def _marked(lines: Sequence[str]) -> Sequence[str]:
    """The lines that are items of a list, by their numbers, bullets or letters."""
    numbered = [line for line in lines if NUMBER.match(line)]
    if len(numbered) > 1:
        return numbered
    bullets = [line for line in lines if BULLET.match(line)]
    if numbered and bullets:
        deeper = _indent(bullets[0]) > _indent(numbered[0])
        if deeper and lines.index(numbered[0]) < lines.index(bullets[0]):
            return numbered
        return [line for line in lines if NUMBER.match(line) or BULLET.match(line)]
    if bullets:
        least = min(map(_indent, bullets))
        return [line for line in bullets if _indent(line) == least]
    if numbered or len(lines) < 2:
        return numbered
    lettered = [(found[1].lower(), line) for line in lines if (found := LETTER.match(line))]
    if len(lettered) > 1 and lettered[0][0] in ("a", "i"):
        return [LETTER.sub("", line, count=1) for _, line in lettered]
    return []


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _without_headings(lines: Sequence[str], known: Known | None) -> list[str]:
    """The lines without headings and fields of other things; what a heading denies is struck out."""
    told: list[str] = []
    denied = False
    for line in lines:
        start = line[: 2 * LONGEST_NAME]
        if _is_heading(line, known):
            denied = _denies(line, known) or _DENYING_HEADING.fullmatch(line) is not None
        elif _ASIDE.match(start) is None:
            if line.startswith(("# ", "## ", "### ")):
                denied = False
            if denied or _denies(start, known):
                line = _PIECE_END.sub(STRUCK_OUT, line)
            told.append(line)
    return told


def _is_heading(line: str, known: Known | None) -> bool:
    """Whether the line introduces others: "Diagnoses:", "Here are my diagnoses:", "## Ruled out"."""
    if len(line) > 2 * LONGEST_NAME or NUMBER.match(line) or BULLET.match(line):
        return False
    if _DENYING_HEADING.fullmatch(line) or _is_lead(line):
        return True
    head = line.rstrip(" \t*_")
    if not head.endswith(":"):
        return False
    name = trim(head[:-1])
    return (len(name.split()) > 3 or _denies(line, known)) and not (known is not None and known(name))


def _is_lead(line: str) -> bool:
    title = (
        line.rstrip() if line.rstrip(" *_").endswith(":") or not line.startswith("#") else line.rstrip() + ":"
    )
    found = LEAD.match(title)
    return found is not None and found.end() == len(title)


def _denies(line: str, known: Known | None) -> bool:
    """Whether what stands before the line's colon denies what stands after it."""
    head, colon, _ = line.partition(":")
    if not colon or len(head) > LONGEST_NAME or ";" in head or "," in head:
        return False
    return _DENYING.search(head) is not None and not (known is not None and known(trim(head)))
