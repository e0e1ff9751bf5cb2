"""Numerical core of the dynamic vision encoder: weights split into frequency bands and mixed for each image.

Knows torch and, where there is a GPU, Triton; nothing else of this project.
"""

from skinflow_kernels.bands import band_thresholds
from skinflow_kernels.descriptor import ACTIVATIONS, activated_means, router_gains, segment_means
from skinflow_kernels.projections import follow_weight, join_bands, split_bands
from skinflow_kernels.segments import segment_lengths
from skinflow_kernels.virtual_width import (
    backends,
    explain,
    virtual_width_linear,
    virtual_width_linear_reference,
)

__all__ = [
    "ACTIVATIONS",
    "activated_means",
    "backends",
    "band_thresholds",
    "explain",
    "follow_weight",
    "join_bands",
    "router_gains",
    "segment_lengths",
    "segment_means",
    "split_bands",
    "virtual_width_linear",
    "virtual_width_linear_reference",
]
