"""An alarm for a total that one reward makes alone, while another of at least its weight is not learnt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinflow_plugins.monitoring.alarm import Finding
from skinflow_plugins.monitoring.history import History

IGNORED = 0.02
"""Of the total's variance: less is no part in the gradient."""


def one_sided(history: History) -> Iterator[Finding]:
    """A reward makes nearly all of the variance within groups; one of more weight is low and makes none.

    Says nothing without weights, and of a reward whose values leave its declared range (by default 0 to 1).
    """
    settings = history.settings
    variance = sum(facts.variance for facts in history.recent)
    if not history.filled or not history.weights or variance <= 0:
        return
    keys = [key for key in history.step.components if history.weights.get(key, 0.0) > 0]
    share = {key: sum(facts.parts.get(key, 0.0) for facts in history.recent) / variance for key in keys}
    for first in keys:
        if share[first] < settings.one_sided_share:
            continue
        for other in keys:
            low, high = history.ranges.get(other, (0.0, 1.0))
            mean = float(np.mean([facts.means.get(other, np.nan) for facts in history.recent]))
            poor = low <= mean < (low + high) / 2
            if other == first or share[other] > IGNORED or not poor:
                continue
            if history.weights[other] < history.weights[first]:
                continue
            message = (
                f"{first} (weight {history.weights[first]:g}) makes {100 * share[first]:.0f} % of the "
                f"differences in the total within groups over the last {settings.window} steps; {other} "
                f"(weight {history.weights[other]:g}) makes {100 * abs(share[other]):.0f} % and stands at a "
                f"mean of {mean:.2f}. The policy learns the first alone."
            )
            best = int(np.argmax(np.nan_to_num(history.step.totals)))
            yield Finding(
                message, share[first], settings.one_sided_share, history.step.lines[best], f"{first}, {other}"
            )
