"""Run a recipe: prepare, train each stage, ask it greedily, hold it to its gate, write what it reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skinflow_plugins.bridge import prepare, results
from skinflow_plugins.bridge.entry_path import plugin_path
from skinflow_plugins.bridge.predict import predict
from skinflow_plugins.bridge.prepare import Say
from skinflow_plugins.bridge.rewarding.judge_account import check_judges
from skinflow_plugins.bridge.train import train
from skinflow_plugins.bridge.workspace import Workspace, open_workspace
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.recipe import accelerators
from skinflow_plugins.recipe.load import Loaded
from skinflow_plugins.recipe.machine import this_machine
from skinflow_plugins.recipe.plan import Plan, StagePlan, plan

PATIENCE = 120.0
Questions = Mapping[tuple[str, str], Path]


def run(loaded: Loaded, catalogue: Catalogue, root: Path, say: Say) -> list[results.Row]:
    """Run a checked recipe in the folder `root`, or go on where an earlier call stopped.

    Returns the rows of the result table. Raises `InputError` before anything is trained when input is wrong,
    `WorkFailed` when a stage fails or misses its gate.
    """
    refuse(loaded)
    root = root.absolute()
    # The rollout server of the same run may be preparing the folder.
    patience = PATIENCE if loaded.recipe.rollouts.mode == "server" else 0.0
    with open_workspace(root, loaded.mapping, patience) as workspace:
        stages = plan(loaded.recipe, catalogue, root=root, plugin=plugin_path()).stages
        check_judges([stage for stage in stages if not workspace.done(stage.slug)], say)
        say("reading and checking the data")
        planned, questions = prepare_run(loaded, catalogue, root, say)
        return _stages(planned, catalogue, workspace, questions, say)


def refuse(loaded: Loaded) -> None:
    """Raise `InputError` where the recipe asks by name for what this machine does not have.

    A plan may be written on another machine than the one that will train; so only a run is refused.
    """
    found = accelerators.refusals(loaded.recipe, this_machine())
    if problems := [loaded.place(path).problem(path, *texts) for path, *texts in found]:
        raise InputError(problems)


def prepare_run(loaded: Loaded, catalogue: Catalogue, root: Path, say: Say = print) -> tuple[Plan, Questions]:
    """Write everything that a run needs below `root`, an absolute folder that the caller has claimed.

    Returns the plan and the files of the questions that are asked after each stage. Raises `InputError` when
    the data is wrong.
    """
    planned = plan(loaded.recipe, catalogue, root=root, plugin=plugin_path())
    records = prepare.read_records(loaded.recipe, catalogue, root)
    prepare.write_base(planned, catalogue, records, say)
    prepare.write_plan(planned, records)
    return planned, prepare.write_evaluation(planned, records)


def _stages(
    planned: Plan, catalogue: Catalogue, workspace: Workspace, questions: Questions, say: Say
) -> list[results.Row]:
    recipe = planned.recipe
    rows: list[results.Row] = []
    gates: list[results.GateResult] = []
    answers: Mapping[str, Sequence[Prediction]] = {}
    for stage in planned.stages:
        say(f"stage {stage.number} of {len(planned.stages)}: {stage.stage.name} (swift {stage.command})")
        train(planned, stage, workspace, say)
        answers = _answers(planned, stage, questions, recipe.eval.split)
        rows.append(results.row(recipe, catalogue, f"after {stage.stage.name}", answers))
        say(_spoken(rows[-1]))
        if stage.stage.gate:
            gates.append(_gate(planned, catalogue, stage, questions))
            say(str(gates[-1]))
        last = stage is planned.stages[-1]
        if last or (gates and not gates[-1].passed):
            rows.append(results.constant_row(recipe, catalogue, answers))
        if last and any(split == "permuted" for _, split in questions):
            permuted = _answers(planned, stage, questions, "permuted")
            rows.append(
                results.row(recipe, catalogue, f"after {stage.stage.name}, {results.PERMUTED}", permuted)
            )
        if last or (gates and not gates[-1].passed) or not workspace.done(planned.stages[stage.number].slug):
            _write(planned, workspace, rows, gates)  # a later call must not put half a table over a whole one
        if gates and not gates[-1].passed:
            raise WorkFailed(f"{gates[-1]}\n    the run stops here; {workspace.root} keeps what was reached")
    return rows


def _answers(
    planned: Plan, stage: StagePlan, questions: Questions, split: str
) -> dict[str, list[Prediction]]:
    folder = Path(planned.root) / "predictions"
    return {
        task: predict(planned, stage, file, folder / f"{stage.slug}-{task}-{split}.jsonl")
        for (task, asked), file in questions.items()
        if asked == split
    }


def _gate(planned: Plan, catalogue: Catalogue, stage: StagePlan, questions: Questions) -> results.GateResult:
    gate = stage.stage.gate
    assert gate is not None
    target = results.target_of(catalogue.get("metrics", gate.metric))
    wanted = {
        key: file
        for key, file in questions.items()
        if key[1] == "validation"
        and planned.recipe.tasks[key[0]].target == target
        # Of several tasks with answers of this form, the gate is about the one that the stage asked.
        and not (_asks(planned, stage, target) and key[0] != stage.stage.task)
    }
    found = _answers(planned, stage, wanted, "validation")
    predictions = [prediction for part in found.values() for prediction in part]
    value = results.metric_value(planned.recipe, catalogue, gate.metric, predictions, gate.options)
    return results.GateResult(stage.stage.name, gate, value)


def _asks(planned: Plan, stage: StagePlan, target: str) -> bool:
    """Whether the stage's own task has answers of this form."""
    return stage.stage.task is not None and planned.recipe.tasks[stage.stage.task].target == target


def _spoken(row: results.Row) -> str:
    return f"{row.name}: " + ", ".join(f"{k} {results.number(k, v)}" for k, v in row.metrics.items())


def _write(
    planned: Plan, workspace: Workspace, rows: Sequence[results.Row], gates: Sequence[results.GateResult]
) -> None:
    seconds = {
        stage.slug: workspace.seconds(stage.slug) for stage in planned.stages if workspace.done(stage.slug)
    }
    prepare.write_text(workspace.root / "results.json", results.as_json(planned.recipe, rows, gates, seconds))
    prepare.write_text(workspace.root / "results.md", results.as_markdown(planned.recipe, rows))
