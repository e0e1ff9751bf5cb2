"""GRPO with rollouts by a real vLLM through the real command line: within the trainer, and from a server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

RECIPE = Path(__file__).with_name("vllm.yaml")
ONE_STAGE = "stages.second=null"
KL = "rollout_correction/kl"

# Sends vLLM the routers of the first time for ever: what a sync that skips them would do.
STALE = """
import sys
from pathlib import Path

if Path(sys.argv[0]).stem == "rlhf":
    from swift.rlhf_trainers.rollout_mixin import RolloutTrainerMixin

    collect = RolloutTrainerMixin._collect_state_dict_for_vllm
    first = {}

    def stale(self, *arguments, **keywords):
        found = collect(self, *arguments, **keywords)
        for name, value in found.items():
            if ".dve_router." in name:
                found[name] = first.setdefault(name, value.clone())
        return found

    RolloutTrainerMixin._collect_state_dict_for_vllm = stale
"""


class Rollouts:
    """`skinflow run` and `skinflow rollout` as processes, with a third party's reward on their path."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder, self.site = folder, site
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object, log: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join([str(self.site), *sys.path[1:2]]),
        }
        with (self.folder / log).open("wb") as file:
            child = subprocess.Popen(
                [sys.executable, "-m", "skinflow_plugins.cli", *map(str, arguments)],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                cwd=self.folder,
            )
        self.children.append(child)
        return child

    def run(self, *overrides: str, name: str, code: int = 0, again: bool = False) -> Path:
        """The run folder after `skinflow run`, which must end with `code`."""
        log = f"{name}{'-again' if again else ''}.log"
        child = self.start("run", RECIPE, *overrides, "-o", name, "--verbose", log=log)
        assert child.wait(600) == code, self.log(log)[-4000:]
        return self.folder / name

    def log(self, name: str) -> str:
        return (self.folder / name).read_text(errors="replace")


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory, lab: Any) -> Iterator[Rollouts]:
    made = Rollouts(tmp_path_factory.mktemp("rollouts"), lab.site)
    yield made
    for child in made.children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def steps(root: Path, stage: str = "1-first") -> list[dict[str, Any]]:
    """What swift logged of each step of a stage."""
    path = root / "stages" / stage / "logging.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [row for row in rows if KL in row]


def check_steps(root: Path, count: int, stage: str = "1-first") -> None:
    """vLLM sampled from the very model that trained, at every step."""
    logged = steps(root, stage)
    assert len(logged) == count
    assert all(abs(row[KL]) < 1e-5 for row in logged), [row[KL] for row in logged]
    assert any(row["grad_norm"] > 0 for row in logged)


def parity(root: Path, stage: str = "1-first") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "stages" / stage / "parity.json").read_text())
    return found


def check_parity(root: Path, stage: str = "1-first") -> None:
    """Before any step, and after a change of the weights that an engine with the old ones would miss."""
    found = parity(root, stage)
    assert (found["problems"], found["token_ids"]) == ([], "")
    # 56 x 56 pixels are 8 x 8 patches of 7, and four of them one token.
    assert found["images"] == "4 images of 1x8x8 patches with 64 placeholders"
    assert max(found["before"]["largest"], found["after"]["largest"]) < 1e-4
    assert found["moved"]["mean"] >= 4 * found["tolerance"]  # enough to tell new weights from old


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("full", ["tuning.encoder=trained", ONE_STAGE]),
        ("lora", ["tuning.tuner=lora", "model.vision.frozen_bases=true", "swift.max_steps=2"]),
        ("base", ["model.vision.encoder=base", "model.base=tiny:qwen3_vl", ONE_STAGE]),
    ],
)
def test_colocated_it_samples_from_the_model_that_trains(
    name: str, overrides: Sequence[str], rollouts: Rollouts
) -> None:
    root = rollouts.run(*overrides, name=name)
    for stage in [each.name for each in (root / "stages").iterdir()]:
        check_steps(root, 2 if name == "lora" else 3, stage)
        check_parity(root, stage)
    assert (root / "stages" / "2-second").is_dir() == (name == "lora")
    said = rollouts.log(f"{name}.log")
    assert "skinflow: no accelerator on this machine; vLLM gets weights by its own reload" in said
    assert "==> vLLM and trainer: 4 rows, " in said
    assert (root / "results.json").is_file()


def test_a_run_stops_when_the_engine_keeps_old_routers(rollouts: Rollouts) -> None:
    site = rollouts.site.with_name("stale")
    about = site / "skinflow_stale-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "skinflow_stale.py").write_text(STALE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: skinflow-stale\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[skinflow]\nstale = skinflow_stale\n")
    both = Rollouts(rollouts.folder, Path(f"{rollouts.site}{os.pathsep}{site}"))
    root = both.run(ONE_STAGE, name="stale", code=1)
    said = both.log("stale.log")
    assert "the rollout engine does not sample from the model that trains" in said
    assert "the engine did not get the weights" in said
    assert steps(root) == []  # not one step was trained
    assert parity(root)["before"]["largest"] < 1e-4 < 0.01 < parity(root)["after"]["largest"]


# --- a server ---------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(ready: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def family(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all that it started."""
    root = psutil.Process(child.pid)
    return [root, *root.children(recursive=True)]


def test_a_server_samples_and_a_run_goes_on_after_it_was_killed(rollouts: Rollouts) -> None:
    port = free_port()
    server = [
        "rollouts.mode=server",
        "rollouts.timeout=30",
        f"rollouts.options={{vllm_server_port: [{port}], vllm_server_timeout: 500}}",
        "swift.max_steps=8",
        ONE_STAGE,
    ]
    first = rollouts.start("rollout", RECIPE, *server, "-o", "served", log="server-1.log")
    root = rollouts.folder / "served"
    trainer = rollouts.start("run", RECIPE, *server, "-o", "served", "--verbose", log="served.log")
    until(
        lambda: len(steps(root)) >= 2 or trainer.poll() is not None or first.poll() is not None,
        500,
        "no two steps were trained",
    )
    assert trainer.poll() is None, rollouts.log("served.log")[-4000:]
    assert first.poll() is None, rollouts.log("server-1.log")[-4000:]
    of_the_first = family(first)
    assert len(of_the_first) > 3
    os.killpg(first.pid, signal.SIGKILL)  # the verb itself; what it started notices and ends
    assert trainer.wait(60) == 1
    said = rollouts.log("served.log")
    assert re.search(rf"the rollout server at http://127.0.0.1:{port} was lost", said)
    assert "`skinflow run` then goes on from the last checkpoint" in said

    _, alive = psutil.wait_procs(of_the_first, timeout=60)
    assert alive == []  # they would keep the memory of a GPU

    second = rollouts.start("rollout", RECIPE, *server, "-o", "served", log="server-2.log")
    rollouts.run(*server, name="served", again=True)
    check_steps(root, 8)
    check_parity(root)
    assert "goes on from checkpoint-" in rollouts.log("served-again.log")

    all_of_it = family(second)
    assert len(all_of_it) > 3
    second.terminate()
    _, alive = psutil.wait_procs(all_of_it, timeout=40)
    assert alive == []
