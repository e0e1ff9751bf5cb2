"""What vLLM is not started with, because it would compute another function."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinflow_plugins.errors import InputError

pytestmark = pytest.mark.vllm


def config(**wrong: Any) -> Any:
    """As much of vLLM's configuration as is looked at."""
    given = {
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "cudagraph_mm_encoder": False,
        "compile_mm_encoder": False,
        "lora_config": None,
        "quant_config": None,
        "is_mm_prefix_lm": False,
        **wrong,
    }
    return SimpleNamespace(
        parallel_config=SimpleNamespace(
            tensor_parallel_size=given["tensor_parallel_size"],
            pipeline_parallel_size=given["pipeline_parallel_size"],
        ),
        compilation_config=SimpleNamespace(
            cudagraph_mm_encoder=given["cudagraph_mm_encoder"],
            compile_mm_encoder=given["compile_mm_encoder"],
        ),
        lora_config=given["lora_config"],
        quant_config=given["quant_config"],
        model_config=SimpleNamespace(is_mm_prefix_lm=given["is_mm_prefix_lm"]),
    )


WRONG = {
    "tensor_parallel_size": (4, "tensor_parallel_size is 4; expected 1", "vllm_tensor_parallel_size to 1"),
    "pipeline_parallel_size": (2, "pipeline_parallel_size is 2; expected 1", "leave it out"),
    "cudagraph_mm_encoder": (True, "cudagraph_mm_encoder is on", "leave it off"),
    "compile_mm_encoder": (True, "compile_mm_encoder is on", "leave it off"),
    "lora_config": (object(), "LoRA in vLLM leaves the routers out", "drop vllm_enable_lora"),
    "quant_config": (object(), "a quantised model has other weights", "in bfloat16"),
    "is_mm_prefix_lm": (True, "see only those before them", "use a GPU, or transformers"),
}


def test_what_is_fine() -> None:
    from skinflow_plugins.engine.model import refuse

    refuse(config())


@pytest.mark.parametrize("name", list(WRONG))
def test_each_by_itself(name: str) -> None:
    from skinflow_plugins.engine.model import refuse

    value, message, hint = WRONG[name]
    with pytest.raises(InputError) as caught:
        refuse(config(**{name: value}))
    (problem,) = caught.value.problems
    assert problem.where == "vLLM, with the dynamic vision encoder"
    assert message in problem.message
    assert hint in problem.hint


def test_all_at_once() -> None:
    from skinflow_plugins.engine.model import refuse

    with pytest.raises(InputError) as caught:
        refuse(config(**{name: value for name, (value, _, _) in WRONG.items()}))
    assert len(caught.value.problems) == len(WRONG)
    for _, message, _ in WRONG.values():
        assert message in str(caught.value)


def test_the_fields_are_vllms_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in has the names of 0.32; another vLLM may have renamed them."""
    from vllm.config import CompilationConfig, ModelConfig, ParallelConfig, VllmConfig

    assert ParallelConfig().tensor_parallel_size == 1
    assert CompilationConfig().cudagraph_mm_encoder is False
    assert CompilationConfig().compile_mm_encoder is False
    assert {"lora_config", "quant_config", "model_config"} <= set(VllmConfig.__dataclass_fields__)
    assert hasattr(ModelConfig, "is_mm_prefix_lm")


def test_a_gpu_runs_gemma3(monkeypatch: pytest.MonkeyPatch) -> None:
    from skinflow_plugins.engine import model

    monkeypatch.setattr(model, "current_platform", SimpleNamespace(is_cpu=lambda: False))
    model.refuse(config(is_mm_prefix_lm=True))


# ------------------------------------------------------------------------------------------------------------
# Real starts of an engine


def test_gemma3_on_a_cpu(folders: Callable[..., Path], helpers: SimpleNamespace) -> None:
    """vLLM knows such families by a list of model types, in which ours is not."""
    with pytest.raises(InputError, match="vLLM on a CPU lets the tokens of an image see only those before"):
        helpers.start(folders("gemma3"))


def test_lora(folders: Callable[..., Path], helpers: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="LoRA in vLLM leaves the routers out"):
        helpers.start(folders("qwen2_5_vl"), enable_lora=True)


def test_a_config_without_settings(
    folders: Callable[..., Path], helpers: SimpleNamespace, tmp_path: Path
) -> None:
    folder = tmp_path / "without"
    shutil.copytree(folders("qwen2_5_vl"), folder, symlinks=True)
    settings = json.loads((folder / "config.json").read_text())
    del settings["dve"]
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"needs a block `dve`, found None"):
        helpers.start(folder)


def test_a_tower_that_is_built_otherwise(
    folders: Callable[..., Path], helpers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another vLLM: the message names what was missed, and the version that has it."""
    import dataclasses

    from skinflow_plugins.engine import classes
    from skinflow_plugins.models import family_named

    made = classes._make("SkinflowQwen2_5_VLForConditionalGeneration", family_named("qwen2_5_vl"))
    seam = dataclasses.replace(made.skinflow_engine, mlp="feed_forward")
    monkeypatch.setattr(made, "skinflow_engine", seam)
    with pytest.raises(
        InputError, match=r"vLLM's Qwen2_5_VL\w+ is not built .*'feed_forward'[^$]*made for vLLM 0\.32"
    ):
        helpers.start(folders("qwen2_5_vl"))
