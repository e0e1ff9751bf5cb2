"""Whether Triton's kernels can run here, and how: on a GPU, or step by step in its interpreter for tests."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext

import torch

from skinflow_kernels.backends import Where

OLDEST = (3, 6)
"""Triton of torch 2.11, the oldest torch that we allow."""
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@functools.cache
def _missing() -> str:
    """Why there is no Triton to speak of; "" when there is."""
    try:
        import triton
    except Exception as error:  # a build for other hardware fails in many ways
        return f"triton cannot be imported ({error}); on a GPU: pip install triton"
    found = tuple(int(part) for part in triton.__version__.split(".")[:2])
    if found < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"triton {triton.__version__} is too old; expected {oldest} or newer: pip install -U triton"
    return ""


def interpreted() -> bool:
    """Whether Triton was loaded with TRITON_INTERPRET=1: its kernels then run in Python, on any device."""
    if _missing():
        return False
    import triton

    return bool(triton.knobs.runtime.interpret)


def cannot(where: Where) -> str:
    """Why Triton's kernels cannot compute there; "" where they can."""
    wrong = [dtype for dtype in (where.dtype, where.weight_dtype) if dtype not in FLOATS]
    if wrong:
        return f"the kernels compute in float32, bfloat16 and float16, not in {wrong[0]}"
    if missing := _missing():
        return missing
    if interpreted():
        return ""
    return _without_a_gpu(where.device)


@functools.cache
def _without_a_gpu(device: torch.device) -> str:
    """Why compiled kernels cannot run on a device; asked of the driver once."""
    if device.type != "cuda":
        return f"the tokens are on the {device.type}, and Triton's kernels run on NVIDIA GPUs"
    if torch.version.cuda is None:
        return "this torch is no CUDA build, and the kernels were never tried on another GPU"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f"the GPU has compute capability {major}.{minor}; expected 8.0 or newer"
    return ""


def only_by_name(where: Where) -> str:
    """Why "auto" leaves Triton alone though it could compute."""
    return "Triton's interpreter (TRITON_INTERPRET=1) is for tests; it runs when it is named" * interpreted()


def launching_on(device: torch.device) -> AbstractContextManager[object]:
    """Within it kernels run on that device: Triton takes the current one, wherever its arguments are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def product_precision() -> str:
    """How `tl.dot` multiplies float32: as torch was told to for its own products."""
    # Not `allow_tf32`, which raises where somebody has set this newer attribute.
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
