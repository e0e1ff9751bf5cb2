"""The virtual-width linear layer: its definition, plain PyTorch, Triton kernels, and the choice of one."""

from skinflow_kernels.virtual_width.dispatch import backends, explain
from skinflow_kernels.virtual_width.op import virtual_width_linear
from skinflow_kernels.virtual_width.reference import virtual_width_linear_reference

__all__ = ["backends", "explain", "virtual_width_linear", "virtual_width_linear_reference"]
