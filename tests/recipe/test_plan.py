"""Plans: the golden text of every shipped recipe, pure, and made of arguments that swift knows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from skinflow_plugins.bridge.swift_yaml import arguments_of, stage_yaml, whole_plan
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.recipe import swift_arguments
from skinflow_plugins.recipe.batches import batches
from skinflow_plugins.recipe.load import load
from skinflow_plugins.recipe.machine import FLASH_ATTN, LIGER, Machine, Package
from skinflow_plugins.recipe.plan import Plan, StagePlan, plan

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
SHIPPED = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
# What a recipe leaves to its user; any path will do, because a plan looks at no data.
NEEDED = {"isic_uda1": ["data.root=/DATA"], "quickstart": [], "ablation_warm_start": []}
NEEDED |= {
    f"ablation{part}": ["model.base=Qwen/Qwen2.5-VL-3B-Instruct"]
    for part in ("", "_no_dve", "_no_stage1", "_routers", "_unfrozen")
}
NOTHING = Machine()
H100 = Machine("NVIDIA H100 80GB HBM3", (9, 0), 8, {FLASH_ATTN: Package("2.8.3"), LIGER: Package("0.8.5")})
ON_H100: Mapping[str, tuple[str, ...]] = {
    "skinflow_qwen2_5_vl_7b": (),
    "skinflow_qwen2_5_vl_7b_without_vllm": ("rollouts={engine: transformers, mode: null, options: null}",),
}
"""Plans for a machine that has everything: a shipped recipe, or one with the changes named behind it."""


def planned(name: str, *overrides: str, machine: Machine = NOTHING) -> Plan:
    given = NEEDED.get(name, ["data.train=/DATA/train.jsonl"])
    recipe = load(name, [*given, *overrides]).recipe
    return plan(recipe, catalogue(), root=PurePosixPath("/RUN"), plugin="/PLUGIN/plugin.py", machine=machine)


def values(stage: StagePlan) -> dict[str, Any]:
    return {name: argument.value for name, argument in stage.arguments.items()}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_plan_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    _compare(planned(name), GOLDEN / f"{name}.txt", request)


@pytest.mark.parametrize("name", ON_H100)
def test_the_plan_for_a_gpu_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    plan = planned(name.removesuffix("_without_vllm"), "launch.processes=8", *ON_H100[name], machine=H100)
    _compare(plan, GOLDEN / "h100" / f"{name}.txt", request)


def _compare(planned: Plan, golden: Path, request: pytest.FixtureRequest) -> None:
    text = whole_plan(planned)
    if request.config.getoption("--regenerate-golden"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert golden.is_file(), f"no golden plan {golden.stem}: run `make golden` and read it"
    assert text == golden.read_text(encoding="utf-8"), (
        "the plan has changed: run `make golden`, read the diff"
    )


def test_there_is_no_golden_plan_without_a_recipe() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == SHIPPED
    assert {path.stem for path in (GOLDEN / "h100").iterdir()} == set(ON_H100)
    assert {path.stem for path in GOLDEN.iterdir() if path.is_dir()} == {"h100"}


@pytest.mark.parametrize("name", SHIPPED)
def test_planning_touches_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = whole_plan(planned(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    opened: list[Any] = []
    original = Path.open

    def watched(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if set(mode) & set("wax+"):
            opened.append(self)
        return original(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", watched)
    assert whole_plan(planned(name)) == here
    assert list(tmp_path.iterdir()) == []
    assert opened == []
    assert not Path("/RUN").exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_swift_knows_every_argument(name: str) -> None:
    for stage in planned(name).stages:
        known = swift_arguments.arguments(stage.stage.kind)
        assert set(stage.arguments) <= set(known)
        for argument, value in values(stage).items():
            if argument not in swift_arguments.OWNED:
                assert swift_arguments.mistake(argument, value, stage.stage.kind) is None, argument


@pytest.mark.parametrize("name", SHIPPED)
def test_what_the_plan_owns_is_what_a_recipe_may_not_set(name: str) -> None:
    """Else a recipe's `swift:` block would silently win over a stage's rewards or data."""
    own = {
        "dataset",
        "output_dir",
        "external_plugins",
        "callbacks",
        "reward_funcs",
        "reward_weights",
        "model",
    }
    assert own <= set(swift_arguments.OWNED)
    for stage in planned(name).stages:
        assert stage.command == {"sft": "sft", "grpo": "rlhf"}[stage.stage.kind]
        assert stage.environment == {"SKINFLOW_STAGE": f"/RUN/{stage.slug}.skinflow.json"}
        assert {"dataset", "output_dir", "external_plugins", "callbacks", "model"} <= set(stage.arguments)


@pytest.mark.parametrize("name", SHIPPED)
def test_yaml_and_arguments_say_the_same(name: str) -> None:
    """The file is read by swift's own reader; the list goes to swift's main functions."""
    whole = planned(name)
    for stage in whole.stages:
        document = yaml.safe_load(stage_yaml(whole, stage))
        assert document.pop("ENV") == stage.environment
        argv: list[str] = []
        for key, value in document.items():  # as swift/cli/main.py does it
            argv.append(f"--{key}")
            if isinstance(value, list):
                argv += [str(item) for item in value]
            else:
                argv.append(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value))
        assert argv == arguments_of(stage)
        assert all(not isinstance(v, str) for k, v in document.items() if isinstance(values(stage)[k], float))


def test_what_swift_would_switch_off_is_on_and_explained() -> None:
    for stage in planned("quickstart").stages:
        for name, value in {"freeze_vit": False, "freeze_aligner": False, "tuner_type": "full"}.items():
            assert stage.arguments[name].value == value
            assert stage.arguments[name].why
        text = stage_yaml(planned("quickstart"), stage)
        assert "freeze_vit: false  # swift's default freezes the vision tower even under full tuning" in text
        assert stage.arguments["fp16"].why


def test_a_recipes_own_values_win_over_our_defaults() -> None:
    stage = planned("quickstart", "swift.freeze_vit=true", "stages.caption.swift.logging_steps=7").stages[1]
    assert stage.arguments["freeze_vit"].value is True
    assert stage.arguments["freeze_vit"].why.startswith("the recipe's choice; without it False: swift")
    assert stage.arguments["logging_steps"].value == 7


def test_stages_hand_their_last_checkpoint_over() -> None:
    models = [values(stage)["model"] for stage in planned("quickstart").stages]
    assert models == ["/RUN/base", "/RUN/stages/1-warmup/final", "/RUN/stages/2-caption/final"]
    models = [
        values(stage)["model"]
        for stage in planned("quickstart", "stages.caption.init=base", "stages.diagnosis.init=warmup").stages
    ]
    assert models == ["/RUN/base", "/RUN/base", "/RUN/stages/1-warmup/final"]


def test_a_lora_stage_hands_its_adapter_over_and_is_the_reference() -> None:
    first, second, third = planned("quickstart", "swift.tuner_type=lora").stages
    assert "adapters" not in first.arguments
    assert values(second)["model"] == "/RUN/base"
    assert values(second)["adapters"] == values(second)["ref_adapters"] == ["/RUN/stages/1-warmup/final"]
    assert values(third)["adapters"] == ["/RUN/stages/2-caption/final"]
    without = planned("quickstart", "swift.tuner_type=lora", "stages.diagnosis.swift.beta=0").stages[2]
    assert "ref_adapters" not in without.arguments


def test_a_replaying_stage_has_both_stages_rewards() -> None:
    stage = planned("quickstart").stages[2]
    own = ["ranked_diagnosis", "hierarchy_credit", "safety", "format"]
    keys = [*(f"diagnosis.{name}" for name in own), "caption.caption_fields", "caption.format"]
    assert values(stage)["reward_funcs"] == [reward.key for reward in stage.rewards] == keys
    assert values(stage)["reward_weights"] == [1.0, 0.2, 0.2, 0.2, 1.0, 0.2]
    assert [reward.stage for reward in stage.rewards] == ["diagnosis"] * 4 + ["caption"] * 2
    assert stage.rows.share == 0.25


def test_a_counted_stage_is_not_shuffled_again() -> None:
    counted, by_epoch = (
        planned("quickstart", *more).stages[1]
        for more in ([], ["stages.caption.swift.max_steps=null", "stages.caption.swift.num_train_epochs=1"])
    )
    assert counted.rows.count is not None
    assert values(counted)["dataset_shuffle"] is values(counted)["train_dataloader_shuffle"] is False
    assert by_epoch.rows.count is None
    assert "dataset_shuffle" not in by_epoch.arguments


# --- batches: swift's arithmetic ------------------------------------------------------------------------

CASES: tuple[tuple[Mapping[str, Any], int], ...] = (
    ({"per_device_train_batch_size": 8, "num_generations": 4}, 1),
    ({"per_device_train_batch_size": 8}, 2),
    ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "num_generations": 8}, 8),
    ({"per_device_train_batch_size": 4, "steps_per_generation": 4, "num_generations": 2}, 1),
    ({"per_device_train_batch_size": 4, "generation_batch_size": 32}, 2),
    ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "num_iterations": 2}, 1),
    ({"num_generations": 2, "gradient_accumulation_steps": 16}, 1),
)


@pytest.mark.slow
@pytest.mark.parametrize(("given", "processes"), CASES)
def test_grpo_batches_are_swifts(
    given: Mapping[str, Any], processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`GRPOConfig` of swift says how many completions it samples at once; its sampler, how many prompts."""
    from swift.rlhf_trainers.arguments import GRPOConfig
    from trl.trainer.grpo_trainer import RepeatSampler

    ours = batches({**given, "max_steps": 6}, processes)
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, **given}
    monkeypatch.setattr(GRPOConfig, "world_size", processes)
    theirs = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, report_to=[], bf16=False, **settings)
    assert ours.generated == theirs.generation_batch_size
    assert ours.group == theirs.num_generations
    assert (
        ours.per_step
        == settings["per_device_train_batch_size"] * processes * theirs.gradient_accumulation_steps
    )
    assert ours.prompts_per_round == theirs.generation_batch_size // theirs.num_generations
    # Every forward pass takes a whole generation batch from the sampler, which repeats each prompt.
    repeats = theirs.num_iterations * theirs.steps_per_generation
    sampler = RepeatSampler(
        data_source=range(10_000),  # type: ignore[arg-type]
        mini_repeat_count=theirs.num_generations,
        batch_size=theirs.generation_batch_size // theirs.num_generations,
        repeat_count=repeats,
        shuffle=False,
    )
    taken = 6 * theirs.gradient_accumulation_steps * theirs.generation_batch_size
    assert ours.prompts is not None
    seen = {row for row, _ in zip(sampler, range(taken), strict=False)}
    assert seen == set(range(ours.prompts))


