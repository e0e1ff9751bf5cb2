"""Everything that swift learns from us, in one idempotent call.

swift loads the external-plugin file under a name made of its path, so one process may run it several times;
the registries are plain dictionaries in which a second entry silently wins. Hence: ours may be replaced by
ours, and nothing else is ever replaced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from skinflow_plugins.bridge import adapters, processes, settings, token_ids
from skinflow_plugins.bridge.settings import DIAGNOSIS_METRIC, SPEED, TAXONOMY_WITHOUT_RECIPE
from skinflow_plugins.bridge.settings import OPTIONS_VARIABLE as OPTIONS_VARIABLE
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.declare import Reward
from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.orphans import end_with_parent
from skinflow_plugins.recipe.plan import RewardPlan

JUDGE = "judge"
"""The name in SKINFLOW_OPTIONS for the judge of all rewards that ask one."""


def register() -> None:
    """Register rewards, the evaluation metric, the callback and the template fixes with swift.

    Under a recipe the rewards are those of its stage, keyed `stage.reward`; without one they are the whole
    catalogue under their plain names, with options from SKINFLOW_OPTIONS (JSON: reward -> options) and, where
    a taxonomy must be named, fitzpatrick17k. `judge` there stands for the judge of all rewards that take one,
    and `speed` for what a recipe says under `speed:`.
    """
    from swift.callbacks import callbacks_map
    from swift.metrics import eval_metrics_map
    from swift.optimizers import optimizers_map
    from swift.rewards import orms

    from skinflow_plugins.bridge.callback import SkinflowCallback
    from skinflow_plugins.bridge.checkpoints import keep_module_names
    from skinflow_plugins.bridge.dynamic_guard import guard_trainers
    from skinflow_plugins.bridge.dynamic_models import register_dynamic_models
    from skinflow_plugins.bridge.evaluating.metric import DiagnosisMetric
    from skinflow_plugins.bridge.optimizer import SkinflowOptimizer
    from skinflow_plugins.bridge.reuse.install import reuse_work
    from skinflow_plugins.bridge.rewarding.install import watch_rewards
    from skinflow_plugins.bridge.rollouts.install import install
    from skinflow_plugins.bridge.rollouts.sampling import sample_as_asked

    end_with_parent()
    processes.join_on_cpu()
    token_ids.read_token_ids_from_tokenizer()
    keep_module_names()
    register_dynamic_models(catalogue())
    guard_trainers()
    sample_as_asked()
    install()
    watch_rewards()
    reuse_work()
    callbacks_map["skinflow"] = SkinflowCallback
    optimizers_map["skinflow"] = SkinflowOptimizer
    eval_metrics_map[DIAGNOSIS_METRIC] = DiagnosisMetric
    stage = settings.current()
    plans = stage.rewards if stage else _without_recipe()
    together = [plan.component(catalogue()) for plan in plans]
    for plan in plans:
        other = orms.get(plan.key)
        if other is not None and not is_ours(other):
            # Without a recipe our plain names may meet swift's own (`format`); swift's keep their meaning.
            plan = dataclasses.replace(plan, key=f"skinflow_{plan.key}")
        component = plan.component(catalogue())
        orms[plan.key] = adapters.reward_class(component, stage, together if stage else ())


def is_ours(value: Any) -> bool:
    """Whether a registered reward is one of our adapters."""
    return isinstance(value, type) and hasattr(value, "skinflow_component")


def _without_recipe() -> tuple[RewardPlan, ...]:
    known = catalogue().table("rewards")
    given = settings.from_environment()
    wrong = [
        Problem(f"unknown reward {n!r}; {nearest(n, [*known, JUDGE, SPEED])}", OPTIONS_VARIABLE)
        for n in given
        if n not in known and n not in (DIAGNOSIS_METRIC, JUDGE, SPEED)
    ]
    if wrong:
        raise InputError(wrong)
    settings.speed_from(given.get(SPEED, {}))  # a mistake in it is told before a model is loaded
    return tuple(
        RewardPlan(name, name, "", 1.0, _for_all(entry.value, given.get(name, {}), given.get(JUDGE)))
        for name, entry in known.items()
    )


def _for_all(reward: Reward, given: Mapping[str, Any], judge: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options, with the taxonomy and the judge that a recipe would have named for all rewards."""
    options = dict(given)
    if judge is not None and any(option.name == JUDGE for option in reward.options):
        options.setdefault(JUDGE, judge)
    if any(option.name == "taxonomy" and option.required for option in reward.options):
        options.setdefault("taxonomy", TAXONOMY_WITHOUT_RECIPE)
    return options
