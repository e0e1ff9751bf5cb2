"""vLLM is an extra: without it everything imports that does not run it, only its own rooms know it."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import skinflow_plugins

PACKAGE = Path(skinflow_plugins.__file__).parent
KNOW_VLLM = ("skinflow_plugins.engine", "skinflow_plugins.bridge.rollouts")


def modules() -> list[str]:
    """Every module of ours that may not need vLLM; `__main__` would run the command line."""
    found = pkgutil.walk_packages([str(PACKAGE)], "skinflow_plugins.")
    names = [each.name for each in found]
    assert "skinflow_plugins.bridge.train" in names
    return [name for name in names if not name.startswith(KNOW_VLLM) and not name.endswith(".__main__")]


def test_every_other_module_is_imported_without_vllm() -> None:
    code = (
        "import importlib, sys\n"
        "sys.modules['vllm'] = None  # to Python, not installed\n"
        f"for name in {modules()!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_other_module_imports_vllm() -> None:
    """Not even inside of a function; the one above sees only what runs on import."""
    guilty = [
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] != "engine" and file.parent.name != "rollouts"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in imported(node)
        if name.split(".")[0] == "vllm"
    ]
    assert guilty == []


def imported(node: ast.AST) -> list[str]:
    """The modules that one statement imports."""
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
