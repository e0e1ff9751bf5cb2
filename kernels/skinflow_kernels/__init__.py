"""Numerical core of the dynamic vision encoder: weights split into frequency bands and mixed for each image.

Knows torch, and nothing else of this project.
"""

from skinflow_kernels.bands import band_thresholds
from skinflow_kernels.dispatch import backends
from skinflow_kernels.projections import follow_weight, join_bands, split_bands
from skinflow_kernels.reference import virtual_width_linear_reference
from skinflow_kernels.segments import segment_lengths, segment_means
from skinflow_kernels.virtual_width import virtual_width_linear

__all__ = [
    "backends",
    "band_thresholds",
    "follow_weight",
    "join_bands",
    "segment_lengths",
    "segment_means",
    "split_bands",
    "virtual_width_linear",
    "virtual_width_linear_reference",
]
