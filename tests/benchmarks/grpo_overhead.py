"""How much of a GRPO step is our own code: rewards, their guard, rewards.jsonl and the callback.

    python tests/benchmarks/grpo_overhead.py [STEPS]

Runs the quickstart recipe's diagnosis stage (with its replay, so two tasks and four rewards) on a fresh tiny
model through the real `swift rlhf`, with a clock around everything of ours that swift calls during a step.
Prints milliseconds per step and the share; asserts nothing.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("LOG_LEVEL", "ERROR")

SPENT: Counter[str] = Counter()


def clocked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its time added to SPENT."""

    @functools.wraps(function)
    def timed(*arguments: Any, **keywords: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            SPENT[name] += time.perf_counter() - started

    return timed


def main(steps: int) -> None:
    """Run the stage and print the table."""
    from skinflow_plugins.bridge import adapters, callback, register
    from skinflow_plugins.bridge.launch import launch
    from skinflow_plugins.bridge.rewarding.desk import Desk
    from skinflow_plugins.bridge.run import prepare_run
    from skinflow_plugins.bridge.swift_yaml import arguments_of
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.recipe.load import load

    make = adapters.reward_class

    def clocked_class(*arguments: Any) -> type:
        made: Any = make(*arguments)
        made.__call__ = clocked(made.__name__, made.__call__)
        return made

    register.adapters.reward_class = clocked_class
    Desk.finish = clocked("Desk.finish", Desk.finish)  # type: ignore[method-assign]
    for name in ("on_train_begin", "on_train_end"):
        method = getattr(callback.SkinflowCallback, name)
        setattr(callback.SkinflowCallback, name, clocked(name, method))

    with tempfile.TemporaryDirectory() as folder:
        # Four rows per caption and list are enough: what is measured does not depend on what is learnt.
        changes = [
            f"stages.*.swift.max_steps={steps}",
            "data.train=600",
            "data.validation=60",
            "data.test=60",
        ]
        loaded = load("quickstart", changes)
        root = Path(folder) / "run"
        planned, _ = prepare_run(loaded, catalogue(), root)
        stage = planned.stages[-1]
        arguments = arguments_of(stage)
        arguments[arguments.index("--model") + 1] = planned.base
        arguments[arguments.index("--logging_steps") + 1] = "1"
        launch(loaded.recipe.launch, stage.command, arguments, stage.environment, what="the benchmark")
        log = (Path(planned.folder(stage)) / "logging.jsonl").read_text().splitlines()
    times = [row["step_time"] for row in map(json.loads, log) if "step_time" in row]
    total, ours = sum(times), sum(SPENT.values())
    print(f"\n{len(times)} steps of {stage.rows.batch} prompts, {total / len(times) * 1e3:.0f} ms each")
    for name, seconds in SPENT.most_common():
        print(f"  {name:32} {seconds / len(times) * 1e3:8.2f} ms per step")
    print(f"  our code: {ours / total:.2%} of a step")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
