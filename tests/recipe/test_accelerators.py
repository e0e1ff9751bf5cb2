"""Attention and loss of a stage: every rule on plain descriptions of machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.models import FAMILIES, family_named
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.recipe import accelerators, check, liger_limits, load
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.machine import FLASH_ATTN, FLASH_ATTN_3, LIGER, Machine, Package
from skinflow_plugins.recipe.plan import Plan, plan
from skinflow_plugins.recipe.schema import Recipe

TINY = Path(__file__).parents[1] / "bridge" / "tiny.yaml"
REAL = ("model={base: Qwen/Qwen2.5-VL-7B-Instruct, options: null}",)
BOTH = {FLASH_ATTN: Package("2.8.3"), LIGER: Package("0.8.5")}
H100 = Machine("NVIDIA H100 80GB HBM3", (9, 0), 1, BOTH)
T4 = Machine("Tesla T4", (7, 5), 1, BOTH)
QWEN = family_named("qwen2_5_vl")
GET = "(pip install 'skinflow-plugins[gpu]')"


def recipe(*overrides: str) -> Recipe:
    """The tiny recipe with a real base: the sft stage `warmup`, the grpo stages `caption` and `diagnosis`."""
    return load(TINY, [*REAL, *overrides]).recipe


def attention(*overrides: str, machine: Machine = H100, family: BaseFamily = QWEN) -> Explained | None:
    found = recipe(*overrides)
    return accelerators.attention(found, found.stages[1], family, machine)


def loss(*overrides: str, machine: Machine = H100, family: BaseFamily = QWEN) -> Explained:
    found = recipe(*overrides)
    return accelerators.loss(found, found.stages[1], family, machine)


def problems(*overrides: str) -> list[str]:
    """What `skinflow validate` says of the tiny recipe with a real base."""
    return [str(problem) for problem in check(load(TINY, [*REAL, *overrides]), catalogue())]


def without(name: str, package: Package | None = None) -> Machine:
    """An H100 on which a package is another one, or missing."""
    packages = {each: found for each, found in BOTH.items() if each != name}
    return replace(H100, packages=packages if package is None else {**packages, name: package})


# --- attention ---------------------------------------------------------------------------------------------


def test_flash_attention_where_the_machine_has_it() -> None:
    expected = Explained("flash_attention_2", "flash-attn 2.8.3 on NVIDIA H100 80GB HBM3")
    assert attention() == expected
    assert attention(machine=replace(H100, capability=(8, 0))).value == "flash_attention_2"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (Machine(), "there is no NVIDIA GPU"),
        (Machine(packages=BOTH, no_gpu="torch is no CUDA build"), "torch is no CUDA build"),
        (T4, "Tesla T4 has compute capability 7.5, and flash-attn needs 8.0"),
        (without(FLASH_ATTN), f"flash-attn is not installed {GET}"),
        (
            without(FLASH_ATTN, Package("2.3.2")),
            "flash-attn 2.3.2 is older than 2.3.3 (pip install 'skinflow-plugins[gpu]' --upgrade)",
        ),
        (
            without(FLASH_ATTN, Package("a build of mine")),
            "flash-attn a build of mine is older than 2.3.3 (pip install 'skinflow-plugins[gpu]' --upgrade)",
        ),
        (
            without(FLASH_ATTN, Package("2.8.3", "ImportError: undefined symbol")),
            "flash-attn 2.8.3 cannot be imported: ImportError: undefined symbol",
        ),
    ],
)
def test_torchs_own_attention_where_it_does_not(machine: Machine, why: str) -> None:
    assert attention(machine=machine) == Explained("sdpa", f"not flash_attn: {why}")


def test_flash_attention_takes_16_bit_numbers() -> None:
    why = "not flash_attn: it takes 16-bit numbers, and the model is held in float32"
    assert attention("swift.torch_dtype=float32") == Explained("sdpa", why)
    assert attention("model={base: tiny:qwen2_5_vl}") == Explained("sdpa", why)
    for dtype in ("float16", "bfloat16"):
        assert attention(f"swift.torch_dtype={dtype}").value == "flash_attention_2"  # type: ignore[union-attr]


def test_the_third_generation_is_for_hopper() -> None:
    third = {FLASH_ATTN_3: Package("3.0.0"), LIGER: Package("0.8.5")}
    found = attention(machine=replace(H100, packages=third))
    assert found == Explained("flash_attention_3", "flash-attn-3 3.0.0 on NVIDIA H100 80GB HBM3")
    both = replace(H100, packages={**BOTH, **third})
    assert attention(machine=both).value == "flash_attention_2"  # type: ignore[union-attr]
    for capability in ((8, 0), (10, 0)):
        found = attention(machine=replace(H100, packages=third, capability=capability))
        assert found == Explained("sdpa", f"not flash_attn: flash-attn is not installed {GET}")


def test_families() -> None:
    chosen = {
        family.name: None if (found := attention(family=family)) is None else found.value
        for family in FAMILIES
    }
    assert chosen == {
        "qwen2_5_vl": "flash_attention_2",
        "qwen3_vl": "flash_attention_2",
        "llava": "flash_attention_2",
        "gemma3": "eager",
        "idefics3": "flash_attention_2",
        "internvl": "flash_attention_2",
    }


def test_a_family_that_we_do_not_know_keeps_its_own_attention() -> None:
    other = replace(QWEN, name="other")
    assert attention(family=other) is None
    assert attention(family=other, machine=Machine()) is None
    assert attention("speed.attention=flash_attn", family=other).value == "flash_attention_2"  # type: ignore[union-attr]


@pytest.mark.slow
def test_transformers_and_swift_think_so_too() -> None:
    """The classes that we know take flash attention; Gemma 3's loader in swift takes eager by itself."""
    import inspect

    import transformers
    from swift.model import MODEL_MAPPING

    for family in FAMILIES:
        assert getattr(transformers, family.architectures[0])._supports_flash_attn
        loader = inspect.getsource(MODEL_MAPPING[family.swift_model_type].loader)
        assert ("attn_impl or 'eager'" in loader) == (family.name == "gemma3")


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_an_attention_by_name(name: str) -> None:
    assert attention(f"speed.attention={name}") == Explained(name, f"speed.attention: {name}")


