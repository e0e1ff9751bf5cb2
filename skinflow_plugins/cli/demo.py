"""`skinflow demo`: the shipped recipe `quickstart`, with a word before and after."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import RUNS, base_of, read_recipe
from skinflow_plugins.cli.run import add_output, add_verbose, contents, train
from skinflow_plugins.errors import WorkFailed

if TYPE_CHECKING:
    from skinflow_plugins.bridge.results import Row
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.recipe.schema import Recipe

RECIPE = "quickstart"
DESCRIPTION = """\
Trains a tiny vision-language model on drawn lesions through the real `swift sft` and `swift rlhf`, and scores
it after every stage. No GPU and no download. The same as `skinflow run quickstart`, with explanations.
With several seeds each has a run folder of its own, and a joined table shows the mean and each seed."""


def add(verbs: Verbs) -> None:
    """Add `demo` to the verbs."""
    parser = add_verb(verbs, "demo", "watch a small model learn, on this machine", do, DESCRIPTION)
    add_output(parser, f"{RUNS / RECIPE}; another seed than the recipe's own has {RUNS / RECIPE}-seedN")
    parser.add_argument(
        "--seeds", metavar="N,N", type=_seeds, default=(), help="seeds of the run (default: 0)"
    )
    add_verbose(parser)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 0 or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected different whole numbers such as 0,1,2")
    return found


def do(arguments: argparse.Namespace) -> int:
    """Run the demonstration and show its table."""
    out: Path = arguments.output or RUNS / RECIPE
    loaded, _ = read_recipe(RECIPE)
    seeds: tuple[int, ...] = arguments.seeds or (loaded.recipe.seed,)
    # The recipe's own seed keeps the plain folder, so that a demo seen before is not run again.
    own = seeds[0] if len(seeds) == 1 else loaded.recipe.seed
    folders = {seed: out if seed == own else out.with_name(f"{out.name}-seed{seed}") for seed in seeds}
    print("\n".join(_opening(loaded.recipe, folders)), flush=True)
    if len(seeds) > 1:
        _several(folders, out, verbose=arguments.verbose)
    else:
        rows = _one(seeds[0], folders[seeds[0]], verbose=arguments.verbose)
        from skinflow_plugins.cli import table

        table.show_results(loaded.recipe, rows)
    print()
    print("\n".join(contents(folders[seeds[0]])))
    print("\n".join(["", *NEXT]))
    return 0


def _one(seed: int, root: Path, *, verbose: bool) -> list[Row]:
    loaded, known = read_recipe(RECIPE)
    if seed != loaded.recipe.seed:
        loaded, known = read_recipe(RECIPE, [f"seed={seed}"])
    return train(loaded, known, root, verbose=verbose)


def _several(folders: dict[int, Path], out: Path, *, verbose: bool) -> None:
    """Run every seed, a failed one too does not stop the others; print and write the joined table."""
    by_seed: dict[int, list[Row]] = {}
    failures: list[str] = []
    for seed, root in folders.items():
        try:
            by_seed[seed] = _one(seed, root, verbose=verbose)
        except WorkFailed as failure:
            print(f"==> seed {seed} failed: {failure}", flush=True)
            failures.append(f"seed {seed}: {failure}")
    if by_seed:
        from skinflow_plugins.bridge.prepare import write_text
        from skinflow_plugins.cli import table

        recipe = read_recipe(RECIPE)[0].recipe
        table.show_seeds(recipe, by_seed)
        joined = out.with_name(f"{out.name}-seeds.md")
        write_text(joined, table.seeds_markdown(recipe, by_seed))
        print(f"\n{joined}: this table")
    if failures:
        raise WorkFailed("\n".join(failures))


def _opening(recipe: Recipe, folders: dict[int, Path]) -> list[str]:
    lines = [f"{recipe.name}: {recipe.summary}", f"base model: {base_of(recipe)}", "", "What will happen:"]
    for number, stage in enumerate(recipe.stages, start=1):
        steps = stage.swift.get("max_steps", recipe.swift.get("max_steps"))
        what = {
            "sft": "learn from examples: " + ", ".join(stage.teach),
            "grpo": f"learn {stage.task} from rewards: " + ", ".join(use.name for use in stage.rewards),
        }[stage.kind]
        program = "sft" if stage.kind == "sft" else "rlhf"
        lines.append(f"  {number}. {stage.name} (swift {program}, {steps} steps): {what}")
        if stage.gate:
            lines.append(f"     goes on only if {stage.gate.metric} reaches {stage.gate.at_least:g}")
    lines.append(f"  After each, the {recipe.eval.split} split is answered greedily and scored.")
    if len(folders) > 1:
        lines.append(f"  All of it once for each seed: {', '.join(map(str, folders))}.")
    lines += ["The progress bars show the time left. Ctrl-C stops; the same command goes on.", ""]
    return lines


NEXT = (
    "Next:",
    "  skinflow run recipes/isic_uda1.yaml data.root=FOLDER    real dermoscopy images",
    "  skinflow show quickstart                                the recipe; copy it and change it",
    "  skinflow list                                           everything that a recipe can name",
    "  skinflow new reward NAME DIR                            a reward of your own",
)
