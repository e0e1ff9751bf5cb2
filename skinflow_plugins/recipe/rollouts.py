"""What a recipe's `rollouts:` means for swift's trainer and for the server, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from skinflow_plugins.engine.seams import ENGINE_SEAMS
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.recipe import lines, swift_arguments
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.families import TINY
from skinflow_plugins.recipe.schema import Recipe

NO_PLACEHOLDERS = "skinflow_plugins.engine.placeholders:NoPlaceholders"
HOST, PORT = "127.0.0.1", 8000
KNOWS_DYNAMIC = tuple(ENGINE_SEAMS)
"""The base families whose dynamic models vLLM can run."""
_OF_THE_CLIENT = ("vllm_server_",)
_OF_COLOCATE = ("sleep_level", "offload_model", "offload_optimizer", "move_model_batches")
NO_LOGITS = "has no logits to compare with vLLM's log-probabilities"

FILTERS = {"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
"""What narrows the distribution that is sampled from, and the value that switches it off."""

Mistake = tuple[lines.Path, str, str]


def trainer_arguments(recipe: Recipe, family: BaseFamily) -> dict[str, Explained]:
    """What `swift rlhf` is told about vLLM."""
    mode, options = recipe.rollouts.mode, recipe.rollouts.options
    found = {
        "vllm_mode": Explained(mode),
        "log_rollout_offpolicy_metrics": Explained(
            True, "how far the engine is from the trainer at each step; the run stops when they part"
        ),
    }
    if mode == "server":
        if not {"vllm_server_host", "vllm_server_base_url"} & set(options):
            found["vllm_server_host"] = Explained([HOST], "where `skinflow rollout` listens by default")
        mine = {name: value for name, value in options.items() if not _of_the_engine(name)}
    else:
        found |= engine_arguments(recipe, family)
        mine = {name: value for name, value in options.items() if name not in found}
    return found | {name: Explained(value) for name, value in mine.items()}


def server_arguments(recipe: Recipe, family: BaseFamily) -> dict[str, Explained]:
    """What `swift rollout` is told beyond the model: the engine, and where to listen."""
    options = recipe.rollouts.options
    found = engine_arguments(recipe, family)
    mine = {name: value for name, value in options.items() if _of_the_engine(name) and name not in found}
    host, port = address(options)
    return {
        "host": Explained(host),
        "port": Explained(port),
        **found,
        **{name: Explained(value) for name, value in mine.items()},
    }


def engine_arguments(recipe: Recipe, family: BaseFamily) -> dict[str, Explained]:
    """What the engine is told whoever holds it; the recipe's own options win, or are added to."""
    options = recipe.rollouts.options
    given = options.get("vllm_engine_kwargs") or {}
    kwargs = dict(json.loads(given) if isinstance(given, str) else given)  # swift takes both
    processors = [*_listed(kwargs.get("logits_processors", [])), NO_PLACEHOLDERS]
    kwargs["logits_processors"] = list(dict.fromkeys(processors))
    limits = media_limits(family, images=1)
    found = {
        "vllm_engine_kwargs": Explained(kwargs, "no answer holds an image token, in no engine"),
        "vllm_limit_mm_per_prompt": Explained(limits, "a row has one image; vLLM keeps room for more"),
    }
    if recipe.model.base.startswith(TINY):
        found["vllm_enforce_eager"] = Explained(True, "a tiny model gains nothing from graphs")
    return {
        name: Explained(options[name]) if name in options and name != "vllm_engine_kwargs" else value
        for name, value in found.items()
    }


def media_limits(family: BaseFamily, *, images: int) -> dict[str, int]:
    """How many images a prompt may hold, and no videos, for which vLLM would keep room."""
    videos = any("video" in token for token in family.image_placeholders)
    return {"image": images} | ({"video": 0} if videos else {})


def urls(options: Mapping[str, Any]) -> list[str]:
    """The base URL of every rollout server that the options name, as swift's client makes them."""
    if given := options.get("vllm_server_base_url"):
        return [url.rstrip("/") for url in _listed(given)]
    return [f"http://{host}:{port}" for host, port in _places(options)]


def address(options: Mapping[str, Any]) -> tuple[str, int]:
    """Where `skinflow rollout` listens: the first (host, port) that the options name."""
    if given := options.get("vllm_server_base_url"):
        part = urlsplit(_listed(given)[0])
        return part.hostname or HOST, part.port or {"https": 443}.get(part.scheme, 80)
    return _places(options)[0]


def _places(options: Mapping[str, Any]) -> list[tuple[str, int]]:
    hosts, ports = (
        _listed(options.get("vllm_server_host", HOST)),
        _listed(options.get("vllm_server_port", PORT)),
    )
    return [(str(host), int(port)) for host, port in zip(hosts, ports, strict=False)]