def test_flash_attention_by_name_is_planned_anywhere_and_refused_where_it_would_run() -> None:
    asked = recipe("speed.attention=flash_attn")
    assert attention("speed.attention=flash_attn") == Explained(
        "flash_attention_2", "speed.attention: flash_attn"
    )
    assert list(accelerators.refusals(asked, H100)) == []
    assert problems("speed.attention=flash_attn") == []
    assert attention("speed.attention=flash_attn", machine=T4) == Explained(
        "flash_attention_2",
        "speed.attention: flash_attn; not on this machine: "
        "Tesla T4 has compute capability 7.5, and flash-attn needs 8.0",
    )
    ((path, message, _),) = accelerators.refusals(asked, Machine())
    assert (path, message) == (
        ("speed", "attention"),
        "not flash_attn on this machine: there is no NVIDIA GPU",
    )
    assert list(accelerators.refusals(recipe(), Machine())) == []


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("swift.torch_dtype=float32", "it takes 16-bit numbers, and the model is held in float32"),
        (
            "model={base: google/gemma-3-4b-it}",
            "the tokens of an image see one another, which its mask cannot say; swift takes eager",
        ),
    ],
)
def test_flash_attention_by_name_that_no_machine_could_give(override: str, why: str) -> None:
    (problem,) = problems("speed.attention=flash_attn", override)
    assert problem == (
        f"command line: speed.attention: not flash_attn in stage warmup: {why}\n"
        "    write `auto`, or leave it out"
    )


# --- Liger's loss ------------------------------------------------------------------------------------------


def test_ligers_loss_where_the_machine_has_it() -> None:
    why = "Liger's GRPO loss, which never holds all logits; the layers stay the model's own"
    assert loss() == Explained(True, why)
    assert loss(machine=T4).value is True
    for family in FAMILIES:
        assert loss(family=family).value is True


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (Machine(packages=BOTH), "there is no NVIDIA GPU"),
        (without(LIGER), f"liger-kernel is not installed {GET}"),
        (
            without(LIGER, Package("0.6.4")),
            "liger-kernel 0.6.4 is older than 0.7.0 (pip install 'skinflow-plugins[gpu]' --upgrade)",
        ),
        (
            without(LIGER, Package("0.8.5", "ImportError: no triton")),
            "liger-kernel 0.8.5 cannot be imported: ImportError: no triton",
        ),
        (
            replace(H100, gpus=2),
            "each process would spread the model over 2 GPUs; give launch.processes=2",
        ),
    ],
)
def test_swifts_own_loss_where_it_does_not(machine: Machine, why: str) -> None:
    assert loss(machine=machine) == Explained(False, f"not Liger's loss: {why}")
    ((path, message, _),) = accelerators.refusals(recipe("speed.liger=true"), machine)
    assert (path, message) == (("speed", "liger"), f"not Liger's loss on this machine: {why}")


