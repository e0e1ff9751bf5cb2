"""What a GRPO step costs with the work that it would do twice, and with each part of it done once.

    OMP_NUM_THREADS=1 python tests/benchmarks/grpo_step.py [--rounds N] [--csv FILE] [KEY=VALUE ...]

The quickstart's diagnosis stage (12 prompts of 8 completions, a dynamic tower, a reference, six rewards)
through the real `swift rlhf`, from a fresh tiny model. One training; the options of `speed:` take turns from
step to step, in alternating order, so that a change in the speed of the machine meets all of them. The
learning rate is 1e-7: answers keep their length. A round is one step under each setting, and a ratio is that
to the step of the same round with everything off: the median, with the lowest and the highest. Pixels are
forgotten after each step, as if no image came back in a later one. CPU time is that of the process over all
its threads.

Real sizes with random weights, on a GPU (writes 17 GB below --folder; LoRA on the whole model, whose
reference is the model without it; two prompts of 8 completions in a forward; pictures of 1,008 x 1,008
pixels, which are 1,296 image tokens; answers of 64 tokens):

    python tests/benchmarks/grpo_step.py --real --folder /tmp/grpo_step --rounds 3 --csv grpo_step_gpu.csv

`--layers 1 --vocabulary 2000 data.size=112` makes the same of few layers, to try the command on a CPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
os.environ |= {"HF_HUB_OFFLINE": "1", "LOG_LEVEL": "ERROR"}

OFF, ALL = "all off", "all on"
SETTINGS = {
    OFF: frozenset[str](),
    "distinct images": frozenset({"images"}),
    "pixel cache": frozenset({"pixels"}),
    "old log-probabilities": frozenset({"logprobs"}),
    ALL: frozenset({"images", "pixels", "logprobs"}),
}
WARM_UP = 2
QUICKSTART = ("data.validation=60", "data.test=60")
REAL = (
    *("model.options=null", "model.vision={encoder: base}", "data.size=1008", "data.validation=12"),
    *("data.test=12", "tuning={tuner: lora, encoder: trained}", "swift.lora_dropout=0.0"),
    *("swift.max_completion_length=64", "swift.per_device_train_batch_size=16"),
)


class Switch:
    """Puts each part of `speed:` on a trainer that has all of them, or takes it away."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.reuse = trainer, trainer.skinflow_reuse
        off = [str(each) for each in self.reuse.outcomes if not each.on]
        if off:
            raise SystemExit("not everything can be measured: " + "; ".join(off))

    def set(self, parts: frozenset[str]) -> None:
        from skinflow_plugins.bridge.reuse import loading, processors
        from skinflow_plugins.bridge.reuse.old_logprobs import OnPolicy
        from skinflow_plugins.bridge.reuse.reuse import family_of
        from skinflow_plugins.models.distinct_images import share_images, unshare_images

        reuse = self.reuse
        for model in reuse.models:
            unshare_images(model)
            if "images" in parts:
                family = family_of(model)
                assert family is not None
                assert share_images(model, family) == ""
        processors.release(reuse.processor)
        reuse.cache.clear()
        loading.use(reuse.cache if "pixels" in parts else None)
        if "pixels" in parts:
            assert processors.keep_outputs(reuse.processor, reuse.cache) == ""
        reuse.on_policy.undo()
        if "logprobs" in parts:
            reuse.on_policy = OnPolicy(self.trainer, required=True)


def clock(
    trainer: Any, rounds: int, times: dict[str, list[tuple[float, float]]], counts: dict[str, Any]
) -> Any:
    """A callback that sets each step up, times it and notes what was computed in it."""
    import torch
    from transformers import TrainerCallback

    switch, started = Switch(trainer), [0.0, 0.0]
    plan = [ALL, OFF][:WARM_UP]
    for turn in range(rounds):
        plan += list(SETTINGS) if turn % 2 else list(reversed(SETTINGS))

    def now() -> list[float]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return [time.process_time(), time.perf_counter()]

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            switch.set(SETTINGS[plan[state.global_step]])
            self.before = (switch.reuse.cache.hits, switch.reuse.cache.misses)
            started[:] = now()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            cpu, wall = (end - start for end, start in zip(now(), started, strict=True))
            step = state.global_step - 1
            print(f"step {step + 1} of {len(plan)}: {plan[step]}, {wall:.2f} s", file=sys.stderr, flush=True)
            if step < WARM_UP:
                return
            times[plan[step]].append((1e3 * cpu, 1e3 * wall))
            cache = switch.reuse.cache
            found = cache.hits - self.before[0], cache.misses - self.before[1]
            counts[plan[step]] = (*switch.reuse.images(), *found, int("logprobs" in SETTINGS[plan[step]]))

    return Clock()


def seven_billion(folder: Path, tiny: Path, options: argparse.Namespace) -> None:
    """Write a checkpoint in the shape of Qwen2.5-VL-7B, with random weights and a tiny model's tokenizer."""
    import torch
    from transformers import (
        AutoModelForImageTextToText,
        AutoProcessor,
        GenerationConfig,
        Qwen2_5_VLConfig,
        Qwen2VLImageProcessor,
    )

    ids = Qwen2_5_VLConfig.from_pretrained(tiny)
    layers = options.layers
    vision = {
        "depth": layers or 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "window_size": 112,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [layers - 1] if layers else [7, 15, 23, 31],
    }
    text = {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": layers or 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": options.vocabulary,
        "max_position_embeddings": 128000,
        "eos_token_id": ids.text_config.eos_token_id,
        "pad_token_id": ids.text_config.pad_token_id,
        "bos_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    given = {name: getattr(ids, name) for name in names}
    config = Qwen2_5_VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=False, **given)
    device = torch.device("cuda") if torch.cuda.is_available() else nullcontext()
    with device:
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig.from_pretrained(tiny)
    model.save_pretrained(folder)
    processor = AutoProcessor.from_pretrained(tiny)
    pixels = {"shortest_edge": 56 * 56, "longest_edge": 1280 * 28 * 28}
    processor.image_processor = Qwen2VLImageProcessor(patch_size=14, size=pixels)
    processor.save_pretrained(folder)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} billion parameters", file=sys.stderr)


