"""The folder: whose it is, and files that others have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinflow_plugins.captioning.folder import CAPTIONS, MANIFEST, SHEET, Folder
from skinflow_plugins.errors import InputError

IDENTITY = {"captioner": "a", "tries": 5}


def claimed(path: Path) -> Folder:
    folder = Folder(path)
    folder.claim(IDENTITY, {"input": {"file": "x"}})
    return folder


def test_another_identity_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    claimed(tmp_path)
    claimed(tmp_path)
    before = (tmp_path / MANIFEST).read_bytes()
    with pytest.raises(
        InputError, match='was begun otherwise: captioner was "a" and is "b"; seed was null and is 1'
    ):
        Folder(tmp_path).claim({**IDENTITY, "captioner": "b", "seed": 1}, {})
    assert (tmp_path / MANIFEST).read_bytes() == before


def test_files_of_others_are_no_folder_of_ours(tmp_path: Path) -> None:
    (tmp_path / CAPTIONS).write_text("precious")
    with pytest.raises(InputError, match=r"holds captions.jsonl, which"):
        claimed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CAPTIONS]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"kind": "other"}', '{"kind": "skinflow captions", "format": 9}']
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"manifest.json: is no manifest of captions"):
        claimed(tmp_path)


def test_a_file_that_somebody_changed_is_seen(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    folder.write(SHEET, b"one")
    folder.write(CAPTIONS, b"")
    Folder(tmp_path).read()
    folder.refuse_changed()
    (tmp_path / SHEET).write_bytes(b"edited")
    again = claimed(tmp_path)
    assert again.changed(SHEET)
    assert not again.changed(CAPTIONS)
    assert not again.changed("absent.jsonl")
    with pytest.raises(InputError, match=r"review.csv: was changed since it was written here") as caught:
        again.refuse_changed()
    assert f"--merge-review {tmp_path / SHEET}" in str(caught.value)
    again.remember(SHEET, b"edited")
    again.refuse_changed()


def test_a_kill_between_manifest_and_file_leaves_both_known(tmp_path: Path) -> None:
    folder = claimed(tmp_path)
    folder.write(CAPTIONS, b"old")
    folder.remember(CAPTIONS, b"new")  # and here the process dies
    assert not claimed(tmp_path).changed(CAPTIONS)
    (tmp_path / CAPTIONS).write_bytes(b"new")
    assert not claimed(tmp_path).changed(CAPTIONS)
