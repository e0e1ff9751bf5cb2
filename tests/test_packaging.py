"""The list of packages in pyproject.toml against the tree, and the tree against a wheel built from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Folder -> import name of everything that is shipped. kernels/ comes with its first kernel.
SHIPPED = {"skinflow_plugins": "skinflow_plugins", "recipes": "skinflow_recipes"}
if (ROOT / "kernels").is_dir():
    SHIPPED["kernels/skinflow_kernels"] = "skinflow_kernels"

# Import names of others. A folder of ours on sys.path would hide them.
TAKEN = {"datasets", "evaluate", "kernels", "swift", "trl", "utils"}


def is_source(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")


def import_names() -> dict[str, Path]:
    """Every folder with an `__init__.py` in the trees that are shipped, by import name."""
    names = {}
    for folder, name in SHIPPED.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / folder)
            names[".".join([name, *inside.parts])] = init.parent
    return names


def test_the_list_of_packages_is_the_tree() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(import_names())


def test_package_dir_names_every_folder_whose_import_name_differs() -> None:
    expected = {name: folder for folder, name in SHIPPED.items() if folder != name}
    assert PROJECT["tool"]["setuptools"]["package-dir"] == expected


def test_kernels_and_tests_are_no_packages() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists(), "it would hide Hugging Face's own `kernels`"
    assert list((ROOT / "tests").rglob("__init__.py")) == [], (
        "importlib mode needs none, and tests/kernels must not be one"
    )


def test_no_package_is_named_like_a_dependency() -> None:
    folders = [path for path in (ROOT / "skinflow_plugins").rglob("*") if path.is_dir()]
    assert [path for path in folders if path.name in TAKEN] == []


def test_the_entry_folder_holds_only_the_plugin() -> None:
    entry = ROOT / "skinflow_plugins" / "bridge" / "entry"
    assert [path.name for path in entry.iterdir() if path.name != "__pycache__"] == ["plugin.py"]


def test_entry_points_lead_somewhere() -> None:
    project = PROJECT["project"]
    targets = [*project["scripts"].values(), *project["entry-points"]["skinflow"].values()]
    missing = [target for target in targets if find_spec(target.partition(":")[0]) is None]
    assert missing == []


def test_the_installed_entry_points_are_those_of_the_project() -> None:
    declared = PROJECT["project"]["entry-points"]["skinflow"]
    installed = {point.name: point.value for point in entry_points(group="skinflow")}
    assert declared.items() <= installed.items(), "run `make venv` or `pip install -e .` again"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tree, so that no build leftovers appear in it or come from it."""
    copy = tmp_path_factory.mktemp("project")
    without = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for folder in SHIPPED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=without)
    for file in ("pyproject.toml", "LICENSE", PROJECT["project"].get("readme")):
        if file:
            shutil.copy(ROOT / file, copy)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(copy / "dist"),
        str(copy),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_tree(wheel: zipfile.ZipFile) -> None:
    tree = {
        f"{name}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, name in SHIPPED.items()
        for path in (ROOT / folder).rglob("*")
        if is_source(path)
    }
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == tree
    assert "skinflow_plugins/py.typed" in shipped


def test_the_wheel_states_its_licence(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(metadata).decode("utf-8")
    assert "License-Expression: Apache-2.0" in text
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
