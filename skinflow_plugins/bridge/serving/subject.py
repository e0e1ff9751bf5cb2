"""What the user asked for, and the checkpoint that was found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.checkpoint_source import PROCESSOR, Source, find
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.families import BaseFamily

QUESTION = "What is the diagnosis?"
"""What a model is asked outside of a run."""


@dataclass(frozen=True)
class Order:
    """What the user asked for; `further` are vLLM's own arguments."""

    checkpoint: str
    host: str = "127.0.0.1"
    port: int = 8000
    name: str = ""
    api_key: str = ""
    any_template: bool = False
    further: tuple[str, ...] = ()

    def says(self, flag: str) -> bool:
        """Whether the further arguments hold this one, with a dash or an underscore, with = or without."""
        return self.value(flag) is not None

    def value(self, flag: str) -> str | None:
        """What the further arguments say behind `flag`; an empty text where nothing follows, else None."""
        for word, following in itertools.pairwise([*self.further, ""]):
            name, equals, value = word.partition("=")
            if name.replace("_", "-") == flag:
                return value if equals else "" if following.startswith("--") else following
        return None


@dataclass(frozen=True)
class Subject:
    """A checkpoint as it was found: a source, or a hub id of which we know no more than its config.

    `family` is None for a model that we know nothing of, which vLLM may know.
    """

    source: Source | None
    model: str
    config: Mapping[str, Any]
    family: BaseFamily | None = None

    @property
    def dynamic(self) -> bool:
        """Whether its vision encoder is the dynamic one."""
        return str(self.config.get("model_type", "")).startswith("skinflow_")

    @property
    def trained(self) -> bool:
        """Whether swift trained it, with swift's template."""
        return self.source is not None and bool(self.source.run or self.source.arguments)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Those of the training, where there was one."""
        return self.source.arguments if self.source else {}

    @property
    def processor(self) -> str:
        """The folder of the processor."""
        source = self.source
        if source is None or any((source.folder / name).is_file() for name in PROCESSOR):
            return self.model
        return source.weights

    @property
    def name(self) -> str:
        """What a client calls the model, unless the user says otherwise."""
        if self.source is None:
            return self.model
        words = [self.source.recipe.get("name"), self.source.stage.get("name")]
        return "-".join(str(word) for word in words if word) or self.source.folder.name

    @property
    def question(self) -> str:
        """What the model was trained to answer about an image."""
        return (self.source.prompt() if self.source else "") or QUESTION

    @property
    def system(self) -> str:
        """The system message of the training; mostly none."""
        return str(self.arguments.get("system") or "")

    @property
    def longest_answer(self) -> int:
        """Tokens that an answer takes at most: those of the run's evaluation."""
        evaluation = self.source.recipe.get("eval", {}) if self.source else {}
        return int(evaluation.get("max_new_tokens") or 256)

    @property
    def dtype(self) -> str:
        """The precision of the weights; for float32, vLLM's own `auto` means half of it."""
        inner = self.config.get("text_config") or {}
        names = (each.get(key) for each in (self.config, inner) for key in ("dtype", "torch_dtype"))
        return str(next((name for name in names if name), "auto")).removeprefix("torch.")


def look_up(checkpoint: str, catalogue: Catalogue) -> Subject:
    """What the user means: a folder, or else a hub id. Raises `InputError` when it is neither."""
    from skinflow_plugins.models.base_folder import base_folder

    families = [entry.value for entry in catalogue.table("base_models").values()]
    if Path(checkpoint).expanduser().exists():
        source = find(checkpoint)
        config = read_json(base_folder(source.weights) / "config.json")
        family = _family(config, families)
        if source.base and family is None:
            message = f"is an adapter of a model that we know nothing of: {source.base}"
            hint = "merge it first: swift export --adapters ... --merge_lora true"
            raise InputError(Problem(message, where=checkpoint, hint=hint))
        return Subject(source, str(source.folder), config, family)
    config = read_json(_config_of_hub(checkpoint))
    family = _family(config, families)
    if family is None:
        return Subject(None, checkpoint, config)
    # A whole download, as vLLM would make it; here because templates are compared before vLLM starts.
    return Subject(None, str(base_folder(checkpoint)), config, family)


def _family(config: Mapping[str, Any], families: Sequence[BaseFamily]) -> BaseFamily | None:
    kind = str(config.get("model_type", "")).removeprefix("skinflow_")
    return next((family for family in families if family.hf_model_type == kind), None)


def _config_of_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "config.json"))
    except Exception as error:  # offline, unknown, gated, not even an id: the hub's own words say which
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        message = f"is no folder here, and cannot be had from the hub: {lines[0]}"
        hint = "give the folder of a run, a checkpoint or an adapter, or a hub id (owner/name)"
        raise InputError(Problem(message, where=name, hint=hint)) from error


def read_json(path: Path) -> Any:
    """What the file holds; `InputError` when that is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(Problem(f"cannot be read as JSON: {error}", where=str(path))) from error
