"""Plans as text: the ms-swift YAML of a stage, and the whole plan as `skinflow plan` prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from skinflow_plugins.bridge.settings import settings_of
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.plan import Plan, StagePlan
from skinflow_plugins.recipe.schema import Evaluate


def stage_yaml(plan: Plan, stage: StagePlan) -> str:
    """What `swift sft|rlhf FILE` reads. Values that we chose carry their reason as a comment."""
    lines = [
        f"# {plan.recipe.name}, stage {stage.number} of {len(plan.stages)}: {stage.stage.name}",
        f"# swift {stage.command} {plan.root / stage.slug}.yaml",
        "ENV:",
        *(f"  {name}: {_scalar(value)}" for name, value in stage.environment.items()),
    ]
    lines += [_line(name, argument) for name, argument in stage.arguments.items()]
    return "\n".join(lines) + "\n"


def _line(name: str, argument: Explained) -> str:
    text = f"{name}: {_scalar(_plain(argument.value))}"
    return f"{text}  # {argument.why}" if argument.why else text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _scalar(value: Any) -> str:
    """One value in YAML's flow style, on one line."""
    if isinstance(value, float):
        # PyYAML would write 5e-07, which YAML 1.1 readers, swift's among them, take for text
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_scalar(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str) and not value.isidentifier() and "/" not in value:
        return json.dumps(value, ensure_ascii=False)
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")


def arguments_of(stage: StagePlan) -> list[str]:
    """The same arguments as a list for swift's `main` functions, written as swift's own YAML reader would."""
    return argv_of(stage.arguments)


def argv_of(arguments: Mapping[str, Explained]) -> list[str]:
    """Arguments as a command line has them."""
    argv: list[str] = []
    for name, argument in arguments.items():
        value = _plain(argument.value)
        argv.append(f"--{name}")
        if isinstance(value, list):
            argv += [str(item) for item in value]
        else:
            argv.append(json.dumps(value) if isinstance(value, dict) else str(value))
    return argv


def whole_plan(plan: Plan) -> str:
    """Everything that will run, as one text; kept as a golden file for every recipe we ship."""
    recipe = plan.recipe
    rows = [f"recipe {recipe.name}: {len(plan.stages)} stages from {plan.base} ({plan.family.name})"]
    rows += [f"note: {note}" for note in plan.notes]
    for stage in plan.stages:
        rows += ["", f"--- {stage.slug}.yaml", stage_yaml(plan, stage).rstrip("\n")]
        rows.append(f"# rows: {_rows(stage)}")
        if stage.stage.evaluate is not None:
            rows.append(f"# evaluate: {_evaluation(stage.stage.evaluate)}")
        if stage.stage.gate:
            gate = stage.stage.gate
            rows.append(f"# gate: {gate.metric} on the validation split must reach {gate.at_least}")
        if stage.rewards:
            rows += [f"--- {stage.slug}.skinflow.json", settings_of(plan, stage).to_json().rstrip("\n")]
    evaluation = recipe.eval
    limit = "all" if evaluation.limit is None else str(evaluation.limit)
    rows += [
        "",
        f"--- evaluation: {limit} records of the {evaluation.split} split after each stage, greedily",
    ]
    return "\n".join(rows) + "\n"


def _evaluation(evaluate: Evaluate) -> str:
    """When a stage is evaluated, on what, and by which figure its best checkpoint is chosen."""
    every = "every step" if evaluate.every == 1 else f"every {evaluate.every} steps"
    limit = "all" if evaluate.limit is None else str(evaluate.limit)
    text = f"{every}, on {limit} validation records"
    if evaluate.best is not None:
        text += f", best by {evaluate.best}"
    return text + (", which is handed on" if evaluate.use_best else "")


def _rows(stage: StagePlan) -> str:
    rows = stage.rows
    text = (
        "one pass over the training records per epoch"
        if rows.count is None
        else f"{rows.count} in file order"
    )
    text += f", {rows.batch} at a time"
    if stage.stage.balance:
        text += f", balanced over {stage.stage.balance}"
    if stage.stage.replay:
        text += f", {rows.share:.0%} of them replay stage {stage.stage.replay.stage}"
    return text
