"""Rewards: plain functions of an answer and its sample, and the guarded way to call them."""

from skinflow_plugins.rewards.answer_form import answer_form
from skinflow_plugins.rewards.calling import RewardError, acall_reward, call_reward
from skinflow_plugins.rewards.caption_fields import caption_fields
from skinflow_plugins.rewards.ranked_diagnosis import ranked_diagnosis

__all__ = [
    "RewardError",
    "acall_reward",
    "answer_form",
    "call_reward",
    "caption_fields",
    "ranked_diagnosis",
]