@pytest.mark.parametrize(
    ("size", "processes", "accumulation"), [(1, 1, 16), (8, 1, 2), (5, 1, 4), (32, 1, 1), (4, 2, 2)]
)
def test_sft_accumulates_up_to_sixteen_rows(size: int, processes: int, accumulation: int) -> None:
    """swift/trainers/arguments.py; `swift rlhf --rlhf_type grpo` does not accumulate."""
    given = {"per_device_train_batch_size": size, "max_steps": 3}
    assert batches(given, processes, "sft").accumulation == accumulation
    assert accumulation == max(1, math.ceil(16 / size / processes))
    assert batches(given, processes, "grpo").accumulation == 1


def test_a_stage_counts_with_its_own_kinds_defaults() -> None:
    same = ["per_device_train_batch_size=8", "max_steps=30"]
    changes = [f"stages.{name}.swift.{change}" for name in ("warmup", "caption") for change in same]
    stages = planned("quickstart", "swift.num_generations=8", *changes).stages
    assert (stages[0].rows.count, stages[0].rows.batch) == (30 * 16, 16)
    assert (stages[1].rows.count, stages[1].rows.batch) == (30, 1)


def test_an_adapter_goes_with_the_weights_that_it_was_trained_on() -> None:
    lora = [f"stages.{name}.swift.tuner_type=lora" for name in ("caption", "diagnosis")]
    third = values(planned("quickstart", *lora).stages[2])
    assert third["model"] == "/RUN/stages/1-warmup/final"
    assert third["adapters"] == ["/RUN/stages/2-caption/final"]
    assert third["ref_adapters"] == third["adapters"]


def test_small_numbers_within_a_mapping_stay_numbers() -> None:
    plan = planned("quickstart", "swift.lr_scheduler_kwargs={min_lr: 1e-7}")
    assert yaml.safe_load(stage_yaml(plan, plan.stages[1]))["lr_scheduler_kwargs"] == {"min_lr": 1e-7}
