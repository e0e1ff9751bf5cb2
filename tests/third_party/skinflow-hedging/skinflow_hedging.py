"""A plug-in for SkinFlow: a penalty for answers that name too many diagnoses, a taxonomy and a recipe."""

from pathlib import Path

from skinflow_plugins import hookimpl, reward

FILES = Path(__file__).parent / "skinflow_hedging_files"


@reward("hedging", low=-1.0, high=0.0, needs=())
def hedging(answer: str, *, most: int = 3, **sample) -> float:
    """-1 when the answer names more than `most` diagnoses."""
    return -1.0 if answer.count(";") >= most else 0.0


@hookimpl
def skinflow_rewards():
    return [hedging]


@hookimpl
def skinflow_taxonomies():
    return [FILES / "nails.yaml"]


@hookimpl
def skinflow_recipe_dirs():
    return [FILES / "recipes"]
