"""Which layers and projections a seam makes dynamic, told from the config alone."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from skinflow_plugins.models import FAMILIES, VisionSeam, family_named
from skinflow_plugins.models.seam import rows


def config(depth: int = 32, **others: Any) -> SimpleNamespace:
    vision = {"depth": depth, "num_hidden_layers": depth, "fullatt_block_indexes": [7, 15, 23, 31]}
    return SimpleNamespace(vision_config=SimpleNamespace(**vision), **others)


def seam(name: str) -> VisionSeam:
    found = family_named(name).seam
    assert found is not None
    return found


def test_full_attention() -> None:
    assert seam("qwen2_5_vl").layers(config(), "full_attention") == (7, 15, 23, 31)
    assert seam("qwen3_vl").layers(config(27), "full_attention") == tuple(range(27))
    assert seam("llava").layers(config(24, vision_feature_layer=-2), "full_attention") == tuple(range(23))


def test_quarters() -> None:
    assert seam("qwen2_5_vl").layers(config(), "quarters") == (
        7,
        15,
        23,
        31,
    )  # the paper's, counted from 1: 8, ..
    assert seam("qwen3_vl").layers(config(24), "quarters") == (5, 11, 17, 23)
    assert seam("qwen3_vl").layers(config(27), "quarters") == (5, 12, 19, 26)
    assert seam("qwen3_vl").layers(config(2), "quarters") == (0, 1)
    assert seam("llava").layers(config(24, vision_feature_layer=-2), "quarters") == (4, 10, 16, 22)


@pytest.mark.parametrize(
    ("read", "last"), [(-1, 23), (-2, 22), (24, 23), (1, 0), ([-2, -5], 22), ([3, 7], 6), (-24, 0)]
)
def test_layers_that_nobody_reads(read: Any, last: int) -> None:
    layers = seam("llava").layers
    some = config(24, vision_feature_layer=read)
    assert layers(some, "full_attention") == tuple(range(last + 1))
    assert layers(some, [last]) == (last,)
    if last < 23:
        with pytest.raises(ValueError, match=f"nobody reads what layer {last + 1} gives: .* layer {last}"):
            layers(some, [last + 1])


def test_numbers_are_sorted() -> None:
    assert seam("qwen2_5_vl").layers(config(), [31, 7]) == (7, 31)
    assert seam("qwen2_5_vl").layers(config(), (15,)) == (15,)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([32], "there is no layer 32; the vision tower has 0 to 31"),
        ([-1], "there is no layer -1"),
        ([7, 8], "layer 8 attends within windows .* layers with full attention: 7, 15, 23, 31"),
        ([7, 7], "found one layer twice"),
        ("half", "found 'half'; expected 'full_attention' or 'quarters', or numbers from 0 to 31"),
        ([], "found \\[\\]"),
        (["7"], r"found \['7'\]; expected"),
        ([True], r"found \[True\]; expected"),
        ([7.0], r"found \[7.0\]; expected"),
    ],
)
def test_layers_that_do_not_fit(wanted: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seam("qwen2_5_vl").layers(config(), wanted)


def test_projections() -> None:
    gated, plain = seam("qwen2_5_vl"), seam("gemma3")
    assert gated.chosen("all") == ("gate", "up", "down")
    assert plain.chosen("all") == ("up", "down")
    assert gated.chosen(["down", "gate"]) == ("gate", "down")
    assert gated.chosen("up") == ("up",)
    assert gated.chosen(["up", "up"]) == ("up",)
    for wanted in (["gate"], "fc1", [], ["all"]):
        with pytest.raises(ValueError, match=r"this vision tower has up, down \(or: all\)"):
            plain.chosen(wanted)


def test_seams_are_data() -> None:
    """Comparable and hashable, because classes are made once for each; and light to import."""
    assert rows() == rows()
    assert hash(rows()) == hash(rows())
    assert rows() != rows(images="masked_rows")
    assert all(family.seam is not None for family in FAMILIES)
    code = (
        "import sys; import skinflow_plugins.models.seam; "
        "sys.exit(' '.join({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_functions_are_not_hidden_by_their_modules() -> None:
    code = (
        "import sys; from importlib import import_module\n"
        "for name in ('families', 'graft', 'load'):\n"
        "    first = getattr(import_module(f'skinflow_plugins.models.{name}'), name)\n"
        "    package = import_module('skinflow_plugins.models')\n"
        "    assert getattr(package, name) is first and callable(first), name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
