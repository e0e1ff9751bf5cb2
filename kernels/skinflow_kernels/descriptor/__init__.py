"""What an image looks like on average, and the gains that follow from it.

The mean token of an image is taken where its tokens are computed, not in another pass over them.
"""

from skinflow_kernels.descriptor.activation import ACTIVATIONS, activated_means
from skinflow_kernels.descriptor.gains import router_gains
from skinflow_kernels.descriptor.means import segment_means

__all__ = ["ACTIVATIONS", "activated_means", "router_gains", "segment_means"]