def test_one_process_for_each_gpu() -> None:
    two = ("launch={mode: process, processes: 2}",)
    assert loss(*two, machine=replace(H100, gpus=2)).value is True
    assert loss(*two, machine=replace(H100, gpus=3)).value is True
    assert loss(*two, machine=replace(H100, gpus=4)).value is False


PARTS = "it reads the output layer whole, of which each process may hold a part"
IN_VAIN = {
    "delta=4": "delta: it has no second clipping bound",
    "top_entropy_quantile=0.2": "top_entropy_quantile: it knows no entropies",
    "log_entropy=true": "log_entropy: it knows no entropies",
    "off_policy_sequence_mask_delta=0.5": "off_policy_sequence_mask_delta: it masks no sequences",
    "overlong_filter=true": "overlong_filter: swift does not tell it which completions are cut off",
    "kl_in_reward=true": "kl_in_reward: the KL term would count twice",
    "padding_free=true": "padding_free: it takes padded rows only",
    "packing=true": "packing: it takes padded rows only",
    "sequence_parallel_size=2": "sequence_parallel_size: it takes whole sequences only",
    "advantage_estimator=rloo": "advantage_estimator: swift gives it GRPO's own advantages only",
    "advantage_reweight=rlsd": "advantage_reweight: it has one advantage for a whole completion",
    "teacher_model=other": "teacher_model: it has one advantage for a whole completion",
    "teacher_adapters=[other]": "teacher_adapters: it has one advantage for a whole completion",
    "sdar_loss_coef=0.1": "sdar_loss_coef: it adds no second loss",
    "multi_turn_scheduler=mine": "multi_turn_scheduler: it takes one batch at a time",
    "fsdp=full_shard": f"fsdp: {PARTS}",
    "deepspeed=zero3": f"deepspeed: {PARTS}",
    "deepspeed=mine.json": f"deepspeed: {PARTS}",
    "loss_type=[dapo]": "loss_type: dapo would come out otherwise",
    "loss_type=cispo": "loss_type: cispo would come out otherwise",
    "importance_sampling_level=sequence_token": "importance_sampling_level: it cannot weigh by "
    "sequence_token under this loss",
}


@pytest.mark.parametrize("given", IN_VAIN)
def test_what_ligers_loss_cannot_do(given: str) -> None:
    expected = Explained(False, f"not Liger's loss: swift's {IN_VAIN[given]}")
    assert loss(f"swift.{given}") == expected
    assert loss(f"stages.caption.swift.{given}") == expected
    assert loss(f"stages.diagnosis.swift.{given}").value is True


def test_every_limit_has_a_test() -> None:
    assert set(liger_limits._OFF) <= {given.partition("=")[0] for given in IN_VAIN} | {"teacher_model_server"}


@pytest.mark.parametrize(
    "given",
    [
        *(f"loss_type=[{name}]" for name in liger_limits.LOSSES),
        "importance_sampling_level=sequence",
        "deepspeed=zero2",
        "top_entropy_quantile=1.0",
        "beta=0.1",
        "num_iterations=4",
        "overlong_filter=false",
        "target_regex=.*q_proj",
    ],
)
def test_what_ligers_loss_can_do(given: str) -> None:
    assert loss(f"swift.{given}").value is True


def test_ligers_loss_weighs_no_sequences_under_sapo() -> None:
    found = loss("swift.importance_sampling_level=sequence", "swift.loss_type=[sapo]")
    why = "swift's importance_sampling_level: it cannot weigh by sequence under this loss"
    assert found == Explained(False, f"not Liger's loss: {why}")


@pytest.mark.parametrize("given", ["target_modules=[lm_head, q_proj]", "target_regex=.*(lm_head|q_proj)"])
def test_ligers_loss_does_not_see_an_adapter_on_the_output_layer(given: str) -> None:
    why = "it reads the output layer's own weight, and an adapter stands on it"
    assert loss(f"swift.{given}") == Explained(False, f"not Liger's loss: {why}")


