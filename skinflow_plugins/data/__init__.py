"""Records and where they come from: the synthetic lesions, real archives, the user's own files."""

from skinflow_plugins.data.record import SPLITS, Head, Prediction, Record

__all__ = ["SPLITS", "Head", "Prediction", "Record"]
