"""`tuning:` of recipes: what swift is told for every choice, who overrides whom, and what cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from skinflow_plugins.bridge.settings import from_json, settings_of
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.recipe import check, load, swift_arguments
from skinflow_plugins.recipe.plan import Plan, plan
from skinflow_plugins.recipe.schema import Tuning

DVE = "model.vision={encoder: dve}"
PLAIN = "model.vision={encoder: base}"
SEVEN_B = "model.base=Qwen/Qwen2.5-VL-7B-Instruct"
ABOUT_TRAINING = (
    *("tuner_type", "freeze_llm", "freeze_vit", "freeze_aligner", "modules_to_save", "target_regex"),
    *("trainable_parameters_regex", "target_modules", "optimizer"),
)


def planned(*overrides: str, recipe: str | Path = "quickstart") -> Plan:
    found = load(recipe, overrides).recipe
    return plan(found, catalogue(), root=PurePosixPath("/RUN"), plugin="/PLUGIN/plugin.py")


def training(*overrides: str, stage: int = 1, recipe: str | Path = "quickstart") -> dict[str, Any]:
    """The arguments about training of a stage, counted from 0."""
    arguments = planned(*overrides, recipe=recipe).stages[stage].arguments
    return {name: arguments[name].value for name in ABOUT_TRAINING if name in arguments}


def problems(*overrides: str, recipe: str | Path = "quickstart") -> list[str]:
    return [str(problem) for problem in check(load(recipe, overrides), catalogue())]


def frozen(llm: bool, vit: bool, aligner: bool) -> dict[str, bool]:
    return {"freeze_llm": llm, "freeze_vit": vit, "freeze_aligner": aligner}


VLLM = ["rollouts.engine=vllm", "launch.mode=process", "swift.top_k=-1"]
SAVED = {"modules_to_save": ["dve_router"]}
# (tuner, encoder): with any encoder, and what a dynamic one adds
TABLE: Mapping[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {
    ("full", "trained"): ({"tuner_type": "full", **frozen(False, False, False)}, {}),
    ("full", "frozen"): (
        {"tuner_type": "full", **frozen(False, True, False)},
        {"trainable_parameters_regex": r"\.dve_router\."},
    ),
    ("lora", "trained"): ({"tuner_type": "lora", **frozen(False, False, False)}, SAVED),
    ("lora", "frozen"): ({"tuner_type": "lora", **frozen(False, True, True)}, SAVED),
    ("routers", "trained"): ({"tuner_type": "full", **frozen(True, False, True)}, {}),
    ("routers", "frozen"): (
        {"tuner_type": "lora", "target_regex": "dummy-target-modules", **frozen(True, True, True)},
        SAVED,
    ),
}


@pytest.mark.parametrize("vision", ["base", "dve"])
@pytest.mark.parametrize(("tuner", "encoder"), TABLE)
def test_every_choice_means_these_arguments(tuner: str, encoder: str, vision: str) -> None:
    chosen = [f"tuning={{tuner: {tuner}, encoder: {encoder}}}", f"model.vision={{encoder: {vision}}}"]
    common, dynamic = TABLE[tuner, encoder]
    if (tuner, encoder, vision) == ("routers", "frozen", "base"):
        (problem,) = problems(*chosen)
        assert "tuning.tuner: nothing would be trained: model.vision.encoder is 'base'" in problem
        assert "write model.vision.encoder: dve" in problem
        return
    for stage in range(3):
        assert training(*chosen, stage=stage) == common | (dynamic if vision == "dve" else {})
    assert problems(*chosen) == []
    for stage in planned(*chosen).stages:
        for name in ABOUT_TRAINING:
            if name in stage.arguments:
                assert swift_arguments.mistake(name, stage.arguments[name].value, stage.stage.kind) is None, (
                    name
                )
        for name in ("tuner_type", "modules_to_save", "trainable_parameters_regex", "target_regex"):
            assert name not in stage.arguments or stage.arguments[name].why, name


def test_without_the_block_everything_is_trained_as_before() -> None:
    for vision in ("base", "dve"):
        assert training(f"model.vision.encoder={vision}") == TABLE["full", "trained"][0]


def test_routers_alone_are_meant_by_routers_alone() -> None:
    """Not the whole encoder, which is trained where nothing is said."""
    assert training(DVE, "tuning.tuner=routers") == training(DVE, "tuning={tuner: routers, encoder: frozen}")
    # A stage's own tuner decides with it; an encoder that is given stays.
    assert training(DVE, "tuning.encoder=trained", "stages.*.tuning.tuner=routers")["tuner_type"] == "full"


def test_a_dynamic_encoder_is_a_model_type_of_its_own_with_the_same_template() -> None:
    for vision, prefix in (("base", ""), ("dve", "skinflow_")):
        for base in ("qwen2_5_vl", "llava"):
            arguments = (
                planned(f"model.vision.encoder={vision}", f"model.base=tiny:{base}").stages[0].arguments
            )
            plain = {"qwen2_5_vl": "qwen2_5_vl", "llava": "llava1_5_hf"}[base]
            assert arguments["model_type"].value == prefix + plain
            assert arguments["template"].value == plain


# --- who overrides whom ---------------------------------------------------------------------------------


def test_a_stage_overrides_the_recipe_key_by_key() -> None:
    given = [
        "tuning={tuner: lora, encoder: frozen, router_learning_rate: 1e-3}",
        "stages.caption.tuning={encoder: trained, router_weight_decay: 0.1}",
        DVE,
    ]
    whole = planned(*given)
    tunings = [settings_of(whole, stage).tuning for stage in whole.stages]
    assert tunings[0] == tunings[2] == Tuning("lora", "frozen", 1e-3, None)
    assert tunings[1] == Tuning("lora", "trained", 1e-3, 0.1)


def test_extending_recipes_and_the_command_line_merge(tmp_path: Path) -> None:
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    parent.write_text(
        "extends: quickstart\nname: parent\nmodel: {vision: {encoder: dve}}\n"
        "tuning: {tuner: lora, encoder: frozen}\n"
        "stages: {caption: {tuning: {router_learning_rate: 1.0e-3}}}\n"
    )
    child.write_text("extends: parent\nname: child\ntuning: {encoder: trained}\n")
    assert training(recipe=parent) == {
        **TABLE["lora", "frozen"][0],
        **SAVED,
        "optimizer": "skinflow",
    }
    assert training(recipe=child)["freeze_vit"] is False
    assert training(recipe=child)["tuner_type"] == "lora"
    assert "optimizer" not in training(recipe=child, stage=2)
    changes = ["tuning.tuner=full", "stages.caption.tuning.encoder=frozen"]
    assert training(*changes, recipe=child)["trainable_parameters_regex"]
    assert training(*changes, recipe=child, stage=2) == TABLE["full", "trained"][0]
    whole = planned("stages[1].tuning.router_learning_rate=2e-3", recipe=child)
    assert settings_of(whole, whole.stages[1]).tuning.router_learning_rate == 2e-3


def test_swift_arguments_win_over_tuning() -> None:
    stage = planned("tuning.encoder=frozen", "swift.freeze_aligner=true").stages[0]
    assert stage.arguments["freeze_vit"].value is True
    assert stage.arguments["freeze_aligner"].value is True
    assert stage.arguments["freeze_aligner"].why.startswith("the recipe's choice; without it False: ")
    assert training("tuning.encoder=frozen", "stages.caption.swift.freeze_vit=false")["freeze_vit"] is False


def test_our_optimizer_is_planned_only_where_routers_are_given_something() -> None:
    assert "optimizer" not in training(DVE)
    for key, value in (("router_learning_rate", 1e-3), ("router_weight_decay", 0.0)):
        given = [DVE, f"stages.caption.tuning.{key}={value}"]
        assert training(*given)["optimizer"] == "skinflow"
        assert "optimizer" not in training(*given, stage=2)
        whole = planned(*given)
        settings = settings_of(whole, whole.stages[1])
        assert getattr(settings.tuning, key) == value
        assert from_json(settings.to_json()) == settings
        assert problems(*given) == []


def test_settings_of_an_older_plan_are_read() -> None:
    assert from_json('{"stage": "s", "output_dir": "o", "rewards": []}').tuning == Tuning()


# --- what cannot be meant -------------------------------------------------------------------------------

SHAPE = [
    (
        "tuning.tuner=loar",
        "tuning.tuner: found 'loar', expected one of 'full', 'lora', 'routers'; did you mean",
    ),
    ("tuning.encodr=frozen", "tuning.encodr: unknown key 'encodr'; did you mean 'encoder'?"),
    ("tuning.encoder=true", "tuning.encoder: found true, expected one of 'trained', 'frozen'"),
    ("tuning.router_learning_rate='1e-4'", "router_learning_rate: found '1e-4', expected a number"),
    ("tuning.router_learning_rate=0", "tuning.router_learning_rate: found 0, expected a number above 0"),
    (
        "stages.caption.tuning.router_weight_decay=-1",
        "stages[1].tuning.router_weight_decay: found -1, expected",
    ),
    (
        "stages.caption.tuning=lora",
        "stages[1].tuning: found 'lora', expected a mapping with some of: tuner, enc",
    ),
]


@pytest.mark.parametrize(("override", "beginning"), SHAPE)
def test_wrong_values(override: str, beginning: str) -> None:
    found = problems(DVE, override)
    assert len(found) == 1, found
    assert beginning in found[0]


LORA = "tuning.tuner=lora"
DYNAMIC = [
    # routers that would stay frozen
    (
        ["swift.tuner_type=lora"],
        "swift.tuner_type: LoRA alone would freeze the routers",
        "write tuning: {tuner: lora}",
    ),
    (
        [LORA, "swift.modules_to_save=[lm_head]"],
        "swift.modules_to_save: found ['lm_head'], without 'dve_router'",
        "write modules_to_save: [lm_head, dve_router]",
    ),
    (
        [LORA, "swift.modules_to_save=.*dve_router"],
        "swift.modules_to_save: found '.*dve_router', without 'dve_router'",
        "write modules_to_save: [dve_router]; PEFT compares endings",
    ),
    (
        ["swift.freeze_vit=true"],
        "swift.freeze_vit: a frozen tower would freeze the routers",
        "encoder: frozen",
    ),
    (
        [r"swift.trainable_parameters_regex='\.router\.'", "tuning.encoder=frozen"],
        r"swift.trainable_parameters_regex: found '\\.router\\.', which matches no router",
        r"'\.dve_router\.'",
    ),
    (
        ["swift.trainable_parameters_regex='(router'"],
        "swift.trainable_parameters_regex: found '(router', which is no regular expression",
        "",
    ),
    (
        ["tuning.encoder=frozen", "swift.trainable_parameters_regex=lm_head"],
        "tuning.encoder: a frozen tower would freeze the routers",
        "",
    ),
    # LoRA on a dynamic projection; freeze_vit does not keep PEFT from it
    (
        [LORA, "swift.target_modules=[q_proj, gate_proj]"],
        "swift.target_modules: 'gate_proj' is also",
        "all-linear",
    ),
    (
        [LORA, "tuning.encoder=frozen", "swift.target_modules=gate_proj"],
        "'gate_proj' is also the ending of model.visual.blocks.0.mlp.gate_proj",
        "target_regex",
    ),
    (
        [LORA, "swift.target_modules=[visual.blocks.31.mlp.down_proj]"],
        "'visual.blocks.31.mlp.down_proj' is also the ending of model.visual.blocks.31.mlp.down_proj",
        "say with numbers which model.vision.layers",
    ),
    (
        [LORA, r"swift.target_regex='.*\.(q_proj|up_proj)'"],
        "swift.target_regex: it matches model.visual.blocks.0.mlp.up_proj",
        "language model only",
    ),
    ([LORA, "swift.target_regex='('"], "swift.target_regex: found '(', which is no regular expression", ""),
    # routers that the rollouts would not see
    (
        [LORA, *VLLM, "rollouts.options={vllm_enable_lora: true}"],
        "rollouts.options.vllm_enable_lora: found true: swift would send vLLM the LoRA part alone",
        "merged weights",
    ),
    (
        [LORA, "stages.caption.swift.vllm_enable_lora=true"],
        "stages[1].swift.vllm_enable_lora: found true",
        "leave it out",
    ),
    # values that would have no effect
    (
        ["tuning.router_learning_rate=1e-3", "swift.optimizer=muon"],
        "swift.optimizer: found optimizer: muon, under which tuning.router_learning_rate",
        "leave out optimizer",
    ),
    (
        ["stages.caption.tuning.router_weight_decay=0.1", "swift.vit_lr=1e-5"],
        "swift.vit_lr: found vit_lr: 1e-05, under which",
        "",
    ),
]


@pytest.mark.parametrize(("overrides", "beginning", "hint"), DYNAMIC, ids=lambda value: str(value)[:50])
def test_mistakes_with_a_dynamic_encoder(overrides: list[str], beginning: str, hint: str) -> None:
    found = problems(SEVEN_B, "model.options={}", DVE, *overrides)
    assert len(found) == 1, found
    assert beginning in found[0]
    assert hint in found[0].partition("\n")[2]
    # It is the dynamic encoder that they are wrong for.
    if "router_" not in overrides[0]:
        about_arguments = ("found", "is also", "it matches", "alone would", "a frozen tower")
        without = problems(SEVEN_B, "model.options={}", PLAIN, *overrides)
        assert not any(word in problem for word in about_arguments for problem in without), without


RIGHT = [
    [LORA, "swift.modules_to_save=[dve_router, lm_head]"],
    [LORA, "swift.target_modules=[q_proj, v_proj]"],
    [LORA, "swift.target_modules=[all-linear, gate_proj]"],  # swift then reads nothing but all-linear
    [LORA, "swift.target_modules=[layers.3.mlp.gate_proj]"],
    [LORA, r"swift.target_regex='model\.language_model\..*_proj'"],
    # What stands under target_modules is not read where there is a target_regex.
    [LORA, r"swift.target_regex='model\.language_model\..*_proj'", "swift.target_modules=[gate_proj]"],
    # With numbers it is known which blocks are dynamic.
    [LORA, "model.vision.layers=[7, 31]", "swift.target_modules=[visual.blocks.6.mlp.gate_proj]"],
    [LORA, "model.vision.projections=[gate, up]", "swift.target_modules=[down_proj]"],
    ["swift.freeze_vit=true", r"swift.trainable_parameters_regex='\.dve_router\.'"],
    ["swift.freeze_vit=true", "swift.trainable_parameters_regex=router"],
    ["swift.target_modules=[gate_proj]"],  # full tuning reads no targets
    [*VLLM, "rollouts.options={vllm_enable_lora: false}", LORA],
    ["swift.optimizer=muon"],
    ["tuning.router_learning_rate=1e-3", "swift.optimizer=skinflow"],
]


@pytest.mark.parametrize("overrides", RIGHT, ids=str)
def test_what_is_right_with_a_dynamic_encoder(overrides: list[str]) -> None:
    assert problems(SEVEN_B, "model.options={}", DVE, *overrides) == []


def test_names_of_projections_are_those_of_the_family() -> None:
    qwen3 = ["model.base=Qwen/Qwen3-VL-4B-Instruct", "model.options={}", DVE, LORA]
    assert problems(*qwen3, "swift.target_modules=[gate_proj, down_proj]") == []  # its language model's only
    assert "model.visual.blocks.0.mlp.linear_fc1" in problems(*qwen3, "swift.target_modules=[linear_fc1]")[0]


def test_router_options_need_routers() -> None:
    found = problems(
        PLAIN, "tuning.router_learning_rate=1e-3", "stages.caption.tuning.router_weight_decay=0.1"
    )
    assert [problem.partition(": there")[0].rpartition(": ")[2] for problem in found] == [
        "tuning.router_learning_rate",
        "stages[1].tuning.router_weight_decay",
    ]
    assert all("there are no routers: model.vision.encoder is 'base'" in problem for problem in found)
