"""Generate in the middle of a training without leaving a trace in it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy
import torch


@contextlib.contextmanager
def undisturbed(trainer: Any) -> Iterator[None]:
    """The model in evaluation mode for a while; every mode and random state is afterwards as it was.

    Greedy answers draw nothing, but what else runs meanwhile (templates, engines, a plug-in's metric) may.
    """
    modes = {
        module: module.training
        for model in (trainer.model_wrapped, trainer.model)
        for module in model.modules()
    }
    states = random.getstate(), numpy.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            trainer.model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        random.setstate(states[0])
        numpy.random.set_state(states[1])
