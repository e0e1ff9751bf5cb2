"""One item of a ranked list: its marker, its lead, its name, its confidence, and what is said about it."""

from __future__ import annotations

import re
from collections.abc import Callable

from skinflow_plugins.diagnosis.folding import LONGEST_NAME, doubtful

MOST_WORDS = 8  # of one name; a longer one is a sentence
LONGEST_ITEM = 600  # characters that are looked at: a name, and the beginning of an explanation

Known = Callable[[str], bool]
Item = tuple[str, float | None]
VOID: Item = ("", None)

_BEFORE = r"[\s#>*_]{0,12}"  # of a marker: white space and Markdown
_DASH = r"\-\u2013\u2014"
_ORDINAL = (
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|"
    r"\d{1,2}(?:st|nd|rd|th)"
)
NUMBER = re.compile(
    rf"{_BEFORE}(?:"
    r"[(\[]\d{1,3}[)\]]|#\d{1,3}[.):]?(?=\s)|#?\d{1,3}\s?[.):](?!\d)|"
    rf"\d{{1,3}}\s[{_DASH}]\s|"
    rf"(?:rank|top|diagnosis|dx|choice|option|no\.)\s?#?\d{{1,2}}(?:\s?[.):]|\s[{_DASH}]\s)|"
    rf"(?:{_ORDINAL})(?:\s(?:diagnosis|choice|differential))?(?:\s?[:)]|\s[{_DASH}]\s)"
    r")[\s*_]*",
    re.IGNORECASE,
)
BULLET = re.compile(
    rf"{_BEFORE}[*+{_DASH}\u2022\u00b7\u2023\u25aa\u25ab\u25a0\u25cf\u25cb\u25e6\u2192\u27a2\u27a4]\s+"
)
LETTER = re.compile(rf"{_BEFORE}\(?([a-z]|[ivx]{{1,4}})[.)]\s+", re.IGNORECASE)

_TRIM = " \t\r\n*_`#>|\"'\u201c\u201d\u2018\u2019.,"
_TICKED = re.compile(r"\[[xX\u2713\u2714]\]\s*|[\u2705\u2611\u2713\u2714]\s*")

# Said by signs: struck out, crossed out, an empty box, "is not".
_DENIED = re.compile(
    r"[\u274c\u2715-\u2718\u2610\u26d4\u2260\u00ac\U0001f6ab]|~~|</?(?:s|del|strike)>|^!|^\[\s?\]",
    re.IGNORECASE,
)
_SPECIAL = re.compile(r"[\d:(\[\u2014]|\s[-\u2013]\s")

_ADJECTIVE = (
    r"the|my|most likely|most probable|final|primary|main|leading|working|clinical|provisional|presumptive|"
    r"top|principal|suggested|predicted|differential|other|alternative|secondary|ranked|list of|"
    r"(?:top.)?\d{1,2}|one|two|three|four|five|six"
)
LEAD = re.compile(
    rf"{_BEFORE}(?:most likely|most probable|primary|secondary|alternatives?|ddx|"
    r"(?:the |my )?(?:possible|potential) (?:diagnoses|differentials|conditions|diseases)|"
    rf"(?:(?:{_ADJECTIVE})\s){{0,4}}(?:diagnos[ei]s|dx|answers?|predictions?|conclusion|impression|"
    r"differentials?|conditions?|diseases?))(?:\s(?:list|is|are|include|\d{1,2}))?[*_]*\s?"
    r"(?::|\s[-\u2013\u2014]\s)[\s*_]*",
    re.IGNORECASE,
)
_CUT = re.compile(r"[*_`]*\s[-\u2013\u2014]{1,2}\s|\s?\u2014\s?|:(?=[\s*_\d]|$)")

_PART = re.compile(r"[,;]|\s[-\u2013\u2014]\s")