def test_ligers_loss_beside_vllm() -> None:
    why = "not Liger's loss: it has no logits to compare with vLLM's log-probabilities"
    vllm = ("rollouts={engine: vllm, mode: server}", "swift.top_k=-1")
    assert loss(*vllm) == Explained(False, why)
    (problem,) = problems(*vllm, "speed.liger=true", "stages.diagnosis=null")
    assert problem == (
        f"command line: speed.liger: {why[:16]} in stage caption{why[16:]}\n    write `auto`, or leave it out"
    )


def test_ligers_loss_where_it_was_never_tried() -> None:
    why = "not Liger's loss: it was never tried with the family other"
    assert loss(family=replace(QWEN, name="other")) == Explained(False, why)
    tiny = loss("model={base: tiny:qwen2_5_vl}")
    assert tiny == Explained(False, "not Liger's loss: a tiny model gains nothing from it")
    asked = loss("model={base: tiny:qwen2_5_vl}", "speed.liger=true")
    assert asked == Explained(True, "speed.liger: true")


def test_ligers_loss_by_name() -> None:
    assert loss("speed.liger=false") == Explained(False, "speed.liger: false")
    assert loss("speed.liger=true", machine=Machine()) == Explained(
        True, "speed.liger: true; not on this machine: there is no NVIDIA GPU"
    )
    assert problems("speed.liger=true") == []
    assert list(accelerators.refusals(recipe("speed.liger=true"), H100)) == []
    (problem,) = problems("speed.liger=true", "stages.diagnosis.swift.overlong_filter=true")
    assert "speed.liger: not Liger's loss in stage diagnosis: swift's overlong_filter: " in problem


def test_ligers_loss_is_of_grpo_stages() -> None:
    found = recipe()
    chosen = [set(accelerators.arguments(found, stage, QWEN, H100)) for stage in found.stages]
    assert chosen == [{"attn_impl"}, *[{"attn_impl", "use_liger_kernel"}] * 2]
    alone = ["stages.caption=null", "stages.diagnosis=null"]
    alone += ["swift.num_generations=null", "swift.max_completion_length=null"]
    (problem,) = problems("speed.liger=true", *alone)
    assert "speed.liger: found true, and no stage has a GRPO loss" in problem


# --- within a plan -----------------------------------------------------------------------------------------


def planned(*overrides: str, machine: Machine = H100) -> Plan:
    return plan(
        recipe(*overrides), catalogue(), root=PurePosixPath("/RUN"), plugin="plugin.py", machine=machine
    )


def test_the_recipes_own_argument_wins() -> None:
    found = planned("swift.attn_impl=eager", "swift.use_liger_kernel=true", machine=Machine()).stages[1]
    assert found.arguments["attn_impl"] == Explained(
        "eager",
        "the recipe's choice; without it sdpa: not flash_attn: there is no NVIDIA GPU",
    )
    assert found.arguments["use_liger_kernel"].value is True


@pytest.mark.parametrize(
    ("speed", "swift"),
    [("attention=sdpa", "attn_impl=eager"), ("liger=false", "use_liger_kernel=false")],
)
def test_two_words_for_one_thing_are_one_too_many(speed: str, swift: str) -> None:
    key, name = speed.partition("=")[0], swift.partition("=")[0]
    for place, path in (("", ""), ("stages.caption.", "stages[1].")):
        (problem,) = problems(f"speed.{speed}", f"{place}swift.{swift}")
        assert problem == (
            f"command line: {path}swift.{name}: speed.{key} is given as well\n    leave one of the two out"
        )
    assert problems(f"swift.{swift}") == []


def test_notes_say_for_which_machine_and_what_is_missing() -> None:
    head = "attn_impl and use_liger_kernel are chosen for this machine"
    assert planned().notes == (f"{head} (NVIDIA H100 80GB HBM3): plan on the one that trains",)
    assert planned(machine=Machine()).notes == (
        f"{head} (there is no NVIDIA GPU): plan on the one that trains",
        "not flash_attn: there is no NVIDIA GPU",
        "not Liger's loss: there is no NVIDIA GPU",
    )
    given = ("swift.attn_impl=eager", "swift.use_liger_kernel=false")
    assert len(planned(*given, machine=Machine()).notes) == 1
    assert planned("model={base: tiny:qwen2_5_vl}", machine=Machine()).notes == ()


def test_without_a_machine_it_is_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = plan(recipe(), catalogue(), root=PurePosixPath("/RUN"), plugin="plugin.py")
    assert "(CUDA_VISIBLE_DEVICES hides every GPU)" in found.notes[0]
