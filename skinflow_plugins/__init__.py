"""SkinFlow plug-ins for ms-swift: staged rewards, recipes, and a dynamic vision encoder for dermatology.

For research; not a medical device. Importing this package imports neither torch nor swift.
"""

from skinflow_plugins.declare import NoVerdict, Score, dataset, metric, reward, vision_encoder
from skinflow_plugins.hookspecs import hookimpl

__all__ = ["NoVerdict", "Score", "dataset", "hookimpl", "metric", "reward", "vision_encoder"]
