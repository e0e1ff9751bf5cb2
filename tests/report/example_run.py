"""A run folder as `skinflow run` leaves it: finished, or killed within its last stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skinflow_plugins.monitoring import Monitor

HOSTILE = ("</script><script>alert(1)</script>", "\u202enwod\x00", "lone \ud800 surrogate", "plain")


def write_run(root: Path, *, killed: bool = False, watched: bool = True) -> Path:
    """A run folder with three stages; a killed one ends in half a line within its last stage.

    One that was not `watched` is of a version that wrote no steps, no alarms and no reasons.
    """
    rng = np.random.default_rng(3)
    stages: list[dict[str, Any]] = [
        {"name": "warmup", "kind": "sft", "teach": {"caption": {}}},
        {
            "name": "caption",
            "kind": "grpo",
            "task": "caption",
            "rewards": [{"caption_fields": {}}, {"format": {}}],
        },
        {
            "name": "diagnosis",
            "kind": "grpo",
            "task": "diagnosis",
            "rewards": [{"ranked_diagnosis": {}}, {"format": {}}],
        },
    ]
    recipe = {
        "name": "skinflow_qwen2_5_vl_7b",
        "summary": "both stages of the paper on a 7B model",
        "seed": 0,
        "model": {"base": "Qwen/Qwen2.5-VL-7B-Instruct", "vision": {"encoder": "dve"}},
        "taxonomy": "fitzpatrick17k",
        "data": {"source": "fitzpatrick17k"},
        "stages": stages,
    }
    root.mkdir(parents=True, exist_ok=True)
    _dump(root / "run.json", {"digest": "ab12" * 16, "recipe": recipe})
    packages = {"skinflow-plugins": "0.1.0", "ms-swift": "4.6.0", "torch": "2.13.0", "transformers": "5.19.0"}
    facts = {
        "python": "3.11.7",
        "platform": "Linux",
        "processor": "x86_64",
        "cores": 64,
        "packages": packages,
    }
    _dump(root / "environment.json", facts)
    for number, (stage, steps) in enumerate(zip(stages, (400, 40, 300), strict=True), start=1):
        folder = root / "stages" / f"{number}-{stage['name']}"
        folder.mkdir(parents=True)
        _log(folder / "logging.jsonl", rng, stage["kind"], steps)
        last = number == len(stages)
        if stage["kind"] == "grpo":
            name = "rewards.rank0.jsonl" if killed and last else "rewards.jsonl"
            _rewards(folder / name, rng, stage, steps)
            if watched:
                _watch(folder / name, stage, steps)
        if last:
            lines = [
                {
                    "step": step,
                    "figures": {
                        "top_k.strict@1": 0.3 + 0.0003 * step,
                        "top_k.strict@6": 0.5 + 0.0005 * step,
                        "safety.malignant_miss@6": 0.3 - 0.0005 * step,
                        "balanced.top1": 0.28 + 0.0002 * step,
                        "hierarchy.clinical.f1_micro": 0.4,
                    },
                }
                for step in range(50, steps + 1, 50)
            ]
            _lines(folder / "evaluations.jsonl", lines)
        if not (killed and last):
            _dump(folder / "done.json", {"seconds": 3600.0 * number + 7, "resumed": number == 2})
    if killed:
        with (root / "stages/3-diagnosis/rewards.rank0.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"step": 301, "id": "x", "completion": "psor')
        return root
    rows = [
        {
            "name": "after warmup",
            "records": 1658,
            "diagnosis_top1": 0.221,
            "diagnosis_top_k": 0.481,
            "distinct_first_answers": 88,
        },
        {
            "name": "after caption",
            "records": 1658,
            "diagnosis_top1": 0.24,
            "diagnosis_top_k": 0.5,
            "distinct_first_answers": 90,
        },
        {
            "name": "after diagnosis",
            "records": 1658,
            "diagnosis_top1": 0.39,
            "diagnosis_top_k": 0.65,
            "distinct_first_answers": 97,
        },
        {"name": "best constant answer", "records": 1658, "diagnosis_top1": 0.039, "diagnosis_top_k": 0.18},
    ]
    gates = [
        {"stage": "caption", "metric": "caption_field_f1", "value": 0.71, "at_least": 0.6},
        {"stage": "diagnosis", "metric": "diagnosis_top1", "value": 0.39, "at_least": 0.4},
    ]
    _dump(root / "results.json", {"recipe": recipe["name"], "split": "test", "rows": rows, "gates": gates})
    return root


def _rewards(path: Path, rng: np.random.Generator, stage: Mapping[str, Any], steps: int) -> None:
    names = [f"{stage['name']}.{name}" for reward in stage["rewards"] for name in reward]
    lines = []
    for step in range(1, steps + 1):
        for _ in range(8):
            learnt = 0.25 + 0.5 * step / steps
            rewards = dict(
                zip(
                    names,
                    (float(np.clip(rng.normal(learnt, 0.15), 0, 1)), float(rng.random() < 0.9)),
                    strict=True,
                )
            )
            total = round(rewards[names[0]] + 0.2 * rewards[names[1]], 6)
            text = f"<answer>psoriasis; eczema</answer>{HOSTILE[step % len(HOSTILE)]}"
            lines.append(
                {
                    "step": step,
                    "id": f"train-{step}",
                    "task": stage["task"],
                    "completion": text,
                    "rewards": rewards,
                    "total": total,
                }
            )
    _lines(path, lines)


def _watch(path: Path, stage: Mapping[str, Any], steps: int) -> None:
    """Give the lines of a stage reasons, groups, marks and a gate, and watch them as a stage does."""
    rng = np.random.default_rng(7)
    by_step: dict[int, list[dict[str, Any]]] = {}
    main, form = (f"{stage['name']}.{name}" for reward in stage["rewards"] for name in reward)
    for row, text in enumerate(path.read_text(encoding="utf-8").splitlines()):
        line = json.loads(text)
        learnt = line["step"] / steps
        line |= {"group": row % 8 // 4, "id": f"train-{line['step']}-{row % 8 // 4}", "generation": row % 4}
        line["tokens"] = int(60 * (1 + learnt) * rng.uniform(0.8, 1.2) + 80 * learnt * line["rewards"][main])
        if 0.3 < learnt < 0.4:
            line["rewards"] = {main: 1.0, form: 1.0}
        line["why"] = {
            main: f"psoriasis at rank 2; {HOSTILE[row % len(HOSTILE)]}",
            form: "as asked for" if line["rewards"][form] else "words before the first item",
        }
        line["marks"] = {main: {"generic": float(rng.random() < 0.6 * learnt), "listed": 2.0}}
        if rng.random() < 0.05:
            line["missing"] = {main: "the judge did not answer within 20 s"}
            line["failed"] = [main]
        elif rng.random() < 0.5 - learnt:
            line["gated"] = {main: line["rewards"][main]}
            line["rewards"][main] = 0.0
        line["total"] = round(line["rewards"][main] + (0.5 - 0.3 * learnt) * line["rewards"][form], 6)
        by_step.setdefault(line["step"], []).append(line)
    monitor, reports, alarms, bills = Monitor(), [], [], []
    for step, lines in by_step.items():
        report, raised = monitor.add(lines, (), {main: 1.0, form: round(0.5 - 0.3 * step / steps, 6)})
        reports.append(report)
        alarms += [each.as_dict() for each in raised]
        bill = {"calls": 8 - step % 3, "hits": step % 3, "retries": int(step % 9 == 0), "cost": 0.0016}
        tokens = {"prompt_tokens": 4_000, "completion_tokens": 400}
        failures = {"timeout": 1} if step % 9 == 0 else {}
        bills.append({"step": step, **bill, **tokens, "currency": "USD", "failures": failures})
    _lines(path, [line for lines in by_step.values() for line in lines])
    _lines(path.parent / "reward_steps.jsonl", reports)
    _lines(path.parent / "alarms.jsonl", alarms)
    _lines(path.parent / "judge_usage.jsonl", bills)


def _log(path: Path, rng: np.random.Generator, kind: str, steps: int) -> None:
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1, 2):
        line: dict[str, Any] = {
            "loss": 3 * float(np.exp(-step / 60)) + 0.4 + 0.05 * float(rng.random()),
            "grad_norm": 1.0,
        }
        if kind == "grpo":
            length = 60 + 30 * float(np.sin(step / 40)) + float(rng.normal(0, 2))
            line = {
                "loss": 0.001 * float(rng.normal()),
                "kl": 0.02 * step / steps + 0.001 * float(rng.random()),
                "completions/mean_length": length,
                "completions/min_length": length - 22,
                "completions/max_length": length + 41,
            }
        else:
            line["token_acc"] = 1 - float(np.exp(-step / 90)) * 0.8
        lines.append({**line, "global_step/max_steps": f"{step}/{steps}"})
    lines.append({"train_runtime": 18.0, "train_loss": 1.2, "global_step/max_steps": f"{steps}/{steps}"})
    lines.append({"model_parameter_info": "7B", "log_history": []})
    _lines(path, lines)


def _lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _dump(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
