"""`skinflow list`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli.listing import KINDS


def test_the_overview_names_everything(skinflow: Callable[..., Any]) -> None:
    done = skinflow("list")
    assert (done.code, done.err) == (0, "")
    known = catalogue()
    for kind in ("rewards", "metrics", "datasets", "base_models", "vision_encoders", "taxonomies"):
        line = next(line for line in done.out.splitlines() if line.startswith(kind))
        assert line.split(maxsplit=1)[1] == ", ".join(known.names(kind))
    assert "quickstart" in done.out
    assert "skinflow-plugins:builtin" in done.out


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_with_owner_and_summary(kind: str, skinflow: Callable[..., Any]) -> None:
    done = skinflow("list", kind)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines
    if kind != "projections":
        assert all("skinflow-plugins" in line and len(line.split()) >= 4 for line in lines)


def test_a_line_is_the_docstrings_first(skinflow: Callable[..., Any]) -> None:
    row = ["format", "skinflow-plugins", "1 when the answer has exactly the form asked for, else 0."]
    lines = skinflow("list", "rewards").out.splitlines()
    assert row in [line.strip().split(maxsplit=2) for line in lines]