# What is said of a name after the dash or colon: a verdict in its first words, or a plain denial further on.
_SURE = re.compile(r"\b(?:most|very|highly|quite) (?:likely|probable)\b", re.IGNORECASE)
_VERDICT = re.compile(
    r"\W*(?:(?:it|this|that|is|can|has|have|been|be|was|seems|appears|but|however|though|although|very|"
    r"quite|rather|also|now)\W+){0,4}(?:(?:not|no|none|never|nor|neither|cannot|can't|isn't|doesn't|"
    r"unlikely|less|least|possibl[ey]|probabl[ey]|likely|maybe|perhaps|might|may|could|suspect\w*|suspicious|"
    r"uncertain|unclear|unknown|exclud\w+|rul(?:e|ed|es|ing)|to (?:exclude|rule)|absent|negative|false|"
    r"doubtful|questionable|or|vs|versus|mimic\w*)\b|\?)",
    re.IGNORECASE,
)
_ONLY_VERDICT = re.compile(
    r"\s*(?:(?:is|was|can be|has been|but|though)\s){0,2}(?:(?:very|quite|rather)\s)?(?:not|no|unlikely|"
    r"less likely|least likely|likely|possibl[ey]|probabl[ey]|maybe|perhaps|uncertain|questionable|doubtful|"
    r"excluded|ruled out|absent|negative)\s*[?.!]?\s*|\s*(?:or|vs|versus)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_DENIAL = re.compile(
    r"\b(?:unlikely|less likely|least likely|improbable|rul(?:e|ed|es|ing) out|exclud(?:e|ed|es|ing)|"
    r"no evidence|not (?:supported|consistent|compatible|the case)|argues? against|speaks? against|"
    r"inconsistent|cannot be)\b",
    re.IGNORECASE,
)
_DENIAL_WORDS = 12  # of an explanation, within which a denial is of the name and not of something else

_IN_BRACKETS = re.compile(
    r"[(\[][^()\[\]]*\b(?:mimic\w*|history|resembl\w*|simulat\w*|look-?alike|like|screening|risk)\b",
    re.IGNORECASE,
)
_SURENESS = "confidence|probability|likelihood|certainty|conf|prob|score"
_BRACKETED = re.compile(
    rf"\s*[(\[]\s*(?P<before>(?:(?:{_SURENESS})\s?(?:of\s|[:=])?|p\s?[:=])\s?)?(?:about\s|[~\u2248]\s?)?"
    rf"(?P<number>\d{{1,3}}(?:\.\d{{1,9}})?)\s?(?P<percent>%|percent)?\s?"
    rf"(?P<after>{_SURENESS}|likely|confident|certain|sure)?\s*[)\]]\s*$",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    rf"(?:^|[\s:=,{_DASH}]+)(?P<before>(?:{_SURENESS})\s?[:=]?\s?)?(?:about\s|[~\u2248]\s?)?"
    rf"(?P<number>\d{{1,3}}(?:\.\d{{1,9}})?)\s?(?P<percent>%|percent)\s?"
    rf"(?P<after>{_SURENESS}|likely|confident|certain|sure)?\s*$",
    re.IGNORECASE,
)
_DECIMAL = re.compile(
    rf"(?:\s?[:=]|\s[{_DASH}](?=\s))(?P<before>\s?(?:{_SURENESS})\s?[:=]?)?\s?(?P<number>[01]?\.\d{{1,9}})(?P<percent>)\s*$",
    re.IGNORECASE,
)
_MEASURE = re.compile(r"\d\s?(?:%|p|\)|\])|\.\d|\d\s(?:conf|prob|like|cert|sure|score)", re.IGNORECASE)
_LONGEST_CONFIDENCE = 60  # characters
_RANKED = re.compile(
    rf"\s*[(\[]\s*(?:(?:most|very|highly|more) likely|(?:very )?(?:high|highest|moderate|medium|low|lower|"
    rf"lowest) (?:{_SURENESS})|primary|leading|top)(?: diagnosis)?\s*[)\]]",
    re.IGNORECASE,
)


def trim(text: str) -> str:
    """The text without white space, quotes, full stops, commas and Markdown around it."""
    return text.strip(_TRIM)