def _listed(value: Any) -> list[Any]:
    """A list argument as swift takes it: one value counts as a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _of_the_engine(name: str) -> bool:
    return name.startswith("vllm_") and not name.startswith(_OF_THE_CLIENT)


def mistakes(recipe: Recipe, family: BaseFamily | None) -> Iterator[Mistake]:
    """What vLLM cannot do under this recipe, or would do otherwise than the trainer."""
    rollouts = recipe.rollouts
    if rollouts.engine != "vllm":
        return
    here: lines.Path = ("rollouts",)
    if not rollouts.timeout > 0:
        yield (*here, "timeout"), f"found {rollouts.timeout}, expected seconds above 0", ""
    if rollouts.tolerance is not None and not rollouts.tolerance > 0:
        yield (*here, "tolerance"), f"found {rollouts.tolerance}, expected nats above 0", ""
    if rollouts.mode == "colocate" and recipe.launch.mode == "inline":
        message = "inline keeps vLLM's memory, and its process group, for the next stage"
        yield ("launch", "mode"), message, "write `mode: process`, or `rollouts: {mode: server}`"
    if rollouts.mode == "server":
        yield from _of_a_server(rollouts.options)
        for name in _OF_COLOCATE:
            if rollouts.options.get(name):
                message = f"{name!r} is about an engine within the trainer, and this one is a server"
                yield (*here, "options", name), message, "leave it out, or write `mode: colocate`"
    yield from _out_of_place(recipe)
    for name, off in FILTERS.items():
        for number, stage in enumerate(recipe.stages):
            value = {**rollouts.options, **recipe.swift, **stage.swift}.get(name, off)
            if stage.kind == "grpo" and value not in (off, None) and not (name == "top_k" and value == 0):
                at: lines.Path = ("stages", number, "swift") if name in stage.swift else ("swift",)
                message = (
                    f"found {value}: vLLM reports log-probabilities after this filter, trainers before it"
                )
                yield (*at, name), message, f"leave it out, or write {off}"
    if not recipe.model.vision.dynamic:
        return
    if family is not None and family.name not in KNOWS_DYNAMIC:
        message = f"vLLM has no dynamic vision encoder for the family {family.name}"
        yield (*here, "engine"), message, f"it has: {', '.join(KNOWS_DYNAMIC)}; or write `transformers`"
    parallel = rollouts.options.get("vllm_tensor_parallel_size", 1)
    if parallel != 1:
        message = f"found {parallel}: the dynamic vision encoder runs on one GPU per engine"
        hint = "leave it out; in server mode, vllm_data_parallel_size takes more GPUs"
        yield (*here, "options", "vllm_tensor_parallel_size"), message, hint


def _of_a_server(options: Mapping[str, Any]) -> Iterator[Mistake]:
    here: lines.Path = ("rollouts", "options")
    mine = {"host": "vllm_server_host", "port": "vllm_server_port"}
    for name in options:
        known = name in swift_arguments.arguments("grpo") or name not in swift_arguments.arguments("rollout")
        if not known and not _of_the_engine(name):
            hint = f"use {mine[name]}" if name in mine else "leave it out"
            yield (*here, name), f"{name!r} is set by `skinflow rollout` itself", hint
    if "vllm_server_base_url" not in options:
        hosts = _listed(options.get("vllm_server_host", HOST))
        ports = _listed(options.get("vllm_server_port", PORT))
        if len(hosts) != len(ports):
            message = f"{len(ports)} ports for {len(hosts)} hosts"
            yield (*here, "vllm_server_port"), message, "give one port for each host"


def _out_of_place(recipe: Recipe) -> Iterator[Mistake]:
    """Arguments about the engine under `swift:`, where they would undo the plan's; and the reverse."""
    for name in recipe.rollouts.options:
        ours = name.startswith("vllm_") or name in _OF_COLOCATE or name in FILTERS
        known = name in swift_arguments.arguments("grpo") and name not in swift_arguments.OWNED
        if not ours and known:
            path: lines.Path = ("rollouts", "options", name)
            yield path, f"{name!r} is not about the engine", "write it under `swift:`"
    blocks: list[tuple[lines.Path, Mapping[str, Any]]] = [
        (("swift",), recipe.swift),
        *((("stages", number, "swift"), stage.swift) for number, stage in enumerate(recipe.stages)),
    ]
    for path, options in blocks:
        for name, value in options.items():
            if name.startswith("vllm_") or name in _OF_COLOCATE:
                yield (*path, name), f"{name!r} is about the engine", "write it under rollouts.options"
            elif name == "log_rollout_offpolicy_metrics" and value is not True:
                message = "the run watches what it logs, and stops when trainer and engine part"
                yield (*path, name), message, "leave it out"
            elif name in ("use_liger_kernel", "async_generate") and value is True:
                why = {
                    "use_liger_kernel": f"Liger's loss {NO_LOGITS}",
                    "async_generate": "samples of earlier weights cannot be compared with the trainer",
                }[name]
                yield (*path, name), f"found true: {why}", "leave it out"
