"""Rows without a score get the mean of their group: what competes for one prompt shares the blank."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def filled(rewards: Tensor, groups: Sequence[Hashable]) -> Tensor:
    """`rewards` (n, k), with each NaN replaced by the mean of its column over the rows of its group.

    `groups` names the group of each row, (n,). A column that a whole group lacks (a reward of another stage,
    or one whose judge failed throughout) stays NaN there: swift then counts it as zero for all of the group,
    which changes none of the differences that GRPO learns from.
    """
    if not rewards.isnan().any():
        return rewards
    # In double precision, so that the mean of equal values is that value: a rounding error would look like a
    # spread, which `scale_rewards: gdpo` blows up and `dynamic_sample` takes for a signal.
    result = rewards.detach().cpu().double()
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    for members in rows.values():
        part = result[members]
        if part.isnan().any():
            means = part.nanmean(dim=0, keepdim=True)  # NaN where the whole group lacks the column
            result[members] = part.where(~part.isnan(), means.expand_as(part))
    return result.to(rewards)
