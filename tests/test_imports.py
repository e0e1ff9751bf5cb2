"""Imports point one way, and only `bridge/` knows swift; as the tree says, so it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "skinflow_plugins"

CORE = {"errors", "options", "declare", "hookspecs"}
# room -> the rooms whose names it may import
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "options": {"errors"},
    "declare": {"options"},
    "hookspecs": set(),
    "catalogue": CORE,
    "data": CORE,
    "diagnosis": CORE | {"data"},
    "judging": CORE | {"data", "diagnosis"},
    "rewards": CORE | {"data", "diagnosis", "judging"},
    "monitoring": CORE | {"diagnosis"},
    "captioning": CORE | {"data", "diagnosis", "judging"},
    "vision": set(),
    "models": CORE | {"vision"},
    "engine": CORE | {"catalogue", "models", "orphans", "vision"},
    "testing": CORE | {"data", "diagnosis", "judging", "models", "rewards", "vision"},
    "torchvision_cpu": set(),
    "orphans": set(),
    "report": CORE | {"data", "models", "monitoring", "recipe"},
    "recipe": CORE
    | {"catalogue", "data", "diagnosis", "engine", "judging", "models", "monitoring", "rewards"},
    "builtin": CORE | {"data", "diagnosis", "models", "rewards"},
    "bridge": CORE
    | {"catalogue", "data", "diagnosis", "engine", "judging", "models", "monitoring", "orphans", "recipe"}
    | {"rewards", "vision"},
    "cli": CORE
    | {"catalogue", "bridge", "captioning", "data", "diagnosis", "judging", "models", "monitoring", "recipe"}
    | {"report", "rewards", "torchvision_cpu", "vision"},
}
HEAVY = {"torch", "swift", "transformers", "trl", "peft", "accelerate", "datasets"}


def rooms() -> dict[str, list[Path]]:
    """Every module by the room that it stands in."""
    found: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        first = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if first != "__init__":
            found.setdefault(first, []).append(file)
    return found


def imported(tree: ast.AST, *, lazy: bool = True) -> Iterator[str]:
    """Names of imported modules; those that only a type checker sees are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif lazy or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imported(node, lazy=lazy)


KERNELS = ROOT / "kernels" / "skinflow_kernels"


def outside(files: Iterable[Path], own: str) -> dict[str, str]:
    """Top-level names of imported modules that are neither Python's nor `own`, and where."""
    return {
        top: str(file.relative_to(ROOT))
        for file in files
        for name in imported(ast.parse(file.read_text(encoding="utf-8")))
        if (top := name.split(".")[0]) not in sys.stdlib_module_names and top != own
    }


def test_the_kernels_know_nothing_of_ours() -> None:
    assert set(outside(KERNELS.rglob("*.py"), "skinflow_kernels")) <= {"torch", "triton"}


def test_the_dynamic_projection_knows_only_torch_and_the_kernels() -> None:
    assert set(outside(rooms()["vision"], "skinflow_plugins")) <= {"torch", "skinflow_kernels"}


def test_every_room_has_a_rule() -> None:
    assert set(rooms()) == set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_point_one_way(room: str) -> None:
    known = set(MAY_IMPORT)
    for file in rooms()[room]:
        for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
            parts = name.split(".")
            if parts[0] == "skinflow_plugins" and len(parts) > 1 and parts[1] in known - {room}:
                assert parts[1] in MAY_IMPORT[room], f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", sorted(set(MAY_IMPORT) - {"bridge"}))
def test_only_the_bridge_knows_swift(room: str) -> None:
    for file in rooms()[room]:
        for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
            assert name.split(".")[0] not in {"swift", "trl", "peft"}, (
                f"{file.relative_to(ROOT)} imports {name}"
            )


@pytest.mark.parametrize("room", sorted(set(MAY_IMPORT) - {"bridge", "engine"}))
def test_only_the_engine_and_the_bridge_know_vllm(room: str) -> None:
    for file in rooms()[room]:
        for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
            assert name.split(".")[0] != "vllm", f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", ["rewards", "diagnosis", "recipe", "data", "catalogue", "declare", "cli"])
def test_light_rooms_load_nothing_heavy(room: str) -> None:
    for file in rooms()[room]:
        for name in imported(ast.parse(file.read_text(encoding="utf-8")), lazy=False):
            assert name.split(".")[0] not in HEAVY, f"{file.relative_to(ROOT)} imports {name}"


def test_importing_the_package_and_its_catalogue_loads_nothing_heavy() -> None:
    code = (
        "import sys, skinflow_plugins\n"
        "from skinflow_plugins.catalogue import catalogue\n"
        "assert not [p.reason for p in catalogue().plugins if p.name == 'builtin' and p.reason]\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