def train(options: argparse.Namespace, folder: Path) -> tuple[Any, Any, str]:
    """Times and counts of each setting, and what was trained."""
    from swift.trainers.mixin import SwiftMixin

    from skinflow_plugins.bridge.launch import launch
    from skinflow_plugins.bridge.run import prepare_run
    from skinflow_plugins.bridge.swift_yaml import arguments_of
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.models import build_tiny
    from skinflow_plugins.recipe.load import load

    changes = [*QUICKSTART]
    if options.real:
        tiny = build_tiny("qwen2_5_vl", folder / "tiny", vocabulary=["lesion"])
        base = folder / "base7b"
        if not (base / "config.json").is_file():
            seven_billion(base, tiny, options)
        changes = [f"model.base={base}", *REAL]
    steps = WARM_UP + len(SETTINGS) * options.rounds
    changes += [f"stages.*.swift.max_steps={steps}", f"data.train={12 * steps}", *options.changes]
    changes += [
        "stages.diagnosis.swift.learning_rate=1e-7",
        "speed={distinct_images: true, old_logprobs: true}",
    ]
    loaded = load("quickstart", changes)
    planned, _ = prepare_run(loaded, catalogue(), folder / "run")
    stage = planned.stages[-1]
    arguments = arguments_of(stage)
    arguments[arguments.index("--model") + 1] = planned.base
    for left in ("--adapters", "--ref_adapters"):  # of a stage before, which is not trained here
        if left in arguments:
            del arguments[arguments.index(left) : arguments.index(left) + 2]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    counts: dict[str, Any] = {}
    original = SwiftMixin.train

    def timed(trainer: Any, *given: Any, **keywords: Any) -> Any:
        trainer.add_callback(clock(trainer, options.rounds, times, counts))
        return original(trainer, *given, **keywords)

    SwiftMixin.train = timed
    launch(loaded.recipe.launch, stage.command, arguments, stage.environment, what="the benchmark")
    rows = stage.rows.batch
    return times, counts, f"{rows} prompts, {rows * 8} completions"


def table(times: Any, counts: Any, wall: bool) -> list[dict[str, Any]]:
    """A line for each setting, printed as Markdown; ratios of CPU time, or of wall time."""
    which = "wall" if wall else "CPU"
    print(f"| | CPU, ms | wall, ms | ratio of {which} time | images computed, of | pixels found, computed |")
    print("|---|---:|---:|---:|---:|---:|")
    lines = []
    for name, found in times.items():
        ratios = [one[wall] / two[wall] for one, two in zip(found, times[OFF], strict=True)]
        cpu, real = (statistics.median(each) for each in zip(*found, strict=True))
        seen, computed, hits, misses, skipped = counts[name]
        line = {
            "what": name,
            "cpu_ms": round(cpu, 1),
            "wall_ms": round(real, 1),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_lowest": round(min(ratios), 3),
            "ratio_highest": round(max(ratios), 3),
            "ratio_of": f"{which.lower()} time",
            "tower_images": seen or "",
            "tower_computed": computed or "",
            "pixels_found": hits,
            "pixels_computed": misses,
            "forwards_left_out": skipped,
        }
        lines.append(line)
        spread = f"{line['ratio']:.2f} ({line['ratio_lowest']:.2f} to {line['ratio_highest']:.2f})"
        cells = [name, f"{cpu:,.0f}", f"{real:,.0f}", spread, f"{computed} of {seen}", f"{hits}, {misses}"]
        print("|", " | ".join(cells), "|")
    return lines


def hardware() -> dict[str, Any]:
    """What it ran on, and of which tree; a + stands behind a commit with changes."""
    import torch

    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    told = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    commit = subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in ("torch", "transformers", "ms-swift")},
        "date": date.today().isoformat(),
        "commit": commit,
    }


def main(given: Sequence[str]) -> None:
    """Measure, print, and write a CSV."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "results" / "grpo_step_cpu.csv")
    parser.add_argument("--real", action="store_true", help="the shape of Qwen2.5-VL-7B, with random weights")
    parser.add_argument("--layers", type=int, default=0, help="with --real: fewer than the real ones")
    parser.add_argument("--vocabulary", type=int, default=152064, help="with --real")
    parser.add_argument("--folder", type=Path, help="where the model and the run are written; kept")
    options = parser.parse_args(given)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    with tempfile.TemporaryDirectory() if options.folder is None else nullcontext(options.folder) as folder:
        times, counts, size = train(options, Path(folder))
    import torch

    if not options.real:
        assert torch.get_num_threads() == 1, "set OMP_NUM_THREADS=1"
    about = {
        "model": "Qwen2.5-VL-7B's shape, random" if options.real else "quickstart's",
        "layers": options.layers or "all",
        "step": size,
        "rounds": options.rounds,
        "changes": json.dumps(options.changes) if options.changes else "",
        **hardware(),
        "load_before": load,
        "load_after": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }
    print(f"\n{about['step']}, {about['model']} ({about['layers']} layers), {about['gpu'] or about['cpu']}\n")
    lines = [{**line, **about} for line in table(times, counts, wall=torch.cuda.is_available())]
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
