"""The command line `skinflow`. Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 Ctrl-C.

Nothing heavy is imported before a verb runs, and torch, swift and transformers only by the verbs that train
or look at them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from skinflow_plugins.errors import InputError, SkinflowError


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one command line; `argv` is without the program's name, by default that of Python."""
    from skinflow_plugins.cli.parser import parse

    verb = ""
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        verb = arguments.verb
        code = int(arguments.do(arguments))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse, after --help or a message of its own
        return stop.code if isinstance(stop.code, int) else 2
    except SkinflowError as error:
        sys.stdout.flush()
        print(message(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last checkpoint" if verb in ("run", "demo") else ""
        print(f"\nskinflow: interrupted{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def message(error: SkinflowError) -> str:
    """What the user reads: every problem, numbered where there are several."""
    problems = error.problems if isinstance(error, InputError) else ()
    if len(problems) < 2:
        return f"skinflow: {error}"
    lines = [f"skinflow: {len(problems)} problems"]
    for number, problem in enumerate(problems, start=1):
        label = f"{number:>3}. "
        lines.append("")
        lines.append(label + str(problem).replace("\n", "\n" + " " * (len(label) - 4)))
    return "\n".join(lines)
