import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging.client import Failure
from skinflow_plugins.judging.failures import FailureLog

TIMEOUT = Failure("timeout", "no answer")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "judge_failures.jsonl").read_text().splitlines()]


def test_a_line_says_who_asked_what(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "what is \ud800 this"}, image]},
    ]
    log = FailureLog(tmp_path / "run", "stage1")
    log.write(TIMEOUT, question="described", seed=3, messages=messages, reply="{" * 9000)
    (line,) = lines(tmp_path / "run")
    assert abs(line.pop("time") - (tmp_path / "run" / "judge_failures.jsonl").stat().st_mtime) < 60
    assert line == {
        "name": "stage1",
        "kind": "timeout",
        "detail": "no answer",
        "question": "described",
        "seed": 3,
        "asked": "what is \ud800 this (image)",
        "reply": "{" * 4000,
    }


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    FailureLog(tmp_path, "a").write(TIMEOUT)
    FailureLog(tmp_path, "b").write(TIMEOUT)
    assert [line["name"] for line in lines(tmp_path)] == ["a", "b"]


def test_the_file_is_bounded_and_says_so(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, "a", largest=3000)
    for _ in range(1000):
        log.write(TIMEOUT, reply="x" * 100)
    assert (tmp_path / "judge_failures.jsonl").stat().st_size < 3600
    assert [line["kind"] for line in lines(tmp_path)].count("end") == 1
    assert (
        lines(tmp_path)[-1]["detail"] == "the file has 3000 bytes; further failures are counted, not written"
    )


def test_a_place_that_cannot_be_written_is_known_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        FailureLog(tmp_path / "file", "a")


def test_a_place_that_vanishes_fails_nothing_and_is_told_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    log = FailureLog(folder, "a")
    (folder / "judge_failures.jsonl").unlink()
    folder.rmdir()
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        log.write(TIMEOUT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.write(TIMEOUT)


def test_processes_that_append_at_once_mix_no_lines(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from skinflow_plugins.judging.client import Failure\n"
        "from skinflow_plugins.judging.failures import FailureLog\n"
        "log = FailureLog(Path(sys.argv[1]), sys.argv[2])\n"
        "for n in range(300):\n    log.write(Failure('timeout', str(n)), reply='x' * 3000)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [each.wait(60) for each in running] == [0, 0]
    found = lines(tmp_path)
    for name in "ab":
        assert [line["detail"] for line in found if line["name"] == name] == [str(n) for n in range(300)]
