"""The dynamic projection of the SkinFlow paper as plain torch modules, which know no model and no trainer.

Importing this package imports torch.
"""

from skinflow_plugins.vision.projection import FDProjection, image_means, pack
from skinflow_plugins.vision.router import GATES, Gains, Router

__all__ = ["GATES", "FDProjection", "Gains", "Router", "image_means", "pack"]
