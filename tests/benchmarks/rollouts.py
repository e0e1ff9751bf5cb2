"""What sampling costs on a CPU: transformers and vLLM, each with and without the dynamic encoder.

    .venv-vllm/bin/python tests/benchmarks/rollouts.py [--repeats N] [--csv FILE] [--width 128] [--depth 3]

One process holds swift's TransformersEngine and an in-process vLLM, each over a tiny Qwen2.5-VL and over its
graft with random routers: float32, one thread, no compilation, no image tokens in the answers. What is
compared takes turns, in alternating order, so that a change in the speed of the machine meets all of it.
Times are CPU time of the process over all its threads, and wall time beside it. A row's ratio is the median,
over repetitions, of its CPU time to that of the row it is compared with in the same repetition; in brackets
stand the lowest and the highest.

- rollout: a prompt and an image of 56 x 56 for each answer, all of one length, none cut short by its end;
  from images and text to text, nothing of it from a cache.
- weights: a whole sync, as bridge/rollouts/cpu.py sends weights to vLLM (`reload_weights`); `load_weights`
  of vLLM's model with nothing but the dynamic projections and routers; and that with the routers alone.
- tower: the forward of vLLM's vision tower by itself, with as many patches as in the rollout, in images of
  the rollout's size and in larger ones.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {
    "OMP_NUM_THREADS": "1",  # read when torch is imported
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
    "LOG_LEVEL": "ERROR",
}
os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # whole GiB; each engine is given megabytes

FAMILY = "qwen2_5_vl"
PLAIN, DYNAMIC = "plain", "dynamic"
QUESTION = "What is shown?"
SIDE = 56
"""Pixels along each side of an image; 8 patches of the tiny model."""
PASSES = 5
"""Forwards of a tower that count as one: alone it is too short to be timed."""


@dataclass(frozen=True)
class Timed:
    """Something that is timed: `run`, untimed `before` it, and the row of its group that its ratio is to."""

    group: str
    name: str
    run: Callable[[], object]
    to: str
    before: Callable[[], object] = lambda: None
    passes: int = 1


class Subject:
    """A checkpoint in both engines."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        import torch
        from swift.infer_engine import TransformersEngine
        from vllm import LLM

        from skinflow_plugins.engine.placeholders import NAME
        from skinflow_plugins.models.families import family_named

        self.prompts, self.tokens = options.prompts, options.tokens
        template = family_named(FAMILY).swift_template
        self.engine = TransformersEngine(
            str(folder), torch_dtype=torch.float32, template_type=template, max_batch_size=0
        )
        # swift has no ignore_eos: the end of an answer is as little sampled as an image.
        config = self.engine.model.generation_config
        config.suppress_tokens = sorted({*config.suppress_tokens, *config.eos_token_id})
        self.llm = LLM(
            str(folder),
            dtype="float32",
            enforce_eager=True,
            max_model_len=512,
            max_num_seqs=self.prompts,
            max_num_batched_tokens=128 * self.prompts,  # all prompts fit
            limit_mm_per_prompt={"image": 1},
            kv_cache_memory_bytes=2**27,
            disable_log_stats=True,
            logits_processors=[NAME],
            seed=0,
        )
        self.model = self.llm.apply_model(lambda model: model)[0]
        images = [noise(number) for number in range(self.prompts)]
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        text = self.engine.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        self.asked = [{"prompt": text, "multi_modal_data": {"image": [image]}} for image in images]
        self.images = images

    def forget(self) -> None:
        """Empty vLLM's caches."""
        self.llm.reset_prefix_cache()
        self.llm.llm_engine.reset_mm_cache()
        self.llm.llm_engine.reset_encoder_cache()

    def with_transformers(self) -> tuple[int, int]:
        """Tokens of all prompts and of all answers."""
        from swift.infer_engine import InferRequest, RequestConfig

        asked = [
            InferRequest(messages=[{"role": "user", "content": f"<image>{QUESTION}"}], images=[image])
            for image in self.images
        ]
        sampling = RequestConfig(max_tokens=self.tokens, temperature=1.0, top_p=1.0, top_k=-1)
        found = self.engine.infer(asked, sampling, use_tqdm=False)
        return sum(each.usage.prompt_tokens for each in found), sum(
            each.usage.completion_tokens for each in found
        )

    def with_vllm(self) -> tuple[int, int]:
        """Tokens of all prompts and of all answers."""
        from vllm import SamplingParams

        sampling = SamplingParams(temperature=1.0, max_tokens=self.tokens, ignore_eos=True)
        found = self.llm.generate(self.asked, sampling, use_tqdm=False)
        return sum(len(each.prompt_token_ids) for each in found), sum(
            len(each.outputs[0].token_ids) for each in found
        )

    def reload(self) -> None:
        """The trainer's weights, all of them, through vLLM's own reload."""
        weights = dict(self.engine.model.named_parameters())
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        self.llm.llm_engine.reset_mm_cache()

    def load(self, *kinds: type) -> None:
        """The weights of the trainer's modules of these kinds, in their places."""
        model = self.engine.model
        mine = {name for name, module in model.named_modules() if isinstance(module, kinds)}
        weights = {
            name: value.detach()
            for name, value in model.named_parameters()
            if name.rpartition(".")[0] in mine
        }
        loaded = self.model.load_weights(iter(weights.items()))
        assert weights
        assert len(loaded) == len(weights), (sorted(weights), sorted(loaded))

    def tower(self, images: int, side: int) -> Callable[[], object]:
        """A function that runs vLLM's vision tower once."""
        import torch

        width = self.model.visual.patch_embed.proj.weight.flatten(1).shape[1]
        pixels = torch.randn(images * side**2, width, generator=torch.Generator().manual_seed(0))
        return torch.inference_mode()(lambda: self.model.visual(pixels, grid_thw=[[1, side, side]] * images))


