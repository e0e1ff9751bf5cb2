"""What a kept answer is found by: the hash of everything that can change it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skinflow_plugins.judging.settings import Judge

FORMAT = 1
"""Of keys and of the file; another one shares nothing with this."""

# The escapes make any string encodable; sorted keys make equal mappings equal texts.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def answer_key(
    judge: Judge,
    messages: Sequence[Mapping[str, Any]],
    *,
    schema: Mapping[str, Any],
    name: str,
    seed: int,
    max_tokens: int,
    left_out: Sequence[str],
) -> bytes:
    """SHA-256, 32 bytes, of the canonical JSON of a call.

    The key of the server is no part of it, nor is how the judge is asked (timeouts, limits). The seed is,
    even where the server takes none: it tells the runs of one question apart. `left_out` are the options
    that the server does not take.
    """
    call = {
        "format": FORMAT,
        "endpoint": judge.endpoint.rstrip("/"),
        "model": judge.model,
        "temperature": float(judge.heat),
        "seed": seed,
        "max_tokens": max_tokens,
        "left_out": sorted(left_out),
        "name": name,
        "schema": schema,
        "messages": messages,
    }
    return hashlib.sha256(_canonical(call).encode("ascii")).digest()
