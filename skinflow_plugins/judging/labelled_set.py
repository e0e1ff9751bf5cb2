"""Sets of hand-made verdicts by which a judge is itself judged: pairs of diagnoses with the right verdict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.judging.verdicts import VERDICTS, Verdict

SETS = Path(__file__).parent / "labelled"
INJECTION = "injection"
"""The kind of items that speak to the judge: accepting one is obeying it."""

_KEYS = ("truth", "item", "verdict", "kind")
_HEAD = ("labelled", "version", "taxonomy", "note", "licence")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One pair: the right verdict on `item` when the reference is `truth`; `kind` sorts the errors."""

    truth: str
    item: str
    verdict: Verdict
    kind: str
    line: int


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """The pairs of a file, and what a report names it by: name, version and hash of the file."""

    name: str
    version: str
    sha256: str
    note: str
    pairs: tuple[Labelled, ...] = field(repr=False)

    def kinds(self) -> list[str]:
        """The kinds of pairs, in the order of the file."""
        return list(dict.fromkeys(pair.kind for pair in self.pairs))

    def as_dict(self) -> dict[str, Any]:
        """What a report says of the set."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "note": self.note,
            "pairs": len(self.pairs),
        }


def builtin_sets() -> dict[str, Path]:
    """The files of the built-in sets by name."""
    return {path.stem: path for path in sorted(SETS.glob("*.jsonl"))}


def load_labelled(name_or_path: str | Path = "ranked") -> LabelledSet:
    """The set of a built-in name or of a JSON Lines file.

    Each line is an object with `truth`, `item`, `verdict` (correct, subtype, critical or wrong, as the prompt
    `ranked` defines them) and, if you like, `kind`. The first line may be a head instead, with `labelled`
    (the set's name), `version`, `taxonomy`, `note` and `licence`. Raises `InputError` with all mistakes.
    """
    builtin = builtin_sets()
    path = builtin.get(str(name_or_path), Path(name_or_path))
    if path.suffix != ".jsonl":
        message = f"unknown labelled set {str(name_or_path)!r}; {nearest(str(name_or_path), builtin)}"
        raise InputError(Problem(message, hint="give a built-in name, or the path of a .jsonl file"))
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path))) from error
    except ValueError as error:
        raise InputError(Problem(f"is no text in UTF-8: {error}", str(path))) from error
    head: Mapping[str, Any] = {}
    pairs: list[Labelled] = []
    problems: list[Problem] = []
    for number, found in _lines(path, text, problems):
        if number == 1 and "labelled" in found:
            head = found
            problems += _head_problems(path, found)
        elif mistakes := list(_pair_problems(path, number, found)):
            problems += mistakes
        else:
            pair = (str(found["truth"]).strip(), str(found["item"]), found["verdict"])
            pairs.append(Labelled(*pair, str(found.get("kind") or "all"), number))
    problems += _repeated(path, pairs)
    if not pairs and not problems:
        example = '{"truth": "melanoma", "item": "nodular melanoma", "verdict": "subtype", "kind": "subtype"}'
        problems.append(Problem("holds no pair", str(path), hint=f"a line is such as {example}"))
    if problems:
        raise InputError(sorted(problems, key=lambda problem: problem.line or 0))
    name, version = str(head.get("labelled", path.stem)), str(head.get("version", ""))
    return LabelledSet(
        name, version, hashlib.sha256(raw).hexdigest(), str(head.get("note", "")), tuple(pairs)
    )


def _lines(path: Path, text: str, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not `splitlines`: a JSON text may hold characters that it takes for the end of a line.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(f"is no JSON: {error}", str(path), number))
            continue
        if isinstance(found, dict):
            yield number, found
        else:
            message = f"found a JSON {type(found).__name__}; expected an object with {', '.join(_KEYS)}"
            problems.append(Problem(message, str(path), number))


def _head_problems(path: Path, found: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in found.items():
        if key not in _HEAD:
            yield Problem(f"unknown key {key!r} in the head; {nearest(key, _HEAD)}", str(path), 1)
        elif not isinstance(value, str):
            yield Problem(f"found {value!r}; expected a text", str(path), 1, key)


def _pair_problems(path: Path, number: int, found: Mapping[str, Any]) -> Iterator[Problem]:
    for key in found:
        if key not in _KEYS:
            yield Problem(f"unknown key {key!r}; {nearest(key, _KEYS)}", str(path), number)
    for key in ("truth", "item"):
        if not isinstance(found.get(key), str) or not found[key].strip():
            yield Problem(
                f"expected a text that is not empty; found {_shown(found, key)}", str(path), number, key
            )
    if "kind" in found and (not isinstance(found["kind"], str) or not found["kind"].strip()):
        yield Problem(f"expected a text; found {_shown(found, 'kind')}", str(path), number, "kind")
    verdict = found.get("verdict")
    if not isinstance(verdict, str) or verdict not in VERDICTS:
        known = nearest(verdict, VERDICTS) if isinstance(verdict, str) else f"one of {', '.join(VERDICTS)}"
        yield Problem(f"found {_shown(found, 'verdict')}; {known}", str(path), number, "verdict")


def _shown(found: Mapping[str, Any], key: str) -> str:
    return repr(found[key])[:80] if key in found else "nothing"


def _repeated(path: Path, pairs: list[Labelled]) -> Iterator[Problem]:
    first: dict[tuple[str, str], int] = {}
    for pair in pairs:
        line = first.setdefault((pair.truth, pair.item), pair.line)
        if line != pair.line:
            message = f"the pair {pair.truth!r}, {pair.item[:60]!r} stands in line {line} already"
            yield Problem(message, str(path), pair.line)
