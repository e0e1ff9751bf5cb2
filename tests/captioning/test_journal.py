"""The journal: nothing that was written is lost, and one process writes at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinflow_plugins.captioning.journal import NAME, Journal, read_journal
from skinflow_plugins.errors import InputError


def test_events_come_back_in_order(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "folder") as journal:
        journal.add("try", {"id": "ä\u2028"})
        journal.add("usage", {"run": 1})
        journal.keep()
        assert [event["event"] for event in journal.events] == ["try", "usage"]
    with Journal(tmp_path / "new" / "folder") as journal:
        assert journal.events == [{"event": "try", "id": "ä\u2028"}, {"event": "usage", "run": 1}]
        journal.add("try", {"id": "b"})
    assert [event.get("id") for event in read_journal(tmp_path / "new" / "folder")] == ["ä\u2028", None, "b"]
    assert read_journal(tmp_path) == []


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_cut_anywhere_all_whole_lines_remain(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder) as journal:
        for number in range(5):
            journal.add("try", {"id": str(number), "why": "x" * number})
    raw = (folder / NAME).read_bytes()
    raw = raw[: cut % (len(raw) + 1)]
    (folder / NAME).write_bytes(raw)
    whole = raw.count(b"\n")
    assert len(read_journal(folder)) == whole
    with Journal(folder) as journal:
        assert [event["id"] for event in journal.events] == [str(n) for n in range(whole)]
        journal.add("try", {"id": "next"})
    ids = [json.loads(line)["id"] for line in (folder / NAME).read_text().splitlines()]
    assert ids == [*(str(n) for n in range(whole)), "next"]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"id": 1}', '{"event": 7}'])
def test_foreign_lines_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / NAME).write_text(f'{{"event": "try"}}\n{line}\n')
    with pytest.raises(InputError, match=rf"{NAME}:2: is no event of a journal"), Journal(tmp_path):
        pass
    # Refused, and let go of: the next one is not told that it is held.
    with pytest.raises(InputError, match="is no event"), Journal(tmp_path):
        pass


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom skinflow_plugins.captioning.journal import Journal\n"
        "from skinflow_plugins.errors import InputError\n"
        "try:\n    Journal(pathlib.Path(sys.argv[1])).__enter__()\n"
        "except InputError as error:\n    print(error)\n"
    )
    run = [sys.executable, "-c", code, str(tmp_path)]
    with Journal(tmp_path):
        done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "another process is captioning into this folder" in done.stdout
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == ""


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), Journal(tmp_path / "file"):
        pass
