"""What a language model that judged answers was asked, how far its runs agreed, and what it failed at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Facts, Heading, Points


def judge(document: Mapping[str, Any]) -> list[Block]:
    """The account of the judge; nothing when the matcher judged."""
    account = document.get("judge")
    if not account:
        return []
    prompt, agreement = account.get("prompt") or {}, account.get("agreement") or {}
    pairs = [
        ("Model", str(account.get("model") or wording.NONE)),
        ("Prompt", f"{prompt.get('name', '?')}, version {prompt.get('version', '?')}"),
        ("SHA-256 of the prompt", str(prompt.get("sha256") or wording.NONE)),
        ("Runs", f"majority of {wording.count(account.get('runs'))}, seed {account.get('seed', '?')}"),
        ("Temperature", str(account.get("temperature", wording.NONE))),
        ("Questions", wording.count(account.get("questions"))),
        ("Calls", wording.count(account.get("calls"))),
        ("Records left out", wording.count(account.get("left_out"))),
        ("All runs agree", _agreed(agreement, "unanimous", share=True)),
        ("Fleiss' kappa", _agreed(agreement, "kappa", share=False)),
    ]
    pairs += [(f"Failed: {kind}", wording.count(n)) for kind, n in (account.get("failures") or {}).items()]
    pairs += [(f"Verdict: {kind}", wording.count(n)) for kind, n in (account.get("verdicts") or {}).items()]
    blocks: list[Block] = [Heading("Judge"), Facts(pairs)]
    if account.get("notes"):
        blocks.append(Points([str(note) for note in account["notes"]]))
    return blocks


def _agreed(agreement: Mapping[str, Any], name: str, *, share: bool) -> str:
    found = wording.finite(agreement.get(name))
    if found is None:
        return str(agreement.get("why") or wording.NONE)
    shown = wording.value(found) if share else f"{found:.2f}"
    return f"{shown} of {wording.count(agreement.get('items'))} items" if share else shown
