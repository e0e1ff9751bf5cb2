"""swift arguments that we set for every stage, each with the reason that the plan prints beside it.

Several of swift's own defaults switch things off or on in ways that nobody sees; here is where we decide, and
for what is trained in `tuning`. A recipe's `swift:` block wins over everything in this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.recipe import rollouts
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.schema import Recipe


def common_arguments(recipe: Recipe, family: BaseFamily, given: Mapping[str, Any]) -> dict[str, Explained]:
    """What `swift sft` and `swift rlhf` both get."""
    arguments = {
        # A model with the dynamic encoder is of a type of its own; how it is asked stays as it was.
        "model_type": Explained(
            f"skinflow_{family.swift_model_type}" if recipe.model.vision.dynamic else family.swift_model_type,
            "swift guesses it from folder names otherwise",
        ),
        "template": Explained(family.swift_template),
        "seed": Explained(recipe.seed),
        "data_seed": Explained(recipe.seed),
        "callbacks": Explained(["skinflow"], "links the last checkpoint and keeps rewards.jsonl in step"),
        "add_version": Explained(False, "the next stage must know this stage's folder"),
        "check_model": Explained(False, "swift asks a model hub about local folders otherwise"),
        "use_hf": Explained(True, "hub ids in recipes are Hugging Face ids"),
        "strict": Explained(True, "swift leaves out rows that it cannot read, without a word, otherwise"),
        "split_dataset_ratio": Explained(0.0, "validation records come from the data source"),
        "report_to": Explained(["none"], "set tensorboard, wandb or swanlab under `swift:`"),
        "logging_steps": Explained(1),
        "save_strategy": Explained("steps"),
        "dataset_num_proc": Explained(1),
    }
    if recipe.model.base.startswith("tiny:"):
        why = "a CPU-sized model: swift would turn float32 into float16 training"
        arguments |= {
            "torch_dtype": Explained("float32"),
            "fp16": Explained(False, why),
            "bf16": Explained(False, why),
            "dataloader_num_workers": Explained(0, "worker processes cost more than this data does"),
            "gradient_checkpointing": Explained(False, "the activations of a tiny model fit"),
        }
    else:
        arguments |= {"torch_dtype": Explained("bfloat16")}
    return arguments


def grpo_arguments(recipe: Recipe, family: BaseFamily, given: Mapping[str, Any]) -> dict[str, Explained]:
    """What only `swift rlhf` gets."""
    vllm = recipe.rollouts.engine == "vllm"
    arguments = {
        "rlhf_type": Explained("grpo"),
        "use_vllm": Explained(vllm),
        "log_completions": Explained(False, "rewards.jsonl holds every completion with every component"),
    }
    return arguments | (rollouts.trainer_arguments(recipe, family) if vllm else {})
