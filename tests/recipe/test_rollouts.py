"""`rollouts:` of recipes: what trainer, server and engine are told, and what vLLM could not do."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from skinflow_plugins.bridge.settings import from_json, settings_of
from skinflow_plugins.bridge.swift_yaml import stage_yaml
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.models import FAMILIES, family_named
from skinflow_plugins.recipe import check, load, rollouts, swift_arguments
from skinflow_plugins.recipe.plan import Plan, plan
from skinflow_plugins.recipe.rollouts import NO_PLACEHOLDERS, address, urls
from skinflow_plugins.recipe.schema import Recipe, Rollouts

TINY = Path(__file__).parents[1] / "bridge" / "tiny.yaml"
COLOCATE = ("rollouts={engine: vllm}", "launch.mode=process")
SERVER = ("rollouts={engine: vllm, mode: server}",)
LARGE = ("model={base: Qwen/Qwen2.5-VL-7B-Instruct}",)


def recipe(*overrides: str) -> Recipe:
    return load(TINY, overrides).recipe


def planned(*overrides: str) -> Plan:
    return plan(recipe(*overrides), catalogue(), root=PurePosixPath("/RUN"), plugin="/PLUGIN/plugin.py")


def trainer(*overrides: str) -> dict[str, Any]:
    """What `swift rlhf` is told because of `rollouts:`."""
    found = recipe(*overrides)
    return values(rollouts.trainer_arguments(found, family_named("qwen2_5_vl")))


def server(*overrides: str) -> dict[str, Any]:
    """What `swift rollout` is told beyond the model."""
    return values(rollouts.server_arguments(recipe(*overrides), family_named("qwen2_5_vl")))


def values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: argument.value for name, argument in arguments.items()}


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in check(load(TINY, overrides), catalogue())]


def options(**given: Any) -> str:
    return f"rollouts.options={json.dumps(given)}"


ENGINE = {
    "vllm_engine_kwargs": {"logits_processors": [NO_PLACEHOLDERS]},
    "vllm_limit_mm_per_prompt": {"image": 1, "video": 0},
}

# --- what is told to whom -------------------------------------------------------------------------------


def test_an_engine_within_the_trainer() -> None:
    expected = {"vllm_mode": "colocate", "log_rollout_offpolicy_metrics": True, **ENGINE}
    assert trainer(*COLOCATE, *LARGE) == expected
    given = {
        "vllm_gpu_memory_utilization": 0.4,
        "sleep_level": 1,
        "offload_optimizer": True,
        "move_model_batches": 4,
    }
    assert trainer(*COLOCATE, *LARGE, options(**given)) == expected | given


def test_an_engine_elsewhere() -> None:
    """What is the engine's goes to the server alone, and what is the client's to the trainer alone."""
    plain = {"vllm_mode": "server", "log_rollout_offpolicy_metrics": True}
    assert trainer(*SERVER, *LARGE) == {**plain, "vllm_server_host": ["127.0.0.1"]}
    assert server(*SERVER, *LARGE) == {"host": "127.0.0.1", "port": 8000, **ENGINE}
    of_the_engine = {"vllm_gpu_memory_utilization": 0.8, "vllm_data_parallel_size": 2}
    of_the_client = {
        "vllm_server_host": ["10.0.0.7"],
        "vllm_server_port": [9001],
        "vllm_server_timeout": 30,
        "vllm_server_group_port": [51300],
    }
    given = options(**of_the_engine, **of_the_client)
    assert trainer(*SERVER, *LARGE, given) == plain | of_the_client
    assert server(*SERVER, *LARGE, given) == {"host": "10.0.0.7", "port": 9001, **ENGINE, **of_the_engine}


@pytest.mark.parametrize("mode", [COLOCATE, SERVER], ids=["colocate", "server"])
def test_options_are_added_to_or_win(mode: tuple[str, ...]) -> None:
    told = trainer if mode is COLOCATE else server
    processors = {"logits_processors": ["mine:Mine"], "max_num_seqs": 4}
    given = options(vllm_engine_kwargs=processors, vllm_limit_mm_per_prompt={"image": 3})
    found = told(*mode, *LARGE, given)
    assert found["vllm_engine_kwargs"] == {
        "logits_processors": ["mine:Mine", NO_PLACEHOLDERS],
        "max_num_seqs": 4,
    }
    assert found["vllm_limit_mm_per_prompt"] == {"image": 3}
    # Who names ours gets it but once, at its place.
    named = {"logits_processors": [NO_PLACEHOLDERS, "mine:Mine"]}
    assert told(*mode, *LARGE, options(vllm_engine_kwargs=named))["vllm_engine_kwargs"] == named


def test_what_is_given_is_not_written_to() -> None:
    given = {"vllm_engine_kwargs": {"logits_processors": ["mine:Mine"]}}
    found = recipe(*COLOCATE, options(**given))
    rollouts.trainer_arguments(found, family_named("qwen2_5_vl"))
    assert found.rollouts.options == given


def test_a_tiny_model_needs_no_graphs() -> None:
    assert trainer(*COLOCATE)["vllm_enforce_eager"] is True
    assert server(*SERVER)["vllm_enforce_eager"] is True
    assert trainer(*COLOCATE, options(vllm_enforce_eager=False))["vllm_enforce_eager"] is False
    assert "vllm_enforce_eager" not in trainer(*COLOCATE, *LARGE)
    assert trainer(*COLOCATE, *LARGE, options(vllm_enforce_eager=True))["vllm_enforce_eager"] is True


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_room_for_videos_is_only_refused_where_there_could_be_any(family: Any) -> None:
    found = rollouts.engine_arguments(recipe(*COLOCATE, *LARGE), family)["vllm_limit_mm_per_prompt"].value
    videos = [token for token in family.image_placeholders if "video" in token]
    assert found == ({"image": 1, "video": 0} if videos else {"image": 1})


def test_only_stages_that_sample_hear_of_it() -> None:
    whole = planned(*COLOCATE)
    warmup, caption, _ = whole.stages
    assert not [name for name in warmup.arguments if "vllm" in name]
    assert caption.arguments["use_vllm"].value is True
    told = rollouts.trainer_arguments(whole.recipe, whole.family)
    assert told.items() <= caption.arguments.items()
    settings = [from_json(settings_of(whole, stage).to_json()).rollouts for stage in whole.stages]
    assert settings == [Rollouts(), whole.recipe.rollouts, whole.recipe.rollouts]
    # What swift reads from the file is what was meant, mappings too.
    read = yaml.safe_load(stage_yaml(whole, caption))
    assert {name: read[name] for name in told} == values(told)


def test_without_vllm_nothing_is_said() -> None:
    for stage in planned().stages:
        assert not [name for name in stage.arguments if "vllm" in name and name != "use_vllm"]
        assert "rollouts" not in json.loads(settings_of(planned(), stage).to_json())


@pytest.mark.parametrize("mode", [COLOCATE, SERVER], ids=["colocate", "server"])
def test_swift_knows_every_argument(mode: tuple[str, ...]) -> None:
    for name, value in trainer(*mode, options(vllm_data_parallel_size=1)).items():
        if name not in swift_arguments.OWNED:
            assert swift_arguments.mistake(name, value, "grpo") is None, name
    known = swift_arguments.arguments("rollout")
    assert set(server(*SERVER, options(vllm_data_parallel_size=1))) <= set(known)


def test_what_is_the_engines_is_known_to_a_server() -> None:
    """An option that colocate takes must not make `swift rollout` fail."""
    known = swift_arguments.arguments("rollout")
    ours = [name for name in swift_arguments.arguments("grpo") if rollouts._of_the_engine(name)]
    assert len(ours) > 10
    assert set(ours) - set(known) == {"vllm_mode"}  # nobody's option: the plan sets it


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [("127.0.0.1", 8000)]),
        ({"vllm_server_port": [9000]}, [("127.0.0.1", 9000)]),
        ({"vllm_server_port": 9000}, [("127.0.0.1", 9000)]),
        ({"vllm_server_host": "a"}, [("a", 8000)]),
        ({"vllm_server_host": ["a"]}, [("a", 8000)]),
        ({"vllm_server_host": ["a", "b"], "vllm_server_port": [1, 2]}, [("a", 1), ("b", 2)]),
        ({"vllm_server_base_url": "http://a:7"}, [("a", 7)]),
        ({"vllm_server_base_url": ["http://a:7", "http://b:8/path"]}, [("a", 7), ("b", 8)]),
        (  # swift says the same: a URL is stronger
            {"vllm_server_base_url": ["http://a:7"], "vllm_server_host": ["b"], "vllm_server_port": [1]},
            [("a", 7)],
        ),
    ],
)
def test_where_servers_are(given: Mapping[str, Any], expected: list[tuple[str, int]]) -> None:
    assert address(given) == expected[0]
    assert [tuple(url.removeprefix("http://").removesuffix("/path").split(":")) for url in urls(given)] == [
        (host, str(port)) for host, port in expected
    ]


def test_a_url_needs_no_host_beside_it() -> None:
    found = trainer(*SERVER, options(vllm_server_base_url=["http://a:7"]))
    assert found["vllm_server_base_url"] == ["http://a:7"]
    assert "vllm_server_host" not in found


# --- a name that is kept without importing what it names ----------------------------------------------------


def test_the_name_of_the_logits_processor() -> None:
    """Of a module that imports vLLM, so its source is read."""
    module, _, name = NO_PLACEHOLDERS.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    assert name in {node.name for node in body if isinstance(node, ast.ClassDef)}
    (written,) = (
        ast.unparse(node.value)
        for node in body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAME"
    )
    assert eval(written, {"__name__": module}) == NO_PLACEHOLDERS


# --- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [COLOCATE, SERVER], ids=["colocate", "server"])
def test_nothing_is_wrong(mode: tuple[str, ...]) -> None:
    assert problems(*mode) == []
    assert problems(*mode, "model.vision.encoder=dve", options(vllm_tensor_parallel_size=1)) == []
    assert problems(*mode, "rollouts.tolerance=0.01", "rollouts.timeout=1") == []
    assert problems() == []


FILTER = "vLLM reports log-probabilities after this filter, trainers before it"
MISTAKES = [
    ([*COLOCATE, "rollouts.timeout=0"], "rollouts.timeout: found 0, expected seconds above 0", ""),
    ([*COLOCATE, "rollouts.timeout=-1.5"], "rollouts.timeout: found -1.5, expected seconds above 0", ""),
    ([*SERVER, "rollouts.tolerance=0.0"], "rollouts.tolerance: found 0.0, expected nats above 0", ""),
    (
        [COLOCATE[0]],
        "tiny.yaml:18: launch.mode: inline keeps vLLM's memory, and its process group, for the next stage",
        "write `mode: process`, or `rollouts: {mode: server}`",
    ),
    (
        [*SERVER, options(sleep_level=1)],
        "rollouts.options.sleep_level: 'sleep_level' is about an engine within the trainer, and this one",
        "leave it out, or write `mode: colocate`",
    ),
    ([*SERVER, options(offload_model=True)], "rollouts.options.offload_model: 'offload_model' is about", ""),
    ([*SERVER, options(offload_optimizer=True)], "rollouts.options.offload_optimizer: 'offload_opt", ""),
    ([*SERVER, options(move_model_batches=2)], "rollouts.options.move_model_batches: 'move_model_b", ""),
    (
        [*COLOCATE, "stages.caption.swift.top_k=50"],
        f"stages[1].swift.top_k: found 50: {FILTER}",
        "leave it out, or write -1",
    ),
    ([*SERVER, "swift.top_p=0.9"], f"swift.top_p: found 0.9: {FILTER}", "leave it out, or write 1.0"),
    (
        [*COLOCATE, "stages.diagnosis.swift.repetition_penalty=1.1"],
        f"stages[2].swift.repetition_penalty: found 1.1: {FILTER}",
        "leave it out, or write 1.0",
    ),
    (
        [*COLOCATE, "model.vision.encoder=dve", options(vllm_tensor_parallel_size=2)],
        "rollouts.options.vllm_tensor_parallel_size: found 2: the dynamic vision encoder runs on one GPU per",
        "leave it out; in server mode, vllm_data_parallel_size takes more GPUs",
    ),
    (
        [*COLOCATE, options(vllm_max_model_length=100)],
        "rollouts.options.vllm_max_model_length: swift has no argument 'vllm_max_model_length'; did you mean",
        "",
    ),
    (
        [*COLOCATE, options(vllm_gpu_memory_utilization="0.5")],
        "rollouts.options.vllm_gpu_memory_utilization: found '0.5', but swift's",
        "without quotes",
    ),
    ([*COLOCATE, options(use_vllm=True)], "'use_vllm' is set by skinflow itself", "use rollouts.engine"),
    (
        ["rollouts={mode: server}"],
        "rollouts.mode: 'mode' belongs to vLLM",
        "write `engine: vllm`",
    ),
    (["rollouts={engine: sglang}"], "rollouts.engine: found 'sglang', expected one of", ""),
]


@pytest.mark.parametrize(("given", "problem", "hint"), MISTAKES, ids=lambda value: str(value)[:50])
def test_a_mistake_has_its_place_and_its_hint(given: list[str], problem: str, hint: str) -> None:
    found = problems(*given)
    assert len(found) == 1, found
    assert problem in found[0]
    assert hint in found[0]


def test_all_at_once() -> None:
    found = problems(
        COLOCATE[0],
        "rollouts.timeout=0",
        "rollouts.tolerance=-1",
        "model.vision.encoder=dve",
        options(vllm_tensor_parallel_size=2, vllm_nonsense=1),
        "swift.top_p=0.9",
        "stages.caption.swift.top_k=50",
    )
    places = (
        *("launch.mode:", "rollouts.timeout:", "rollouts.tolerance:", "vllm_tensor_parallel_size:"),
        *("vllm_nonsense:", "swift.top_p:", "stages[1].swift.top_k:"),
    )
    assert len(found) == len(places)
    for place in places:
        assert [place in problem for problem in found].count(True) == 1, place


@pytest.mark.parametrize(
    "given",
    [
        ["stages.warmup.swift.top_k=50"],  # teaches; nothing is sampled
        ["swift.top_k=-1"],
        ["swift.top_k=0"],
        ["swift.top_p=1"],
        ["swift.top_p=1.0"],
        ["swift.top_k=50", "stages.caption.swift.top_k=-1", "stages.diagnosis.swift.top_k=0"],
    ],
    ids=str,
)
def test_filters_that_filter_nothing(given: list[str]) -> None:
    assert problems(*COLOCATE, *given) == []


def test_transformers_may_filter() -> None:
    """Its log-probabilities are not compared with anybody's."""
    assert problems("swift.top_k=50", "launch.mode=inline") == []


