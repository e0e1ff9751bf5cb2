"""Start swift: the real program as a process of its own, or its `main` function inside ours.

Both get the same arguments. Inside our process, importing swift (about ten seconds) is paid once for a whole
run; a process of its own is what GPUs want, because it gives all memory back, and what torchrun needs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.settings import REPORT_VARIABLE
from skinflow_plugins.errors import SkinflowError, WorkFailed
from skinflow_plugins.orphans import PARENT_VARIABLE
from skinflow_plugins.recipe.plan import Plan, StagePlan
from skinflow_plugins.recipe.schema import Launch


def stage_argv(plan: Plan, stage: StagePlan, how: Launch) -> list[str]:
    """The arguments for a planned stage: its YAML file, or all of them for a swift inside our process."""
    if how.mode == "inline":
        from skinflow_plugins.bridge.swift_yaml import arguments_of

        return arguments_of(stage)
    return [str(Path(plan.root) / f"{stage.slug}.yaml")]


def launch(
    how: Launch, command: str, argv: Sequence[str], environment: Mapping[str, str], *, what: str
) -> None:
    """Run `swift COMMAND argv` to its end. `what` names it in the error.

    Raises `WorkFailed` when swift fails; errors of our own pass through as they are.
    """
    if how.mode == "inline":
        _inline(command, argv, environment, what)
    else:
        _process(how, command, argv, environment, what)


def _process(
    how: Launch, command: str, argv: Sequence[str], environment: Mapping[str, str], what: str
) -> None:
    # What the plan was made for, whatever the shell says of processes and nodes.
    inherited = {k: v for k, v in os.environ.items() if k not in ("NPROC_PER_NODE", "NNODES", "NODE_RANK")}
    if how.processes > 1:
        environment = {**environment, "NPROC_PER_NODE": str(how.processes)}
    # The interpreter's own swift, whatever the PATH says. PYTHONUNBUFFERED keeps progress bars alive.
    done = subprocess.run(
        [sys.executable, "-m", "swift.cli.main", command, *argv],
        env={**inherited, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid()), **environment},
        check=False,
    )
    if done.returncode:
        raise WorkFailed(
            f"{what}: swift {command} ended with exit code {done.returncode}; its own message stands above"
        )


def _inline(command: str, argv: Sequence[str], environment: Mapping[str, str], what: str) -> None:
    with variables(environment):
        from swift import pipelines

        from skinflow_plugins.bridge.register import register

        register()  # swift runs the plug-in file once per process, and each stage has rewards of its own
        mains: dict[str, Any] = {
            "sft": pipelines.sft_main,
            "rlhf": pipelines.rlhf_main,
            "infer": pipelines.infer_main,
        }
        try:
            mains[command](list(argv))
        except SkinflowError:
            raise
        except (Exception, SystemExit) as error:  # argparse exits
            if isinstance(error, SystemExit) and not error.code and REPORT_VARIABLE in environment:
                return  # the parity check has seen enough
            raise WorkFailed(f"{what}: swift {command} failed: {type(error).__name__}: {error}") from error


_TORCHRUN = (
    "NPROC_PER_NODE",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while; whoever comes next must not see them, nor those that swift sets.

    With vLLM swift sets torchrun's variables, by which a later child would take itself for a part of this
    process's group.
    """
    before = {name: os.environ.get(name) for name in (*values, *_TORCHRUN)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