def without_marker(text: str) -> str:
    """The text without white space and Markdown around it, and without one list marker."""
    text = text.strip(" \t\r\n")
    found = NUMBER.match(text) or (None if text[:1].isalpha() else BULLET.match(text))
    return trim(text[found.end() :] if found else text)


def without_lead(text: str) -> str:
    """The text without "Diagnosis:" or the like before it."""
    found = LEAD.match(text)
    return trim(text[found.end() :]) if found else text


def read_item(piece: str, known: Known | None = None) -> Item:
    """The name that the item gives, "" for a void one, and the confidence in [0, 1] said with it.

    The name is the whole item, or what stands before a dash, a colon or a confidence. A lead such as
    "Diagnosis:" is no part of it. Void is what is empty, struck out, longer than eight words, negated,
    hedged, or has that said about it; a confidence of 0 is a denial.
    """
    text = without_marker(piece[: 4 * LONGEST_ITEM])
    if not text or _DENIED.search(text):
        return VOID
    if not text.isascii() or text[0] == "[":
        text = _TICKED.sub("", text).strip()
    if not _SPECIAL.search(text):
        return _name(text, known), None
    if len(piece) > LONGEST_ITEM:
        text = text[:LONGEST_ITEM]
    text = without_lead(text)
    if _DENIED.match(text):
        return VOID
    return _with_confidence(text, known)


def _with_confidence(text: str, known: Known | None) -> Item:
    text, confidence = _confidence(text)
    if confidence == 0 or (("(" in text or "[" in text) and _IN_BRACKETS.search(text[:LONGEST_NAME])):
        return VOID
    for cut in _CUT.finditer(text, 1, LONGEST_NAME):
        head, tail = text[: cut.start()], text[cut.end() :]
        if head.count("(") > head.count(")"):  # a dash within brackets
            continue
        if known is not None and len(text) <= LONGEST_NAME:
            # A name may have a dash or colon in it: "melanoma - in situ". Asking costs a search.
            asked = tail.count(" ") < 3 or not known(trim(head))
            if asked and known(text):
                return text, confidence
        if denies(tail):
            return VOID
        if confidence is None:
            head, confidence = _confidence(trim(head))
        if confidence is None:
            confidence = _confidence(_PART.split(tail, maxsplit=1)[0])[1]
        text = head
        break
    if confidence == 0:
        return VOID
    text = trim(_RANKED.sub("", text))
    return _name(text, known), confidence


def denies(explanation: str) -> bool:
    """Whether what is said of a name takes it back: "unlikely", "ruled out by its border", "possible"."""
    start = _SURE.sub("", explanation[:LONGEST_ITEM].replace("\u2019", "'"))
    return bool(_VERDICT.match(start) or _DENIAL.search(" ".join(start.split()[:_DENIAL_WORDS])))


def comments(piece: str) -> bool:
    """Whether a piece of a comma list names nothing, and questions the one before: "unlikely", "or nevus"."""
    return len(piece) <= LONGEST_NAME and _ONLY_VERDICT.fullmatch(piece) is not None


def _confidence(text: str) -> Item:
    """The text without a confidence at its end, and the confidence."""
    start = max(len(text) - _LONGEST_CONFIDENCE, 0)
    end = text[start:]
    if _MEASURE.search(end) is None:
        return text, None
    found = _BRACKETED.search(end) or _PLAIN.search(end) or _DECIMAL.search(end)
    if found is None:
        return text, None
    said = found.groupdict()
    number, percent = float(said["number"]), bool(said["percent"])
    fraction = number <= 1 and "." in said["number"]
    if not (percent or fraction or said.get("before") or said.get("after")):
        return text, None  # "(2)" may be anything
    value = number / 100 if percent or number > 1 else number
    return trim(text[: start + found.start()]), value if value <= 1 else None


def _name(text: str, known: Known | None) -> str:
    if known is not None and 0 < len(text) <= LONGEST_NAME and known(text):
        return text
    return "" if len(text) > LONGEST_NAME or len(text.split()) > MOST_WORDS or doubtful(text) else text