def test_a_family_without_an_engine_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the dynamic encoder needs one."""
    monkeypatch.setattr(rollouts, "KNOWS_DYNAMIC", ("qwen3_vl",))
    assert problems(*COLOCATE) == []
    (found,) = problems(*COLOCATE, "model.vision.encoder=dve")
    assert "rollouts.engine: vLLM has no dynamic vision encoder for the family qwen2_5_vl" in found
    assert "it has: qwen3_vl; or write `transformers`" in found


def test_a_base_that_cannot_be_known_is_reported_once() -> None:
    (found,) = problems(*COLOCATE, "model={base: tiny:qwen9_vl, vision: {encoder: dve}}")
    assert "model.base: unknown base model 'qwen9_vl'" in found


def test_a_colocate_engine_may_be_split_over_gpus() -> None:
    assert problems(*COLOCATE, options(vllm_tensor_parallel_size=2)) == []


# --- reported ---------------------------------------------------------------------------------------------


def test_what_only_the_server_knows_does_not_reach_the_trainer() -> None:
    given = options(port=9000)
    assert problems(*SERVER, given) or "port" not in trainer(*SERVER, given)


def test_engine_arguments_as_text() -> None:
    given = options(vllm_engine_kwargs='{"max_num_seqs": 4}')
    found = problems(*COLOCATE, given)
    assert found or trainer(*COLOCATE, given)["vllm_engine_kwargs"]["max_num_seqs"] == 4


def test_a_url_without_a_port() -> None:
    assert address({"vllm_server_base_url": ["http://a"]}) == ("a", 80)
    assert address({"vllm_server_base_url": ["https://a"]}) == ("a", 443)
    assert urls({"vllm_server_base_url": ["https://a/b/"]}) == ["https://a/b"]


def test_as_many_ports_as_hosts() -> None:
    assert problems(*SERVER, options(vllm_server_host=["a", "b"]))
