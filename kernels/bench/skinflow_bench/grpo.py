"""One forward and backward as large as a GRPO step has them: the completions of one image, the language model
too.

The language model is trained and the tower frozen but for its routers, as in our recipes, with gradient
checkpointing; no optimizer step. There is one language model; the towers take turns in it. Axis letters: G
completions, L tokens of a sequence, P patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import Tensor

from skinflow_bench.attention import VARLEN
from skinflow_bench.clocks import Timed
from skinflow_bench.sizes import IDS
from skinflow_bench.tower_checks import tolerance
from skinflow_bench.tower_rows import DYNAMIC, PLAIN, Towers, routers
from skinflow_plugins.models.distinct_images import share_images, unshare_images

SHARED = "its image encoded once"


class Step:
    """A model and the inputs of one group: a prompt with an image, and G completions."""

    def __init__(self, towers: Towers, *, completions: int, side: int, prompt: int, answer: int) -> None:
        self.towers, self.answer = towers, answer
        device, size = towers.device, towers.size
        made = getattr(transformers, size.family.architectures[0])
        with torch.device(device):
            # The towers bring their own attention.
            own = "sdpa" if towers.attention == VARLEN else towers.attention
            self.model: Any = made._from_config(towers.config, dtype=towers.dtype, attn_implementation=own)
        for tower in (towers.plain, towers.dynamic):  # its own is not needed
            self.model.model.visual = tower
            self.model.train()
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        one, grid = towers.images_of(1, side)
        merged = side * side // towers.config.vision_config.spatial_merge_size**2
        image = [IDS["vision_start_token_id"], *[IDS["image_token_id"]] * merged, IDS["vision_end_token_id"]]
        words = torch.randint(
            20, towers.config.text_config.vocab_size, (completions, prompt + answer), device=device
        )
        words[:, :prompt] = words[0, :prompt]
        marked = torch.tensor([image] * completions, device=device)
        ids = torch.cat((words[:, : prompt // 2], marked, words[:, prompt // 2 :]), 1)
        self.ids = ids
        self.inputs: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == IDS["image_token_id"]).int(),
            "pixel_values": one.repeat(completions, 1),
            "image_grid_thw": grid.repeat(completions, 1),
            "logits_to_keep": answer + 1,
        }
        self.advantages = torch.randn(completions, 1, device=device)

    def loss(self) -> Tensor:
        """GRPO's loss at its first step, where the policy is the one that answered."""
        logits = self.model(**self.inputs, use_cache=False).logits[:, :-1].float()
        chosen = self.ids[:, -self.answer :, None]
        logps: Tensor = logits.gather(-1, chosen)[..., 0] - logits.logsumexp(-1)
        return -((logps - logps.detach()).exp() * self.advantages).mean()

    def rows(self) -> Iterator[tuple[str, str, Timed]]:
        """(tower, how it is given its images, what is timed)."""
        for how in ("", SHARED):
            for name, tower in ((PLAIN, self.towers.plain), (DYNAMIC, self.towers.dynamic)):
                yield name, how, self._timed(tower, shared=bool(how))

    def _timed(self, tower: Any, *, shared: bool) -> Timed:
        def before() -> list[Tensor]:
            self.model.model.visual = tower
            unshare_images(self.model)
            if shared and (why := share_images(self.model, self.towers.size.family)):
                raise RuntimeError(why)
            self.model.requires_grad_(True)
            tower.requires_grad_(False)
            for parameter in routers(tower).values():
                parameter.requires_grad_()
            return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

        return Timed(lambda trained: torch.autograd.grad(self.loss(), trained), before=before)

    def check(self) -> Iterator[str]:
        """What is wrong with the loss when images are shared: it must be the same."""
        for name, tower in ((PLAIN, self.towers.plain), (DYNAMIC, self.towers.dynamic)):
            norms = []
            for shared in (False, True):
                timed = self._timed(tower, shared=shared)
                gradients: Any = timed.run(timed.before())
                norms.append(torch.stack([g.float().norm() for g in gradients]).norm().item())
            if not abs(norms[0] - norms[1]) <= tolerance(self.towers.dtype) * norms[0]:
                yield f"{name}: the gradients' norm is {norms[0]:.6g}, with shared images {norms[1]:.6g}"
