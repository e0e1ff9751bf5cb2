"""The folder of a captioning: whose it is, and files that are never written over when others changed them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem

MANIFEST = "manifest.json"
CAPTIONS, REVIEW, SHEET, REPORT = "captions.jsonl", "review.jsonl", "review.csv", "report.json"
LEFT_OUT, FAILED = "left_out.jsonl", "failed.jsonl"
FORMAT = 1
KIND = "skinflow captions"
_REMEMBERED = 4  # digests of one file: the last ones that we wrote or merged


class Folder:
    """The folder's manifest, and its files by name. `identity` is what must not change between two calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}

    def check(self, identity: Mapping[str, Any]) -> None:
        """`InputError` where the folder is not ours, or was begun with another identity; changes nothing."""
        found = self.read()
        if found is None:
            others = [name for name in (CAPTIONS, REVIEW, SHEET, REPORT) if (self.path / name).exists()]
            if others:
                message = f"holds {', '.join(others)}, which `skinflow data caption` did not write"
                hint = "choose another folder with -o; nothing was touched"
                raise InputError(Problem(message, str(self.path), hint=hint))
            return
        before = found["identity"]
        differ = [
            f"{name} was {_shown(before.get(name))} and is {_shown(identity.get(name))}"
            for name in dict.fromkeys([*before, *identity])
            if before.get(name) != identity.get(name)
        ]
        if differ:
            message = f"was begun otherwise: {'; '.join(differ)}"
            hint = "go on as it was begun, or choose another folder with -o"
            raise InputError(Problem(message, str(self.path), hint=hint))

    def claim(self, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Make the folder ours, as far as `check` allows it, and note the facts of this call."""
        self.check(identity)
        self.manifest |= {"format": FORMAT, "kind": KIND, "identity": dict(identity), **facts}
        self.manifest.setdefault("written", {})
        self._save()

    def read(self) -> dict[str, Any] | None:
        """The manifest; None where there is none. `InputError` where it is not ours."""
        path = self.path / MANIFEST
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(Problem(f"cannot be read: {error.strerror or error}", str(path))) from error
        except ValueError:
            found = None
        ours = isinstance(found, dict) and found.get("kind") == KIND
        if not ours or found.get("format") != FORMAT or not isinstance(found.get("identity"), dict):
            message = f"is no manifest of captions of format {FORMAT}"
            raise InputError(Problem(message, str(path), hint="choose another folder with -o"))
        self.manifest = found
        return self.manifest

    def changed(self, name: str) -> bool:
        """Whether somebody else has changed a file that we wrote."""
        try:
            digest = hashlib.sha256((self.path / name).read_bytes()).hexdigest()
        except OSError:
            return False
        return digest not in self.manifest.get("written", {}).get(name, [])

    def refuse_changed(self) -> None:
        """`InputError` for every file that would be written over though somebody else has changed it."""
        problems = []
        for name in (CAPTIONS, REVIEW, SHEET):
            if self.changed(name):
                hint = f"merge the decisions in it: skinflow data caption --merge-review {self.path / name}"
                if name != SHEET:
                    hint = "move it away; it is made anew from the journal"
                message = "was changed since it was written here, and is not written over"
                problems.append(Problem(message, str(self.path / name), hint=hint))
        if problems:
            raise InputError(problems)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file as a whole; a process killed within leaves the old file or the new one."""
        path = self.path / name
        self.remember(name, content)
        part = path.with_name(f".{name}.part")
        part.write_bytes(content)
        os.replace(part, path)
        return path

    def remember(self, name: str, content: bytes) -> None:
        """Note that this content is known here, and may be written over."""
        digest = hashlib.sha256(content).hexdigest()
        known = self.manifest.setdefault("written", {}).setdefault(name, [])
        if known[-1:] != [digest]:
            self.manifest["written"][name] = [*(each for each in known if each != digest), digest][
                -_REMEMBERED:
            ]
            self._save()

    def _save(self) -> None:
        text = json.dumps(self.manifest, indent=1, ensure_ascii=False)
        part = self.path / f".{MANIFEST}.part"
        try:
            part.write_text(text + "\n", encoding="utf-8")
            os.replace(part, self.path / MANIFEST)
        except OSError as error:
            message = f"cannot be written: {error.strerror or error}"
            raise InputError(Problem(message, str(self.path / MANIFEST))) from error


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