def noise(number: int) -> Any:
    """An image; no two numbers are alike."""
    import torch
    from PIL import Image

    generator = torch.Generator().manual_seed(number)
    return Image.fromarray(torch.randint(256, (SIDE, SIDE, 3), generator=generator).numpy().astype("uint8"))


def subjects(root: Path, options: argparse.Namespace) -> dict[str, Subject]:
    """The tiny model and its graft, in both engines."""
    import torch
    from transformers import AutoProcessor

    from skinflow_plugins.bridge.dynamic_models import register_dynamic_models
    from skinflow_plugins.bridge.rollouts.sampling import sample_as_asked
    from skinflow_plugins.bridge.token_ids import read_token_ids_from_tokenizer
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.models import build_tiny, graft, load
    from skinflow_plugins.testing import perturb_routers

    read_token_ids_from_tokenizer()
    register_dynamic_models(catalogue())
    sample_as_asked()
    base = build_tiny(FAMILY, root / PLAIN, vocabulary=[QUESTION], width=options.width, depth=options.depth)
    graft(base, root / "graft")
    model = load(root / "graft")
    perturb_routers(model)
    model.save_pretrained(root / DYNAMIC)
    AutoProcessor.from_pretrained(base).save_pretrained(root / DYNAMIC)
    found = {name: Subject(root / name, options) for name in (PLAIN, DYNAMIC)}
    assert torch.get_num_threads() == 1
    return found


