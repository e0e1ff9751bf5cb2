"""What vLLM is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.serving import memory
from skinflow_plugins.bridge.serving.arguments import arguments_of, environment_of
from skinflow_plugins.bridge.serving.subject import Order, Subject, look_up
from skinflow_plugins.bridge.serving.template import compare_templates
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.recipe.rollouts import NO_PLACEHOLDERS


@pytest.fixture(autouse=True)
def without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "on_cpu", lambda: True)


def subject_of(folder: Path, **config: Any) -> Subject:
    (folder / "config.json").write_text(json.dumps(config))
    return look_up(str(folder), catalogue())


def test_arguments_of_a_family_that_we_know(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, model_type="skinflow_qwen2_5_vl")
    order = Order(str(tmp_path), name="judge", further=("--dtype=bfloat16", "--max-num-seqs", "2"))
    argv = arguments_of(subject, subject.model, order, 8001)
    assert argv[:8] == [
        *("--model", str(tmp_path), "--served-model-name", "judge"),
        *("--host", "127.0.0.1", "--port", "8001"),
    ]
    assert argv[argv.index("--limit-mm-per-prompt") + 1] == '{"image": 4, "video": 0}'
    assert argv[argv.index("--logits-processors") + 1] == NO_PLACEHOLDERS
    assert "--enforce-eager" in argv
    assert "--dtype" not in argv
    assert argv[-3:] == ["--dtype=bfloat16", "--max-num-seqs", "2"]


def test_arguments_of_any_other_model(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, model_type="llama", text_config={"dtype": "bfloat16"})
    argv = arguments_of(subject, subject.model, Order(str(tmp_path)), 1)
    assert argv[argv.index("--dtype") + 1] == "bfloat16"
    assert "--logits-processors" not in argv
    assert "--limit-mm-per-prompt" not in argv
    assert compare_templates(subject, Order(str(tmp_path)), catalogue()) == (None, "")


def test_the_environment_holds_the_key_and_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    found = environment_of(Order("x", api_key="secret"))
    assert found["VLLM_API_KEY"] == "secret"
    assert (found["VLLM_NO_USAGE_STATS"], found["VLLM_CPU_KVCACHE_SPACE"]) == ("1", str(memory.CPU_CACHE))
