"""What happens between swift's rewards and its advantages: weights, group means, logs, alarms, an end.

swift scores each process's completions and gathers them; here the gathered batch is seen as a whole, which a
group is only then, as it may be spread over processes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from swift.utils import get_logger
from torch import Tensor

from skinflow_plugins.bridge import reward_log
from skinflow_plugins.bridge.evaluating import record
from skinflow_plugins.bridge.rewarding.batch_lines import batch_mark, global_lines, local_lines
from skinflow_plugins.bridge.rewarding.failures import FailureWatch
from skinflow_plugins.bridge.rewarding.groups import filled
from skinflow_plugins.bridge.rewarding.judge_account import JudgeAccount, shares
from skinflow_plugins.bridge.settings import StageSettings
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.monitoring import Alarm, AlarmSettings, Monitor, step_report
from skinflow_plugins.rewards.composition import Component


class Desk:
    """The rewards of one trainer; `stage` is None where no recipe started it, and then nothing is written."""

    def __init__(self, trainer: Any, stage: StageSettings | None) -> None:
        self.stage = stage
        self.folder = Path(trainer.args.output_dir)
        self.ours = {
            column: function
            for column, function in enumerate(trainer.reward_funcs)
            if hasattr(function, "skinflow_component")
        }
        components: list[Component] = [each.skinflow_component for each in self.ours.values()]
        self.components = {each.key: each for each in components}
        self.failures = FailureWatch(shares(components))
        self.account = JudgeAccount(components, self.folder if stage is not None else None)
        self.settings = AlarmSettings.from_mapping(
            {"list_asked": _list_asked(components), **(stage.alarms if stage else {})}
        )
        self.ranges = {each.key: (each.reward.low, each.reward.high) for each in components}
        self.monitor = Monitor(self.settings, ranges=self.ranges)
        self._zero = ""
        self._told: dict[str, set[str]] = {
            each.key: {"missing", "failed"} if each.reward.is_async or each.options.get("judge") else set()
            for each in components
        }
        self._step = self._batches = self._groups = 0  # the newest step; its batches and groups so far
        if stage is not None and trainer.accelerator.is_main_process:
            self._recall()

    def _recall(self) -> None:
        """Show the monitor what an interrupted run saw: an alarm rests on the steps before it."""
        evaluations = record.read(self.folder)
        for lines in reward_log.batches(reward_log.part(self.folder)):
            weights = {key: each.weight_at(lines[0]["step"]) for key, each in self.components.items()}
            self.monitor.add(lines, evaluations, weights)

    def set_weights(self, trainer: Any) -> int:
        """Give swift the weights of the step that is being made; its number, from 1."""
        step = int(trainer.state.global_step) + 1
        for column, function in self.ours.items():
            if function.skinflow_component.schedule is not None:
                trainer.reward_weights[column] = function.skinflow_component.weight_at(step)
        return step

    def finish(self, trainer: Any, samples: Sequence[Any], rewards: Tensor, step: int) -> Tensor:
        """The rewards (n, k) of the whole batch as they are trained on; logged, where a recipe says so.

        Raises `WorkFailed` in every process when too many rows could not be judged, or when an alarm rings
        that is to stop the run.
        """
        if not self.ours:
            return rewards
        groups = _groups(trainer, samples, len(rewards))
        columns = list(self.ours)
        result = rewards.clone()
        result[:, columns] = filled(rewards[:, columns], groups)  # None means zero in anyone else's rewards
        lines = gather_object(self._lines())
        if len(lines) != len(result):  # a trainer that gathers otherwise than we think
            raise WorkFailed(f"found {len(result)} rewards for {len(lines)} completions")
        values = [
            [None if math.isnan(value) else value for value in row] for row in result[:, columns].tolist()
        ]
        weights = {
            key: round(float(trainer.reward_weights[column]), 6)
            for column, key in zip(columns, self.keys, strict=True)
        }
        training = trainer.model.training
        batch, first = self._place(step) if training else (0, 0)
        numbers = [first + number for number in _numbered(groups)]
        whole = global_lines(lines, values, self.keys, weights, step, numbers, batch)
        if training:
            self._groups = max(numbers, default=first - 1) + 1
            self._train_step(trainer, whole, weights, step, batch)
        self.failures.add(whole)
        return result

    def _place(self, step: int) -> tuple[int, int]:
        """The number of this batch within its step, and that of its first group, both from 0.

        A step has several with `dynamic_sample`, or with `steps_per_generation` below the accumulation.
        """
        if step != self._step:
            self._step, self._batches, self._groups = step, 0, 0
        self._batches += 1
        return self._batches - 1, self._groups

    @functools.cached_property
    def keys(self) -> list[str]:
        """The keys of our rewards, in the order of swift's columns."""
        return list(self.components)

    def _lines(self) -> list[dict[str, Any]]:
        """What this process knows of its completions; all its scorers saw the same batch."""
        merged: list[dict[str, Any]] = []
        for scorer in dict.fromkeys(function.scorer for function in self.ours.values()):
            assert scorer.last is not None  # swift has just asked every reward
            completions, kwargs, future = scorer.last
            found = local_lines(future.result(), completions, kwargs)
            merged = [_joined(*pair) for pair in zip(merged, found, strict=True)] if merged else found
        return merged

    def _train_step(
        self,
        trainer: Any,
        lines: Sequence[Mapping[str, Any]],
        weights: Mapping[str, float],
        step: int,
        batch: int,
    ) -> None:
        usage = gather_object([self.account.since()])
        alarms: list[Alarm] = []
        if self.stage is not None and trainer.accelerator.is_main_process:
            report, alarms = self.monitor.add(lines, record.read(self.folder), weights)
            reward_log.append(reward_log.part(self.folder), lines)
            reward_log.append(self.folder / reward_log.STEPS, [{**report, **batch_mark(batch)}])
            reward_log.append(self.folder / reward_log.ALARMS, [each.as_dict() for each in alarms])
            spent = [{**line, **batch_mark(batch)} for line in self.account.line(usage, step)]
            reward_log.append(self.folder / reward_log.USAGE, spent)
            self._say(step, report, alarms)
        else:
            report = step_report(lines, weights, ranges=self.ranges)
        self._log(trainer, report)
        self._stop(alarms)

    def _say(self, step: int, report: Mapping[str, Any], alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            get_logger().warning(f"skinflow: alarm at step {step}: {alarm.message}")
        why = report.get("zero_gradient") or ""
        state = why.partition(":")[0]  # no gradient, or little; the rest has counts, which change every step
        if state and state != self._zero:  # a state that lasts is said once
            get_logger().warning(f"skinflow: step {step}: {why}")
        self._zero = state

    def _log(self, trainer: Any, report: Mapping[str, Any]) -> None:
        """What swift does not log itself, into its own loggers: mean and std of a component are there.

        A curve that can only be flat is left out: no gate, no schedule, nothing that ever was missing.
        """
        metrics = trainer._metrics["train"]
        for key, figures in report["components"].items():
            component = self.components[key]
            self._told[key] |= {name for name in ("missing", "failed") if figures.get(name)}
            names = ["min", "max", *sorted(self._told[key])]
            names += ["gated"] * (component.gate is not None) + ["weight"] * (component.schedule is not None)
            for name in names:
                if figures.get(name) is not None:
                    metrics[f"rewards/{key}/{name}"].append(float(figures[name]))
            for name, mean in figures.get("marks", {}).items():
                metrics[f"rewards/{key}/{name}"].append(float(mean))

    def _stop(self, alarms: Sequence[Alarm]) -> None:
        """End the run in all processes where an alarm that is to stop it rang in the first."""
        if not self.settings.stop_on:
            return
        stopping = [each.message for each in alarms if each.kind in self.settings.stop_on]
        told = broadcast_object_list([stopping])
        if told[0]:
            raise WorkFailed(
                f"alarms.stop_on: {'; '.join(told[0])}; see {self.folder / reward_log.ALARMS}. With the "
                "alarm taken out of stop_on, `skinflow run` goes on from the last checkpoint"
            )


def _list_asked(components: Sequence[Component]) -> int | None:
    """How many items the rewards let a list have: growing up to there is no gaming."""
    lengths = []
    for each in components:
        defaults = {option.name: option.default for option in each.reward.options}
        lengths.append(each.options.get("list_length", defaults.get("list_length")))
    return max((length for length in lengths if isinstance(length, int)), default=None)


def _groups(trainer: Any, samples: Sequence[Any], count: int) -> list[Any]:
    """Which rows of the gathered batch compete: those of one prompt."""
    if trainer.dynamic_num_samples:
        return list(gather_object([each.prompt_id for each in samples]))
    size = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
    return [row // size for row in range(count)]


def _numbered(groups: Sequence[Any]) -> list[int]:
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(group, len(numbers)) for group in groups]


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two lines about one completion, by different rewards."""
    found = dict(one)
    for name, part in other.items():
        mine = found.get(name)
        if isinstance(mine, dict):
            found[name] = mine | part
        elif isinstance(mine, list):
            found[name] = mine + part
        else:
            found[name] = part
    return found
