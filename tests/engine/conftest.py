"""Real engines of vLLM in this process, over tiny models, and what transformers says to the same requests."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoProcessor

from skinflow_plugins.models import build_tiny, graft, load

SMALL = {"width": 64, "depth": 3}
SIZES = ((56, 56), (56, 84), (112, 84), (84, 56))
"""Height and width of the images, by number; towers of one resolution make them alike."""
REQUESTS = ([0], [1, 2], [3])
"""Which images each of the requests is about."""
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "qwen2_5_vl": {"masked": True},
    "qwen2_5_vl saved": {"saved": True, "router": "block", "frozen_bases": True},
    "qwen3_vl": {"projections": "down"},
    "llava": {"frozen_bases": True},
    "llava saved": {"saved": True, "router": "block"},
    "idefics3": {"router": "block", "projections": ["up"], "layers": [0, 2]},
    "internvl": {},
}
"""What a checkpoint may hold, spread over the families: names, projections, routers, frozen bases."""
PACKED = [name for name in CHECKPOINTS if name.startswith("qwen")]
FROZEN = [name for name in CHECKPOINTS if "frozen_bases" in CHECKPOINTS[name]]


@pytest.fixture(scope="module", autouse=True)
def vllm_environment() -> Iterator[None]:
    """vLLM offline and in this process; the other tests of a run see nothing of it."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    threads, cores = torch.set_num_threads, os.sched_getaffinity(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)  # whole GiB; each engine is given megabytes
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        patch.setenv("VLLM_NO_USAGE_STATS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    # A worker of vLLM keeps its process from changing them.
    torch.set_num_threads = threads
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`bases(family)`: a tiny base, made once."""
    root = tmp_path_factory.mktemp("bases")

    def get(name: str) -> Path:
        if not (root / name).exists():
            build_tiny(name, root / name, vocabulary=["What is shown?"], **SMALL)
        return root / name

    return get


@pytest.fixture(scope="session")
def folders(bases: Callable[[str], Path]) -> Callable[..., Path]:
    """`folders(family, saved=False, **options of graft)`: a graft whose routers do something, made once.

    A graft has the base's own names in its index; with `saved` the folder is what our model's
    `save_pretrained` writes, whose names are those of its modules.
    """
    made: dict[str, Path] = {}

    def get(name: str, *, saved: bool = False, **options: Any) -> Path:
        key = json.dumps([name, saved, options])
        if key not in made:
            out = bases(name).with_name(f"{name}-{len(made)}")
            if saved:
                load(get(name, **options)).save_pretrained(out)
                AutoProcessor.from_pretrained(bases(name)).save_pretrained(out)
            else:
                graft(bases(name), out, **options)
                stir(out)
            made[key] = out
        return made[key]

    return get


def stir(folder: Path) -> None:
    """Give the routers of a graft random heads, in place."""
    file, generator = folder / "dve.safetensors", torch.Generator().manual_seed(0)
    tensors = load_file(file)
    for name, value in tensors.items():
        if "dve_router" in name and not name.endswith(("reduce_weight", "norm_weight")):
            tensors[name] = 0.5 * torch.randn(value.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})


def picture(number: int) -> Image.Image:
    """An image of noise; no two numbers are alike."""
    shade, generator = 40 * (number % 4), torch.Generator().manual_seed(number)
    noise = torch.randint(shade, shade + 100, (*SIZES[number % len(SIZES)], 3), generator=generator)
    return Image.fromarray(noise.numpy().astype("uint8"))


@dataclass
class Engine:
    """An engine of vLLM over a checkpoint, and the processor that transformers has for it."""

    folder: Path
    llm: Any
    processor: Any
    masked: bool
    """Whether the engine leaves out image tokens, and gives log-probabilities after that."""

    @cached_property
    def first_answers(self) -> list[Any]:
        """Answers with the weights that the engine started with."""
        return self.answers()

    @property
    def model(self) -> Any:
        """vLLM's module."""
        return self.llm.apply_model(lambda model: model)[0]

    @property
    def suppressed(self) -> list[int]:
        """Ids that no answer may hold."""
        return list(load(self.folder).generation_config.suppress_tokens)

    def prompt(self, images: int) -> str:
        content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": "What is shown?"}]
        message = {"role": "user", "content": content}
        return self.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)

    def inputs(self, request: Sequence[int]) -> Any:
        """What transformers' processor makes of a request."""
        pictures = [[picture(number) for number in request]]
        return self.processor(text=[self.prompt(len(request))], images=pictures, return_tensors="pt")

    def generate(self, requests: Sequence[Sequence[int]] = REQUESTS, **sampling: Any) -> list[Any]:
        """vLLM's answers, nothing of which comes from a cache."""
        from vllm import SamplingParams

        self.reset()
        asked = [
            {
                "prompt": self.prompt(len(request)),
                "multi_modal_data": {"image": [picture(number) for number in request]},
            }
            for request in requests
        ]
        return list(self.llm.generate(asked, SamplingParams(seed=1, **sampling), use_tqdm=False))

    def answers(self, requests: Sequence[Sequence[int]] = REQUESTS) -> list[Any]:
        """Answers of eight tokens with the log-probabilities of the whole vocabulary at each."""
        allowed = None
        if not self.masked:  # an image token without an image would break the model of transformers
            suppressed = set(self.suppressed)
            allowed = [each for each in range(len(self.processor.tokenizer)) if each not in suppressed]
        return self.generate(
            requests, temperature=1.0, max_tokens=8, logprobs=-1, ignore_eos=True, allowed_token_ids=allowed
        )

    def reset(self) -> None:
        """Forget what was computed with the weights of before."""
        self.llm.reset_prefix_cache()
        self.llm.llm_engine.reset_mm_cache()
        self.llm.llm_engine.reset_encoder_cache()

    def reload(self, state: Mapping[str, Tensor]) -> None:
        """New weights, through vLLM's own reload."""
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(state.items())})
        self.reset()

    def difference(self, model: Any = None, answers: Sequence[Any] | None = None) -> float:
        """The largest |log-probability of vLLM - that of `model`|, over answers, positions, vocabulary."""
        model = load(self.folder) if model is None else model
        answers = self.answers() if answers is None else answers
        return max(
            float((theirs(answer) - self.ours(model, request, answer)).abs().max())
            for request, answer in zip(REQUESTS, answers, strict=True)
        )

    def ours(self, model: Any, request: Sequence[int], answer: Any) -> Tensor:
        """Log-probabilities (tokens, vocabulary) by transformers, alone and without any cache."""
        batch, ids = dict(self.inputs(request)), torch.tensor([answer.outputs[0].token_ids])
        batch["input_ids"] = torch.cat([batch["input_ids"], ids], dim=1)
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        for name in ("mm_token_type_ids", "token_type_ids"):
            if name in batch:
                batch[name] = torch.cat([batch[name], torch.zeros_like(ids)], dim=1)
        with torch.no_grad():
            logits = model(**batch).logits[0, -ids.shape[1] - 1 : -1].float()
        if self.masked:
            logits[:, self.suppressed] = -torch.inf
        found = logits.log_softmax(-1)
        return found.nan_to_num(neginf=-1e9)


