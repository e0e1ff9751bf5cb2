"""Rewards: plain functions of an answer and its sample, and the guarded way to call them."""

from skinflow_plugins.rewards.abstain import abstain
from skinflow_plugins.rewards.answer_form import answer_form
from skinflow_plugins.rewards.calling import RewardError, acall_reward, call_reward
from skinflow_plugins.rewards.caption_fields import caption_fields
from skinflow_plugins.rewards.caption_overlap import caption_overlap
from skinflow_plugins.rewards.caption_recovers_diagnosis import caption_recovers_diagnosis
from skinflow_plugins.rewards.confidence import confidence
from skinflow_plugins.rewards.hierarchy_credit import hierarchy_credit
from skinflow_plugins.rewards.length import length
from skinflow_plugins.rewards.morphology_gate import morphology_gate
from skinflow_plugins.rewards.ranked_diagnosis import ranked_diagnosis
from skinflow_plugins.rewards.repetition import repetition
from skinflow_plugins.rewards.safety import safety

__all__ = [
    "RewardError",
    "abstain",
    "acall_reward",
    "answer_form",
    "call_reward",
    "caption_fields",
    "caption_overlap",
    "caption_recovers_diagnosis",
    "confidence",
    "hierarchy_credit",
    "length",
    "morphology_gate",
    "ranked_diagnosis",
    "repetition",
    "safety",
]
