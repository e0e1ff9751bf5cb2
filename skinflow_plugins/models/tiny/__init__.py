"""Tiny, untrained members of each base model family, for tests and for the demo on a laptop."""

from skinflow_plugins.models.tiny.build import build_tiny

__all__ = ["build_tiny"]
