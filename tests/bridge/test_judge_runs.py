"""A real training with a judge on this machine: killed and restarted midway, gone for good, and cached."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.rewarding.desk import Desk
from skinflow_plugins.bridge.run import run
from skinflow_plugins.errors import WorkFailed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("swift")]

SERVER = Path(__file__).with_name("judge_server.py")
KEY = "diagnosis.ranked_diagnosis"


class Server:
    """The judge as a process that can be killed and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder / "calls.jsonl"
        self.process: subprocess.Popen[bytes] | None = None
        self.calls_at_restart = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.is_file() else 0

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(SERVER), str(self.port), str(self.log)])
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError("the judge did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    found.start()
    yield found
    found.kill()


@pytest.fixture
def recipe(read: Callable[..., Any], server: Server, tmp_path: Path) -> Callable[..., Any]:
    """The tiny recipe with the judge in its last stage; `failure_share` is what may fail."""

    def made(failure_share: float, *more: str, steps: int = 8) -> Any:
        judge = {
            "endpoint": server.endpoint,
            "model": "letters",
            "timeout": 2,
            "deadline": 3,
            "retries": 1,
            "failure_share": failure_share,
            "cache": str(tmp_path / "judge.sqlite3"),
            "prompt_price": 2.0,
            "completion_price": 8.0,
        }
        return read(
            f"judge={json.dumps(judge)}",
            "stages.diagnosis.rewards.ranked_diagnosis.accept=judge",
            f"stages.diagnosis.swift.max_steps={steps}",
            "stages.diagnosis.replay=null",
            "stages.caption.swift.max_steps=1",
            "stages.warmup.swift.max_steps=48",
            *more,
        )

    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def last_step(path: Path) -> int:
    if not path.is_file():
        return 0
    whole = [text for text in path.read_text(encoding="utf-8").splitlines(keepends=True) if text[-1] == "\n"]
    return max((json.loads(text)["step"] for text in whole), default=0)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a sixth of a second at least: a fast machine would be done before a breaker tries again."""
    finish = Desk.finish

    def slowly(self: Desk, *arguments: Any) -> Any:
        time.sleep(0.15)
        return finish(self, *arguments)

    monkeypatch.setattr(Desk, "finish", slowly)


@pytest.mark.usefixtures("unhurried")
def test_a_judge_that_dies_and_comes_back(recipe: Any, server: Server, tmp_path: Path) -> None:
    root = tmp_path / "run"
    part = root / "stages" / "3-diagnosis" / "rewards.rank0.jsonl"
    outage: list[int] = []

    def disturb() -> None:
        def wait_for(step: int) -> None:
            while last_step(part) < step:
                time.sleep(0.005)

        wait_for(3)
        server.kill()
        outage.append(last_step(part))
        wait_for(outage[0] + 3)
        server.calls_at_restart = server.calls
        server.start()
        outage.append(last_step(part))

    thread = threading.Thread(target=disturb, daemon=True)
    thread.start()
    run(*recipe(1.0, steps=80), root, print)
    thread.join(10)
    assert len(outage) == 2
    assert server.calls > server.calls_at_restart

    stage = root / "stages" / "3-diagnosis"
    rows = lines(stage / "rewards.jsonl")
    failed = [row for row in rows if row.get("failed")]
    assert failed
    assert min(row["step"] for row in failed) >= outage[0]
    assert max(row["step"] for row in failed) >= outage[1]  # the circuit breaker waits before it tries again
    for row in failed:
        assert row["failed"] == [KEY]
        assert row["missing"][KEY]
        same = [other for other in rows if (other["step"], other["group"]) == (row["step"], row["group"])]
        judged = [other["rewards"][KEY] for other in same if KEY not in other.get("missing", {})]
        if judged:  # the group's mean, not a zero
            assert row["rewards"][KEY] == pytest.approx(sum(judged) / len(judged), abs=1e-5)
        else:
            assert KEY not in row["rewards"]
    again = [row for row in rows if row["step"] > max(bad["step"] for bad in failed)]
    assert again  # it is asked again
    assert any("at rank" in row["why"][KEY] for row in again)

    steps = {row["step"]: row for row in lines(stage / "reward_steps.jsonl")}
    assert set(steps) == set(range(1, 81))
    assert steps[failed[0]["step"]]["components"][KEY]["failed"] > 0
    usage = lines(stage / "judge_usage.jsonl")
    assert sum(row["calls"] for row in usage) > 0
    assert sum(sum(row["failures"].values()) for row in usage) > 0
    spent = sum(2e-6 * row["prompt_tokens"] + 8e-6 * row["completion_tokens"] for row in usage)
    assert sum(row["cost"] for row in usage) == pytest.approx(spent)
    swift_log = [row for row in lines(stage / "logging.jsonl") if f"rewards/{KEY}/failed" in row]
    assert any(row[f"rewards/{KEY}/failed"] > 0 for row in swift_log)
    failures = lines(stage / "judge_failures.jsonl")
    assert {row["kind"] for row in failures} <= {"transport", "timeout", "open"}


def test_a_judge_that_stays_away_ends_the_run(recipe: Any, server: Server, tmp_path: Path) -> None:
    root = tmp_path / "run"
    part = root / "stages" / "3-diagnosis" / "rewards.rank0.jsonl"

    def disturb() -> None:
        while last_step(part) < 2:
            time.sleep(0.005)
        server.kill()

    threading.Thread(target=disturb, daemon=True).start()
    with pytest.raises(
        WorkFailed, match=r"ranked_diagnosis could not judge \d+ of the last \d+ .* 20% may fail"
    ):
        run(*recipe(0.2, steps=60), root, print)
    assert lines(part)  # what was judged is there


def test_a_judge_that_is_not_there_stops_the_run_before_anything_is_built(
    recipe: Any, server: Server, tmp_path: Path
) -> None:
    server.kill()
    root = tmp_path / "run"
    with pytest.raises(WorkFailed, match="judge"):
        run(*recipe(0.2), root, print)
    assert not (root / "stages").exists()


def test_the_same_run_again_asks_nothing(recipe: Any, server: Server, tmp_path: Path) -> None:
    run(*recipe(0.2), tmp_path / "one", print)
    before = server.calls
    assert before > 0
    run(*recipe(0.2), tmp_path / "two", print)
    asked = server.calls - before
    assert asked <= 1  # the call that finds out, before the start, whether it is there
    one, two = (tmp_path / name / "stages" / "3-diagnosis" / "rewards.jsonl" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    usage = lines(tmp_path / "two" / "stages" / "3-diagnosis" / "judge_usage.jsonl")
    assert sum(row["calls"] for row in usage) == 0
    assert sum(row["hits"] for row in usage) > 0
