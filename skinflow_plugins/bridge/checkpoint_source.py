"""Checkpoints wherever a user points: a folder of weights, a LoRA adapter over a base, or a whole run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.checkpoints import FINAL
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem

ADAPTER = "adapter_config.json"
PROCESSOR = ("processor_config.json", "preprocessor_config.json")
HINT = "make one with `skinflow graft BASE OUT`, or train with `model.vision: {encoder: dve}` in the recipe"


@dataclass(frozen=True)
class Source:
    """A checkpoint: the folder with weights, the base that an adapter sits on, the run that it is part of."""

    folder: Path
    base: str = ""
    run: Path | None = None

    @property
    def weights(self) -> str:
        """Where config.json stands: the base of an adapter, otherwise the folder itself."""
        return self.base or str(self.folder)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe of the run, as it was resolved; empty outside of a run."""
        found: Mapping[str, Any] = _json(self.run / "run.json")["recipe"] if self.run else {}
        return found

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What swift wrote down about the training; empty when it was not swift that wrote the checkpoint."""
        path = self.folder / "args.json"
        return _json(path) if path.is_file() else {}

    @property
    def stage(self) -> Mapping[str, Any]:
        """The recipe's stage that the checkpoint comes from; empty when it comes from none."""
        slug = self.folder.parent.name
        named = (each for each in self.recipe.get("stages", ()) if slug.partition("-")[2] == each["name"])
        return next(named, {})

    def label(self) -> str:
        """The model and the step in a few words."""
        state = self.folder / "trainer_state.json"
        words = [self.recipe["name"]] if self.recipe else []
        if self.stage:
            words.append(f"stage {self.stage['name']}")
        elif not words or self.folder != self.run:
            words.append(self.folder.name)
        if state.is_file():
            words.append(f"step {_json(state).get('global_step')}")
        elif (self.folder / "graft.json").is_file():
            words.append("grafted, untrained")
        return ", ".join(words)

    def prompt(self) -> str:
        """The question of the run's stage, or of its last one; empty outside of a run."""
        tasks = self.recipe.get("tasks", {})
        stages = [self.stage, *reversed(self.recipe.get("stages", ()))]
        asked = [each["task"] for each in stages if each.get("task") in tasks] or list(tasks)
        return str(tasks[asked[0]]["prompt"]) if asked else ""


def find(path: str | Path) -> Source:
    """What a path means: a checkpoint, an adapter, or what a run's last finished stage hands over.

    Raises `InputError` when there is no such folder, no finished stage, or nothing of the kind in it.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        hint = "give the folder of a checkpoint, of an adapter, or of a run"
        raise InputError(Problem("there is no such folder", where=str(path), hint=hint))
    folder = folder.resolve()
    if (folder / "run.json").is_file():
        folder = _last_stage(folder)
    run = next((parent for parent in folder.parents if (parent / "run.json").is_file()), None)
    if (folder / ADAPTER).is_file():
        return Source(folder, _adapter_base(folder), run)
    if not (folder / "config.json").is_file():
        message = f"holds neither config.json nor {ADAPTER} nor run.json, so it is no checkpoint and no run"
        raise InputError(Problem(message, where=str(path)))
    return Source(folder, run=run)


def find_dynamic(path: str | Path) -> Source:
    """The same; `InputError` also when the model has no dynamic vision encoder."""
    from skinflow_plugins.models.dynamic import is_dynamic

    source = find(path)
    model_type = config_of(source).get("model_type")
    if not is_dynamic(model_type):
        message = f"has no dynamic vision encoder: the model_type of {source.weights} is {model_type!r}"
        raise InputError(Problem(message, where=str(path), hint=HINT))
    return source


def config_of(source: Source) -> Mapping[str, Any]:
    """The content of the config.json that a checkpoint goes by."""
    from skinflow_plugins.models.base_folder import base_folder

    found: Mapping[str, Any] = _json(base_folder(source.weights) / "config.json")
    return found


def before(source: Source) -> tuple[Source | None, str]:
    """What a checkpoint was before it was trained, or None and the reason.

    That is the base of a graft; in a run the model that the run began with; else what swift says it started
    from.
    """
    graft = source.folder / "graft.json"
    if graft.is_file():
        found, told = _json(graft)["base"], "graft.json"
    elif source.run is not None:
        found, told = str(source.run / "base"), "the run"
    else:
        found, told = source.base or source.arguments.get("model") or "", "args.json"
    if not found:
        return None, "nothing in the folder says what it was trained from; name it with --before"
    if not (Path(found) / "config.json").is_file():
        return None, f"{told} names {found}, which is not there; name it with --before"
    if Path(found).resolve() == source.folder:
        return None, "it is the model that the run began with"
    return find(found), ""


def open_source(source: Source, catalogue: Catalogue, **options: Any) -> tuple[Any, Any]:
    """The model, its adapter merged into it, and the processor; `options` go to `from_pretrained`."""
    from transformers import AutoProcessor

    from skinflow_plugins.models import load, register

    register([entry.value for entry in catalogue.table("base_models").values()])
    model = load(source.weights, **options)
    if source.base:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(source.folder)).merge_and_unload().eval()
    own = any((source.folder / name).is_file() for name in PROCESSOR)
    return model, AutoProcessor.from_pretrained(source.folder if own else source.weights)


def _last_stage(run: Path) -> Path:
    finished = [path.parent for path in (run / "stages").glob("*/done.json")]
    done = {stage: left for stage in finished if (left := stage / _handed_over(stage)).exists()}
    if not done:
        hint = "`skinflow run` goes on with it; a checkpoint of an unfinished stage can be named itself"
        raise InputError(Problem("no stage of this run is finished", where=str(run), hint=hint))
    return done[max(done, key=lambda stage: int(stage.name.partition("-")[0]))].resolve()


def _handed_over(stage: Path) -> str:
    """The link that a finished stage says it hands over; those of earlier releases say nothing."""
    return str(_json(stage / "done.json").get("hands_over", FINAL))


def _adapter_base(folder: Path) -> str:
    arguments = folder / "args.json"
    named = [
        _json(folder / ADAPTER).get("base_model_name_or_path"),
        _json(arguments).get("model") if arguments.is_file() else None,
    ]
    known = [str(each) for each in named if each]
    there = [each for each in known if Path(each).is_dir()]
    if not known:
        hint = "write it there as base_model_name_or_path"
        raise InputError(Problem(f"{ADAPTER} names no base model", where=str(folder), hint=hint))
    return (there or known)[0]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(Problem(f"cannot be read as JSON: {error}", where=str(path))) from error
