"""The forms in which an answer says that it gives no diagnosis."""

from __future__ import annotations

import re

_IMAGE = (
    r"(?:\s(?:from|on|with|based on|in|for)\s(?:this|the|that|a single)\s"
    r"(?:image|photo|photograph|picture|information)s?)?(?:\salone)?"
)
_WHAT = (
    r"(?:\s(?:a|the|any|this))?(?:\s(?:specific|definite|definitive|clear|medical))?"
    r"(?:\s(?:diagnosis|answer|condition|disease|lesion))?"
)
_ABSTAINS = re.compile(
    r"(?:(?:i(?:'m| am) )?sorry[,;.]?\s(?:but\s)?)?(?:"
    r"(?:the )?(?:diagnosis|answer|condition)?(?: is)?\s?"
    r"(?:unknown|uncertain|unclear|undetermined|indeterminate)"
    r"(?:\s(?:diagnosis|condition|disease))?|"
    r"(?:i )?abstain|abstention|n/a|not applicable|"
    r"(?:i )?(?:really )?(?:do not|don't|dont) know(?: the (?:diagnosis|answer))?|"
    r"(?:i(?:'m| am) )?(?:not sure|unsure|uncertain)|"
    rf"no (?:diagnosis|answer|idea)(?: (?:is )?(?:possible|can be (?:made|given)))?{_IMAGE}|"
    r"(?:i )?(?:cannot|can't|can not|could not|(?:am |'m )?(?:unable|not able) to)\s(?:be\s)?"
    r"(?:determined?|say|tell|diagnosed?|decide|answer(?:ed)?|assess(?:ed)?|identif(?:y|ied)|give|make|provide)"
    rf"{_WHAT}{_IMAGE}|"
    r"insufficient (?:information|data|evidence|image quality)|not enough information|"
    r"(?:the )?image(?:'s)? (?:quality )?is too (?:poor|low|blurry|blurred|dark)"
    rf"(?: to (?:tell|say|(?:give|make|determine|reach){_WHAT}))?"
    r")[\s.!]*(?:(?:please )?(?:consult|see|seek|ask) [^.!]{1,90}[.!]?)?",
    re.IGNORECASE,
)
_LONGEST = 240  # characters


def is_abstention(text: str) -> bool:
    """Whether the text as a whole says so: "unknown", "I don't know", "cannot determine", "not sure"."""
    text = text[: _LONGEST + 1].replace("\u2019", "'").strip(" \t\r\n*_\"'`")
    return len(text) <= _LONGEST and _ABSTAINS.fullmatch(text) is not None