def everything(found: dict[str, Subject], options: argparse.Namespace) -> list[Timed]:
    """All rows, in the order of the table."""
    from skinflow_plugins.vision import FDProjection, Router

    plain, dynamic = found[PLAIN], found[DYNAMIC]
    theirs, whole = "transformers, {}", "reload_weights: all, {}"
    rows = [
        Timed("rollout", theirs.format(PLAIN), plain.with_transformers, theirs.format(PLAIN)),
        Timed("rollout", theirs.format(DYNAMIC), dynamic.with_transformers, theirs.format(PLAIN)),
        Timed("rollout", "vLLM, plain", plain.with_vllm, theirs.format(PLAIN), plain.forget),
        Timed("rollout", "vLLM, dynamic", dynamic.with_vllm, theirs.format(DYNAMIC), dynamic.forget),
        Timed("weights", whole.format(PLAIN), plain.reload, whole.format(PLAIN)),
        Timed("weights", whole.format(DYNAMIC), dynamic.reload, whole.format(PLAIN)),
    ]
    for what, kinds in (("dynamic projections, routers", (FDProjection, Router)), ("routers", (Router,))):
        load = partial(dynamic.load, *kinds)
        rows.append(Timed("weights", f"load_weights: {what}", load, whole.format(DYNAMIC)))
    for images, side in ((options.prompts, 8), (options.prompts // 16 or 1, 32)):
        for variant, each in found.items():
            group = f"tower, {images} images of {side**2:,} patches"
            rows.append(Timed(group, variant, each.tower(images, side), PLAIN, passes=PASSES))
    return rows


def measure(rows: list[Timed], repeats: int) -> dict[Timed, list[tuple[float, float]]]:
    """Milliseconds of every repetition of every row: CPU time and wall time."""
    times: dict[Timed, list[tuple[float, float]]] = {row: [] for row in rows}
    for repeat in range(-1, repeats):
        for group in dict.fromkeys(row.group for row in rows):
            for row in [row for row in rows if row.group == group][:: 1 if repeat % 2 else -1]:
                row.before()
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(row.passes):
                    row.run()
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                if repeat >= 0:  # the one before warms up
                    times[row].append((cpu * 1e3 / row.passes, wall * 1e3 / row.passes))
        print(f"repetition {repeat + 1} of {repeats}", file=sys.stderr, flush=True)
    return times


def same_work(found: dict[str, Subject], options: argparse.Namespace) -> int:
    """Tokens of all answers; raises unless the engines read and write equally many."""
    told = {each.with_transformers() for each in found.values()} | {
        each.with_vllm() for each in found.values()
    }
    prompts, answers = next(iter(told))
    if len(told) > 1 or answers != options.prompts * options.tokens:
        raise SystemExit(f"the engines did not do the same work (tokens of prompts and answers): {told}")
    print(f"{prompts} tokens of prompts and images, {answers} of answers\n")
    return answers


def processor() -> str:
    """The name of the CPU."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def commit() -> str:
    """The commit of this tree, with a + where files of it have changed since."""
    told = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()


def load_average() -> str:
    """Of 1, 5 and 15 minutes; this process is part of it."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def table(
    rows: list[Timed], times: dict[Timed, list[tuple[float, float]]], answers: int
) -> list[dict[str, Any]]:
    """A line for each row, printed as Markdown."""
    print("| | CPU, ms | wall, ms | answer tokens per CPU s | per s | ratio of CPU time | to |")
    print("|---|---:|---:|---:|---:|---:|---|")
    lines = []
    for row in rows:
        base = next(each for each in rows if (each.group, each.name) == (row.group, row.to))
        (cpu, wall), (other, other_wall) = zip(*times[row], strict=True), zip(*times[base], strict=True)
        ratios = [one / two for one, two in zip(cpu, other, strict=True)]
        walls = [one / two for one, two in zip(wall, other_wall, strict=True)]
        rates = [
            round(1e3 * answers / statistics.median(each)) if row.group == "rollout" else ""
            for each in (cpu, wall)
        ]
        line = {
            "group": row.group,
            "what": row.name,
            "cpu_ms": round(statistics.median(cpu), 2),
            "wall_ms": round(statistics.median(wall), 2),
            "tokens_per_cpu_second": rates[0],
            "tokens_per_second": rates[1],
            "ratio": round(statistics.median(ratios), 3),
            "ratio_lowest": round(min(ratios), 3),
            "ratio_highest": round(max(ratios), 3),
            "wall_ratio": round(statistics.median(walls), 3),
            "ratio_to": row.to,
        }
        lines.append(line)
        to = (
            ""
            if row is base
            else f"{line['ratio']:.2f} ({line['ratio_lowest']:.2f} to {line['ratio_highest']:.2f})"
        )
        cells = [f"{row.group}: {row.name}", f"{line['cpu_ms']:,.1f}", f"{line['wall_ms']:,.1f}"]
        print("|", " | ".join([*cells, *map(str, rates), to, row.to if to else ""]), "|")
    return lines


def main() -> None:
    """Measure everything, print it and write it as CSV."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "results" / "rollouts_cpu.csv")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=24, help="of each answer")
    parser.add_argument("--width", type=int, default=128, help="channels of the tiny model")
    parser.add_argument("--depth", type=int, default=3, help="layers of its tower and of its language model")
    options = parser.parse_args()
    if importlib.util.find_spec("vllm") is None:
        parser.error(
            f"{sys.executable} has no vLLM: `make venv-vllm`, then .venv-vllm/bin/python {sys.argv[0]}"
        )
    import torch
    import vllm

    if torch.accelerator.is_available():
        parser.error(
            "this measures a CPU, and weights reach vLLM by another way on the accelerator found here"
        )
    machine = {
        "prompts": options.prompts,
        "tokens": options.tokens,
        "width": options.width,
        "depth": options.depth,
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in ("torch", "transformers", "ms-swift")},
        "vllm": vllm.__version__,
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "date": date.today().isoformat(),
        "commit": commit(),
        "load_before": load_average(),
    }
    with tempfile.TemporaryDirectory() as folder:
        found = subjects(Path(folder), options)
        answers = same_work(found, options)
        rows = everything(found, options)
        times = measure(rows, options.repeats)
        machine["load_after"] = load_average()
        print("\n".join(f"{name}: {value}" for name, value in machine.items()), end="\n\n")
        lines = table(rows, times, answers)
        for each in found.values():
            each.llm.llm_engine.engine_core.shutdown()
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0] | machine), lineterminator="\n")
        writer.writeheader()
        writer.writerows(line | machine for line in lines)


if __name__ == "__main__":
    main()
