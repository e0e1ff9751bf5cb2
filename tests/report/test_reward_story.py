"""The rewards of a stage as a report tells them: curves, standstills, alarms, the bill, completions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.report.page import page, sections
from skinflow_plugins.report.part_rewards import rewards
from skinflow_plugins.report.run_facts import training_facts
from skinflow_plugins.report.run_story import RunStory, StageStory, read_run
from skinflow_plugins.report.svg import Canvas
from skinflow_plugins.report.writing import write_report

WriteRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots without their picture, which takes most of the time and is looked at in other tests."""
    monkeypatch.setattr(Canvas, "svg", lambda *_: "<svg></svg>")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, write_run: WriteRun) -> Path:
    return write_run(tmp_path_factory.mktemp("rewards") / "run")


@pytest.fixture(scope="module")
def stage(root: Path) -> StageStory:
    return read_run(root).stages[2]


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def write(folder: Path, name: str, lines: list[Any]) -> None:
    texts = (line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (folder / name).write_text("".join(texts), encoding="utf-8")


def told(run: RunStory) -> str:
    """The text of all sections on rewards."""
    return repr(rewards(run))


def test_every_component_has_its_curve_band_and_shares(root: Path, stage: StageStory) -> None:
    lines = rows(root / "stages/3-diagnosis", "rewards.jsonl")
    ranked, form = sorted(stage.watched.components, key=lambda each: each.key, reverse=True)
    assert ranked.key == "diagnosis.ranked_diagnosis"
    own = [
        line["rewards"][ranked.key]
        for line in lines
        if line["step"] == 40 and ranked.key not in line.get("missing", ())
    ]
    at = ranked.mean.steps.index(40)
    assert ranked.mean.values[at] == pytest.approx(sum(own) / len(own), abs=1e-6)
    assert ranked.mean.low[at] <= ranked.mean.values[at] <= ranked.mean.high[at]
    assert min(own) - 1e-6 <= ranked.mean.low[at]
    assert ranked.mean.high[at] <= max(own) + 1e-6
    assert form.weight.values[0] > form.weight.values[-1]
    assert {mark.name for mark in ranked.marks} == {"generic", "listed"}
    assert sum(ranked.failed.values) == sum(ranked.missing.values) > 0
    assert any(ranked.gated.values)
    assert not any(form.gated.values)


def test_standstills_are_ranges_of_steps(root: Path, stage: StageStory) -> None:
    zero = [
        row["step"] for row in rows(root / "stages/3-diagnosis", "reward_steps.jsonl") if row["zero_gradient"]
    ]
    (only,) = stage.watched.standstills
    assert (only.first, only.last, only.little) == (zero[0], zero[-1], len(zero))
    assert only.steps == zero[-1] - zero[0] + 1
    assert only.why.startswith("No gradient from the rewards: all 2 groups are without spread")
    assert f"Steps {only.first} to {only.last}, in {only.little} of {only.steps} of them" in told(
        read_run(root)
    )


def test_steps_far_apart_are_two_standstills(tmp_path: Path, write_run: WriteRun) -> None:
    root = write_run(tmp_path / "run")
    folder = root / "stages/3-diagnosis"
    lines = rows(folder, "reward_steps.jsonl")
    for line in lines:
        zero = line["step"] in (3, 4, 20)
        line["zero_gradient"] = f"Why of {line['step']}." if zero else None
        line["silent_groups"] = line["groups"] if line["step"] == 4 else 1
    write(folder, "reward_steps.jsonl", lines)
    found = read_run(root).stages[2].watched.standstills
    assert [(each.first, each.last, each.little, each.none, each.why) for each in found] == [
        (3, 4, 2, 1, "Why of 3."),
        (20, 20, 1, 0, "Why of 20."),
    ]


def test_alarms_stand_on_the_page_with_their_examples(root: Path, stage: StageStory) -> None:
    kinds = [alarm["kind"] for alarm in stage.watched.alarms]
    assert {"failed", "generic", "length"} <= set(kinds)
    text = told(read_run(root))
    for alarm in stage.watched.alarms:
        assert alarm["message"] in text
        assert f"step {alarm['step']}" in text
        assert alarm["example"]["id"] in text
    assert "a reward fails to judge" in text
    assert "failed, the mean of its group: the judge did not answer within 20 s" in text
    assert f"diagnosis: {len(kinds)}" in page(None, run=read_run(root))


def test_a_stage_without_an_alarm_says_so(tmp_path: Path, write_run: WriteRun) -> None:
    root = write_run(tmp_path / "run")
    for stage in ("2-caption", "3-diagnosis"):
        (root / "stages" / stage / "alarms.jsonl").unlink()
    text = page(None, run=read_run(root))
    assert text.count("No alarm was raised in this stage.") == 2
    assert "<dt>Alarms</dt><dd>none</dd>" in text


def test_the_bill_of_the_judge_is_the_sum_of_its_steps(root: Path, stage: StageStory) -> None:
    lines = rows(root / "stages/3-diagnosis", "judge_usage.jsonl")
    bill = stage.watched.bill
    assert bill is not None
    for name in ("calls", "hits", "retries", "prompt_tokens", "completion_tokens", "cost"):
        assert bill.totals[name] == pytest.approx(sum(line[name] for line in lines))
    assert bill.failures == {"timeout": sum(line["failures"].get("timeout", 0) for line in lines)}
    assert "0.4800 USD" in told(read_run(root))


def test_a_step_of_several_batches_is_billed_for_all(write_run: WriteRun, tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    folder = root / "stages/3-diagnosis"
    first = rows(folder, "judge_usage.jsonl")[0]
    with (folder / "judge_usage.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**first, "batch": 1, "calls": 1000}) + "\n")
    before = sum(line["calls"] for line in rows(folder, "judge_usage.jsonl")) - 1000
    bill = read_run(root).stages[2].watched.bill
    assert bill is not None
    assert bill.totals["calls"] == before + 1000


def test_a_judge_without_a_price_costs_an_unknown_amount(tmp_path: Path, write_run: WriteRun) -> None:
    root = write_run(tmp_path / "run")
    folder = root / "stages/3-diagnosis"
    lines = [{**line, "cost": 0.0, "currency": ""} for line in rows(folder, "judge_usage.jsonl")]
    write(folder, "judge_usage.jsonl", lines)
    assert "no price is known" in told(read_run(root))


def test_the_last_step_is_shown_by_its_best_middle_and_worst(root: Path, stage: StageStory) -> None:
    last = [line for line in rows(root / "stages/3-diagnosis", "rewards.jsonl") if line["step"] == 300]
    totals = sorted((line["total"] for line in last), reverse=True)
    assert [line["total"] for line in stage.watched.shown] == [totals[0], totals[4], totals[-1]]
    assert "words before the first item" in told(read_run(root))


def test_an_old_run_has_no_such_section(tmp_path: Path, write_run: WriteRun) -> None:
    run = read_run(write_run(tmp_path / "run", watched=False))
    assert not any(stage.watched for stage in run.stages)
    assert [section.key for section in sections({}, run, tmp_path)] == ["summary", "run", "versions", "use"]
    assert training_facts(run) == {}
    assert "<dt>Alarms</dt>" not in page(None, run=run)


def test_a_run_in_progress_is_told_as_far_as_it_is(tmp_path: Path, write_run: WriteRun) -> None:
    root = write_run(tmp_path / "run", killed=True)
    folder = root / "stages/3-diagnosis"
    with (folder / "reward_steps.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 301, "components": {"diagno')
    run = read_run(root)
    assert "1 line is broken in reward_steps.jsonl and left out" in run.stages[2].missing
    assert run.stages[2].watched.total is not None
    assert run.stages[2].watched.total.steps[-1] == 300
    assert "The stage is not finished: this is how far it got." in told(run)
    assert len(run.stages[2].watched.shown) == 3


def test_whatever_stands_in_the_logs_is_told_or_left_out(tmp_path: Path, write_run: WriteRun) -> None:
    root = write_run(tmp_path / "run")
    folder = root / "stages/3-diagnosis"
    strange = [
        {"step": 1, "components": {"a": {"mean": None, "std": "x", "marks": 3}, "b": 7}, "total": None},
        {"step": 2, "components": [1], "groups": 0, "silent_groups": None, "zero_gradient": 5},
        {"step": "three"},
        "not a line\n",
    ]
    write(folder, "reward_steps.jsonl", strange)
    hostile = {"step": 1, "kind": "<b>&{{7*7}}", "message": "</p><script>x</script>", "example": "none"}
    bare = {
        "step": 2,
        "kind": "length",
        "example": {"rewards": {"a": None}, "missing": {"c": "gone"}, "failed": 1},
    }
    write(folder, "alarms.jsonl", [hostile, bare, {"step": None}])
    write(
        folder, "judge_usage.jsonl", [{"step": 1, "batch": None, "calls": "many", "failures": {"429": "x"}}]
    )
    run = read_run(root)
    text = page(None, run=run)
    assert "&lt;/p&gt;&lt;script&gt;x&lt;/script&gt;" in text
    assert "<script>x" not in text
    assert "no judgement, the mean of its group: gone" in text
    json.dumps(training_facts(run), allow_nan=False)


def test_the_json_of_a_report_has_the_facts_of_the_page(
    tmp_path: Path, root: Path, stage: StageStory, example: dict[str, Any]
) -> None:
    write_report(example, tmp_path, run=read_run(root))
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["training"]["stages"]
    assert [each["name"] for each in found] == ["caption", "diagnosis"]
    facts = found[1]
    mean = facts["rewards"]["diagnosis.ranked_diagnosis"]["mean"]
    ranked = next(each for each in stage.watched.components if each.key == "diagnosis.ranked_diagnosis")
    assert (tuple(mean["steps"]), tuple(mean["values"])) == (ranked.mean.steps, ranked.mean.values)
    assert len(facts["alarms"]) == len(stage.watched.alarms)
    assert facts["judge"]["calls"] == 2_100
    assert facts["zero_gradient"][0]["why"] == stage.watched.standstills[0].why
    assert "training" not in example
