"""Whether the rollout engine samples from the very model that trains: token ids, images, log-probabilities.

Uses swift's own way from a row to a completion and back to the trainer's log-probabilities, with a handful of
rows, before and after the weights have changed.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from skinflow_plugins.engine.plugin import bases
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.models.placeholders import never_sampled
from skinflow_plugins.models.seam import ROUTER
from skinflow_plugins.vision import FDProjection

HANDFUL = 4
_CHANGED = 2**25
"""No more elements than these are changed for the check, and kept aside meanwhile."""
ALIKE, ALIKE_IN_16_BITS = 1e-4, 0.05
"""By how much log-probabilities may differ on average. Measured in float32: 1e-6."""
_TOKENS = 64
"""No longer answers than this are sampled for the check."""
_SHARES = (0.03, 0.1, 0.3)
"""How large a change of the weights is, next to the weights; the first that shows is taken."""
_HALVES = 2
_SEEN = 4.0
"""A change is only worth a comparison if it moves log-probabilities by this many times the tolerance."""


@dataclass(frozen=True)
class Difference:
    """How far log-probabilities of sampled tokens are apart, in nats: at most, and on average."""

    largest: float
    mean: float

    def __str__(self) -> str:
        return f"{self.largest:.1e} (mean {self.mean:.1e})"


@dataclass(frozen=True)
class Parity:
    """What was found. `after` and `moved` are None where the weights could not be changed and put back.

    `token_ids` says where the prompts differ, "" when they are equal; `images` are grids and placeholders,
    and `grids` says where the two do not fit. `moved` is by how much the change of the weights moved the
    trainer's own log-probabilities: an engine with stale weights would be this far off.
    """

    rows: int
    tokens: int
    token_ids: str
    images: str
    tolerance: float
    before: Difference
    after: Difference | None = None
    moved: Difference | None = None
    compared: bool = True
    grids: str = ""

    def problems(self) -> list[str]:
        """What is wrong; empty when trainer and engine agree."""
        found = []
        if self.token_ids:
            found.append(f"the prompts differ: {self.token_ids}")
        if self.grids:
            found.append(self.grids)
        if not self.before.mean <= self.tolerance:
            found.append(
                f"log-probabilities differ by {self.before} before any update, more than {self.tolerance:g} "
                "on average: another model, precision or sampling option (top_k, top_p, min_p and "
                "repetition_penalty change what the engine reports; the trainer knows temperature alone)"
            )
        elif self.after is not None and not self.after.mean <= self._limit():
            found.append(
                f"log-probabilities differ by {self.after} after an update that moved them by {self.moved}: "
                "the engine did not get the weights"
            )
        return found

    def _limit(self) -> float:
        """In 16 bits both sides round, the more the further the weights were moved."""
        if self.tolerance < ALIKE_IN_16_BITS or self.moved is None:
            return self.tolerance
        return max(self.tolerance, self.moved.mean / 10)

    def inconclusive(self) -> str:
        """Why the second look tells nothing; "" when it does."""
        if self.after is None or self.moved is None:
            return "the weights (sharded, or none that train) were not changed for a second look"
        if self.moved.mean < _SEEN * self.tolerance:
            return f"a change that moves log-probabilities by {self.moved} cannot tell new weights from old"
        return ""

    def summary(self) -> str:
        """One line with the largest differences."""
        ids = "differ" if self.token_ids else "equal" if self.compared else "packed, not compared"
        text = (
            f"{self.rows} rows, {self.tokens} sampled tokens; token ids {ids}; {self.images}; "
            "log-probabilities of trainer and engine differ by at most "
            f"{self.before} before an update"
        )
        if self.after is not None:
            text += f", by {self.after} after one that moved them by {self.moved}"
        return f"{text}; {why}" if (why := self.inconclusive()) else text

    def as_json(self) -> dict[str, Any]:
        """For a file: every field, and the problems."""
        return {**asdict(self), "problems": self.problems(), "summary": self.summary()}


def require(problems: Sequence[str]) -> None:
    """Raise `WorkFailed` unless trainer and engine agree."""
    if problems:
        raise WorkFailed(
            "the rollout engine does not sample from the model that trains:\n    " + "\n    ".join(problems)
        )


def tolerance_of(trainer: Any, given: float | None) -> float:
    """What the recipe gives, else by the precision of what trainer and engine compute in."""
    if given is not None:
        return given
    half = trainer.args.bf16 or trainer.args.fp16
    half = half or any(value.dtype != torch.float32 for value in trainer.model.parameters())
    return ALIKE_IN_16_BITS if half else ALIKE


def compare(trainer: Any, tolerance: float | None) -> Parity:
    """Look at a GRPO trainer of swift and its vLLM; its weights and logs are afterwards as they were."""
    tolerance = tolerance_of(trainer, tolerance)
    rows = _handful(trainer.train_dataset)
    model = trainer.accelerator.unwrap_model(trainer.model)
    after: Difference | None = None
    moved: Difference | None = None
    with _quietly(trainer):
        first = _observe(trainer, rows)
        for share in _SHARES:
            with _changed(model, share) as changed:
                if not changed:
                    break
                moved = first.difference(trainer)
                # All processes take the same share: a server gets the weights of one and answers all.
                shown = min(gather_object([moved.mean])) >= _SEEN * tolerance
                if shown or share == _SHARES[-1]:
                    after = _observe(trainer, rows).apart
                    break
    return Parity(
        len(rows),
        first.tokens,
        first.prompts,
        first.images,
        tolerance,
        first.apart,
        after,
        moved,
        first.compared,
        first.grids,
    )


@contextlib.contextmanager
def _quietly(trainer: Any) -> Iterator[None]:
    """Short answers, no dropout, and nothing of it in the logs of the training."""
    training, metrics, config = trainer.model.training, trainer._metrics, trainer.request_config
    trainer._metrics = {mode: type(values)(list) for mode, values in metrics.items()}
    trainer.request_config = copy.copy(config)
    trainer.request_config.max_tokens = min(config.max_tokens or _TOKENS, _TOKENS)
    trainer.model.eval()
    try:
        yield
    finally:
        trainer.model.train(training)
        trainer._metrics, trainer.request_config = metrics, config
        trainer._last_loaded_step = -1  # the engine gets the true weights before it samples again


def _handful(dataset: Any) -> list[dict[str, Any]]:
    rows = iter(dataset)
    return [row for row, _ in zip(rows, range(HANDFUL), strict=False)]


class _Observed:
    """Completions of the engine, and what the trainer thinks of them."""

    def __init__(self, trainer: Any, batches: Sequence[Any], prompts: Sequence[Sequence[int]]) -> None:
        self.batches = batches
        self.tokens = sum(int(batch["grpo_batch"].completion_mask.sum()) for batch in batches)
        if any(batch["grpo_batch"].rollout_per_token_logps is None for batch in batches):
            raise WorkFailed(
                "the rollout engine returned no log-probabilities, so there is nothing to compare"
            )
        self.apart = _difference(
            (
                batch["grpo_batch"].old_per_token_logps,
                batch["grpo_batch"].rollout_per_token_logps,
                batch["grpo_batch"].completion_mask,
            )
            for batch in batches
        )
        own = [ids for batch in batches for ids in _prompts(batch)]
        if len(prompts) > len(own):  # a server answers one process for all
            start = trainer.accelerator.process_index * len(own)
            prompts = prompts[start : start + len(own)]
        self.compared = bool(own) and len(own) == len(prompts)
        self.prompts = _first_difference(own, prompts)
        self.images, self.grids = _images(trainer, batches, prompts, self.compared)

    def difference(self, trainer: Any) -> Difference:
        """How far the trainer, as it is now, is from itself when it observed."""
        return _difference(
            (
                _logps(trainer, batch),
                batch["grpo_batch"].old_per_token_logps,
                batch["grpo_batch"].completion_mask,
            )
            for batch in self.batches
        )


def _observe(trainer: Any, rows: Sequence[Any]) -> _Observed:
    """Send the weights, let the engine answer, and score the answers with the trainer."""
    trainer._last_loaded_step = -1
    prompts: list[Sequence[int]] = []
    infer = trainer._engine_infer

    def record(*arguments: Any, **keywords: Any) -> Any:
        outputs = infer(*arguments, **keywords)
        prompts.extend(output.response.prompt_token_ids for output in outputs)
        return outputs

    trainer._engine_infer = record
    try:
        samples = trainer._generate_completions(trainer.to_samples(rows))
    finally:
        del trainer._engine_infer
    return _Observed(trainer, trainer._prepare_batch_inputs(samples), prompts)


@torch.no_grad()
def _logps(trainer: Any, batch: Any) -> Tensor:
    found: Tensor = trainer._get_per_token_logps_and_entropies(
        trainer.model, batch["model_inputs"], batch["grpo_batch"]
    )[0]
    return found


def _difference(parts: Any) -> Difference:
    gaps = torch.cat([(one - other).float().abs()[mask.bool()] for one, other, mask in parts])
    if not len(gaps):
        raise WorkFailed("the rollout engine gave empty answers, so there is nothing to compare")
    return Difference(float(gaps.max()), float(gaps.mean()))


def _prompts(batch: Any) -> Iterator[list[int]]:
    """The token ids before each completion, as the trainer has them."""
    inputs, masks = batch["model_inputs"], batch["grpo_batch"].completion_mask
    if inputs["input_ids"].shape[0] != masks.shape[0]:
        return  # packed into one row (padding_free)
    for ids, real, completion in zip(inputs["input_ids"], inputs["attention_mask"], masks, strict=True):
        kept = ids[real.bool()]
        yield kept[: len(kept) - int(completion.sum())].tolist()


def _first_difference(own: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> str:
    for row, (one, other) in enumerate(zip(own, theirs, strict=False)):
        if list(one) != list(other):
            at = next(
                (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None
            )
            if at is None:
                return f"row {row} has {len(one)} tokens in the trainer and {len(other)} in the engine"
            return f"row {row}, token {at}: {one[at]} in the trainer, {other[at]} in the engine"
    return ""


def _images(
    trainer: Any, batches: Sequence[Any], prompts: Sequence[Sequence[int]], compared: bool
) -> tuple[str, str]:
    """The grids of the images and the engine's placeholders; and where the two do not fit."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    ids = set(never_sampled(trainer.processing_class, model.config.model_type, families=bases()))
    placeholders = sum(token in ids for prompt in prompts for token in prompt)
    grids = [grid.tolist() for batch in batches for grid in batch["model_inputs"].get("image_grid_thw", ())]
    if not grids:
        return f"images with {placeholders} placeholders", ""
    sizes = ", ".join(sorted({"x".join(map(str, grid)) for grid in grids}))
    text = f"{len(grids)} images of {sizes} patches with {placeholders} placeholders"
    wanted = sum(math.prod(grid) for grid in grids) // model.config.vision_config.spatial_merge_size**2
    if compared and placeholders != wanted:
        return text, f"the engine has {placeholders} placeholders for images that need {wanted}"
    return text, ""


