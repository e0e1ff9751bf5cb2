"""Checks the virtual-width linear layer, then times it against nn.Linear and all that would replace it.

    python kernels/bench/virtual_width.py                     all cases, in less than eight minutes on an H100
    python kernels/bench/virtual_width.py --quick             one small case, a minute on a CPU
    python kernels/bench/virtual_width.py --base HEAD~10      the same op as another revision has it, in turns
    python kernels/bench/virtual_width.py --tune              sizes of tiles, kernel by kernel (needs a GPU)

Nothing is timed unless every row agrees with the definition, output and every gradient (exit code 1).

A row's ratio is to nn.Linear with all of its gradients (x, weight, bias), in the same mode and in the same
rounds. In `frozen` rows weight and bias are frozen and the routers learn; with `fixed bases` the weight is
trained and its bases stay; in `trained` rows they follow it. nn.Linear, frozen, has the gradient of x alone.
Amplitudes and gains are given, but for the module and the published algorithm, which compute their own.
`floor` is the least time that the bytes and operations of the row could take on this GPU, and `of it` the
part of the time that it accounts for. `MiB` is the most memory beyond what stood there before, `host ms` the
time until the call came back.

On a CPU rows are timed by CPU time with one thread; the Triton interpreter is never timed.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import astuple

import torch
from skinflow_bench import ROOT, revisions, tables
from skinflow_bench.command import arguments
from skinflow_bench.machine import machine, title
from skinflow_bench.rows import linear_rows, op_rows
from skinflow_bench.run import Run, to_check
from skinflow_bench.targets import reached

COMPILE_BEFORE = 0.6
"""The part of --minutes after which torch.compile is not asked any more: it cannot be stopped."""


def measured(options: Namespace, begun: float) -> int:
    """Check all rows and time them; 1 when one of them computes something else than the layer."""
    run = Run(options, begun)
    if run.device.type == "cuda" and run.no_triton:
        print(f"Triton's kernels are not timed: {run.no_triton}")
    rows = run.rows()
    if not run.passes(rows, to_check(options)):
        return 1
    run.head()
    run.time(rows, options.settings)
    print(*reached(run.measured), sep="\n")
    if options.breakdown:
        run.break_down()
    # What takes longest to compile comes last. Every shape is compiled anew: checked is what is timed.
    compiled = run.compiled_rows()
    settings = [setting for setting in options.settings if not all(row.cannot(setting) for row in compiled)]
    if compiled and run.elapsed > COMPILE_BEFORE * options.minutes:
        print(f"torch.compile: not measured, {run.elapsed:.0f} of {options.minutes:g} minutes have passed")
    elif compiled:
        if not run.passes(compiled, settings):
            return 1
        run.time([*linear_rows(), *compiled], settings)
    if options.out:
        print(f"written: {options.out}")
    return 0


def tuned(options: Namespace, begun: float) -> int:
    """Sweep the sizes of tiles; 1 when those that are shipped give wrong results."""
    from skinflow_bench.tuning import tune

    run = Run(options, begun)
    if run.no_triton:
        print(f"error: --tune: {run.no_triton}", file=sys.stderr)
        return 2
    if not run.passes(list(op_rows(["triton"])), to_check(options)):
        return 1
    how = {"dtype": options.dtypes[0], "minutes": options.minutes, "only": options.only}
    for said in tune(run.device, run.clock, **how):
        print(said, flush=True)
    return 0


def against(options: Namespace) -> int:
    """Compare with another revision; 1 when either of the two computes something else than the layer."""
    device, asked = torch.device(options.device), [astuple(setting) for setting in to_check(options)]
    print(f"this tree against {options.base}: ratio of its time to the base's, below 1 is faster")
    how, turns = (device, options.repeats, options.threads, options.only), 2 if options.quick else 4
    with (
        revisions.tree_of(options.base) as tree,
        revisions.Process(ROOT, *how) as own,
        revisions.Process(tree, *how) as other,
    ):
        wrong = [f"  this tree: {each}" for each in own.ask(check=asked)]
        wrong += [f"  {options.base}: {each}" for each in other.ask(check=asked)]
        if wrong:
            print("checks fail; nothing is timed:", *wrong, sep="\n", file=sys.stderr)
            return 1
        lines = []
        for line in revisions.compare(own, other, options.settings, turns):
            figures = "{ms:>9} ms{base_ms:>9} ms{ratio:>8} ({ratio_least} to {ratio_most})".format_map(line)
            print(f"{line['setting']:36}{line['row']:36}{line['why'] or figures}", flush=True)
            lines.append({"base": options.base, **line, **machine(device, options.commit)})
    if options.out and lines:
        tables.write(options.out, lines)
        print(f"written: {options.out}")
    return 0


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    begun = time.monotonic()
    options = arguments(__doc__, given)
    torch.set_num_threads(options.threads)
    print(title(machine(torch.device(options.device), options.commit)), flush=True)
    if options.base:
        try:
            return against(options)
        except revisions.NoBase as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return tuned(options, begun) if options.tune else measured(options, begun)


if __name__ == "__main__":
    sys.exit(main())