def theirs(answer: Any) -> Tensor:
    """Log-probabilities (tokens, vocabulary) by vLLM."""
    rows = answer.outputs[0].logprobs
    found = torch.full((len(rows), len(rows[0])), torch.nan)
    for row, each in zip(found, rows, strict=True):
        for token, value in each.items():
            row[token] = value.logprob
    return found.nan_to_num(nan=torch.nan, neginf=-1e9)


@pytest.fixture(scope="session")
def engines(folders: Callable[..., Path]) -> Iterator[Callable[..., Engine]]:
    """`engines(family, masked=False, saved=False, **options of graft)`: an engine, started once."""
    made: dict[str, Engine] = {}

    def get(name: str, *, masked: bool = False, saved: bool = False, **options: Any) -> Engine:
        key = json.dumps([name, masked, saved, options])
        if key not in made:
            made[key] = start(folders(name, saved=saved, **options), masked=masked)
            made[key].first_answers  # noqa: B018 - before any test gives it other weights
        return made[key]

    yield get
    # All at the end: one that is shut down takes the process groups of the others with it.
    if made:
        from vllm.distributed import cleanup_dist_env_and_memory

        for engine in made.values():
            engine.llm.llm_engine.engine_core.shutdown()
        made.clear()
        cleanup_dist_env_and_memory()


@pytest.fixture(params=list(CHECKPOINTS))
def engine(request: pytest.FixtureRequest, engines: Callable[..., Engine]) -> Engine:
    """Each of the engines."""
    return engines(request.param.split()[0], **CHECKPOINTS[request.param])


@pytest.fixture(params=PACKED)
def packed(request: pytest.FixtureRequest, engines: Callable[..., Engine]) -> Engine:
    """Those whose tower gets all images in one sequence."""
    return engines(request.param.split()[0], **CHECKPOINTS[request.param])


@pytest.fixture(params=FROZEN)
def frozen(request: pytest.FixtureRequest, engines: Callable[..., Engine]) -> Engine:
    """Those with frozen bases."""
    return engines(request.param.split()[0], **CHECKPOINTS[request.param])


def start(folder: Path, *, masked: bool = False, **options: Any) -> Engine:
    """An engine over the checkpoint in `folder`; `options` are those of vLLM's LLM."""
    from vllm import LLM

    from skinflow_plugins.engine.placeholders import NAME

    if masked:
        options |= {"logits_processors": [NAME], "logprobs_mode": "processed_logprobs"}
    llm = LLM(
        str(folder),
        **{
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 512,
            "max_num_seqs": 8,
            "max_logprobs": -1,
            "limit_mm_per_prompt": {"image": 2},
            "kv_cache_memory_bytes": 2**26,
            "disable_log_stats": True,
            "seed": 0,
            **options,
        },
    )
    return Engine(folder, llm, AutoProcessor.from_pretrained(folder), masked)


@pytest.fixture(scope="session")
def helpers() -> SimpleNamespace:
    """Functions and constants that several test files share."""
    return SimpleNamespace(start=start, picture=picture, requests=REQUESTS)