@contextlib.contextmanager
def _changed(model: nn.Module, share: float = 0.1) -> Iterator[bool]:
    """Other weights for a while, by `share` of their size: every router, and some of the rest that trains.

    False: sharded, or nothing trains; not done. Restored bit for bit. All processes draw the same change.
    """
    chosen = _chosen(model)
    if not chosen:
        yield False
        return
    # A sync merges LoRA into the weights below it and takes it out again, and 16 bits round on the way.
    kept = [(each, each.detach().clone()) for each in [*dict(chosen).values(), *_below(model, chosen)]]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in chosen:
            spread = float(parameter.float().square().mean().sqrt())
            scale = share * spread if spread else share * (3.0 if f".{ROUTER}." in name else 0.2)
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.add_(noise.to(parameter))
    try:
        yield True
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)


def _chosen(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Routers, one dynamic weight, then small tensors first; of LoRA no more than two halves."""
    found = [pair for pair in model.named_parameters() if pair[1].requires_grad]
    if any(hasattr(parameter, "full_tensor") or hasattr(parameter, "ds_id") for _, parameter in found):
        return []
    dynamic = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, FDProjection)}
    lora = [name for name, _ in found if ".lora_" in name]
    left_out = set(lora) - set([name for name in lora if ".lora_B." in name][:_HALVES])

    def place(pair: tuple[str, nn.Parameter]) -> tuple[bool, bool, int]:
        return f".{ROUTER}." not in pair[0], pair[0] not in dynamic, pair[1].numel()

    total, chosen = 0, []
    for name, parameter in sorted(found, key=place):
        if name in left_out or total + parameter.numel() > _CHANGED:
            continue
        total += parameter.numel()
        chosen.append((name, parameter))
    return chosen


def _below(model: nn.Module, chosen: Sequence[tuple[str, nn.Parameter]]) -> list[nn.Parameter]:
    """The weights that the chosen halves of LoRA are merged into."""
    layers = {name.partition(".lora_")[0] for name, _ in chosen if ".lora_" in name}
    return [model.get_parameter(f"{layer}.base_layer.weight") for layer in sorted(layers)]
