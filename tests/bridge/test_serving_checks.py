"""What is refused before a server starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skinflow_plugins.bridge.serving import checks, memory
from skinflow_plugins.bridge.serving.checks import check
from skinflow_plugins.bridge.serving.subject import Order
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe.rollouts import NO_PLACEHOLDERS


@pytest.fixture(autouse=True)
def with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if vLLM were installed, on a machine without an accelerator that has 6 GiB of memory."""
    monkeypatch.setattr(checks, "_without_vllm", lambda: iter(()))
    monkeypatch.setattr(memory, "on_cpu", lambda: True)
    monkeypatch.setattr(memory, "free_memory", lambda: 6 * 2**30)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")


def model(folder: Path, kind: str = "skinflow_qwen2_5_vl") -> str:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return str(folder)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds neither config\.json nor adapter_config\.json"):
        check(Order(str(tmp_path), port=0), catalogue())


def test_more_than_the_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order(model(tmp_path), port=0)
    assert check(order, catalogue()).family is not None
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(2**30 + 2**29)  # 1.5 GiB that take no disk
    message = r"needs about 6\.5 GiB \(1\.5 GiB of weights, 3 GiB of .*this machine has 6\.0 GiB"
    with pytest.raises(InputError, match=message):
        check(order, catalogue())
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
    check(order, catalogue())


def test_other_logits_processors_only_beside_ours(tmp_path: Path) -> None:
    theirs = ("--logits-processors", "a:B")
    with pytest.raises(InputError, match="lets image tokens into answers"):
        check(Order(model(tmp_path), port=0, further=theirs), catalogue())
    check(Order(model(tmp_path), port=0, further=(*theirs, NO_PLACEHOLDERS)), catalogue())


def test_a_dynamic_family_that_vllm_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a skinflow_other cannot run in vLLM"):
        check(Order(model(tmp_path, "skinflow_other"), port=0), catalogue())
