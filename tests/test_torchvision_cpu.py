from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from skinflow_plugins import torchvision_cpu

needs_torchvision = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("torchvision") is None, reason="needs torch and torchvision"
)
needs_mismatch = pytest.mark.skipif(
    torchvision_cpu.diagnose(site=Path("nowhere")) is None,
    reason="torchvision fits torch here: there is nothing to cure",
)

# A process of its own in which the copy installed in this environment plays no part.
PREPARE = f"""
import importlib.util, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "TorchvisionCpuFinder"]
spec = importlib.util.spec_from_file_location("cure", {str(Path(torchvision_cpu.__file__))!r})
cure = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cure)
"""


def python(code: str, executable: str | Path = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([executable, "-c", code], capture_output=True, text=True, check=False)


@needs_torchvision
def test_torchvision_and_its_transforms_work() -> None:
    done = python(
        PREPARE
        + """
cure.install()
assert "torch" not in sys.modules, "install must not import torch"
importlib.util.find_spec("torchvision")
assert "torch" not in sys.modules, "asking whether torchvision exists must not import torch"
import torch, torchvision
from torchvision.transforms import v2
print(tuple(v2.Resize((4, 6))(torch.zeros(3, 16, 16)).shape), cure.declare_missing_operators())
"""
    )
    assert done.stdout.strip() == "(3, 4, 6) []", done.stderr


@needs_mismatch
def test_without_the_cure_torchvision_fails_and_can_be_cured_afterwards() -> None:
    done = python(
        PREPARE
        + """
try:
    import torchvision
except RuntimeError as error:
    print(error)
cure.install()
import torchvision
print("cured")
"""
    )
    assert done.stdout.splitlines() == ["operator torchvision::nms does not exist", "cured"], done.stderr


@needs_mismatch
def test_an_operator_without_kernel_says_so() -> None:
    done = python(
        PREPARE
        + """
cure.install()
import torch, torchvision
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
"""
    )
    assert "RuntimeError: Couldn't load custom C++ ops" in done.stderr


@needs_torchvision
def test_it_does_nothing_where_torch_has_cuda() -> None:
    done = python(
        PREPARE
        + """
import torch
torch.version.cuda = "13.0"
cure.install()
try:
    import torchvision
except RuntimeError:  # still broken on this machine; the point is that we kept out of it
    pass
print(cure.declare_missing_operators(), cure._declared)
"""
    )
    assert done.stdout.strip() == "[] []", done.stderr


@needs_torchvision
def test_it_does_nothing_where_the_library_of_operators_is_loaded() -> None:
    """Declaring an operator twice is an error in torch, so a CPU build of torchvision must stay untouched."""
    done = python(
        PREPARE
        + f"""
import torch
library = torch.library.Library("torchvision", "FRAGMENT")
library.define("nms{torchvision_cpu._SIGNATURE}")
library.define("qnms{torchvision_cpu._SIGNATURE}")
print(cure.declare_missing_operators(), cure._declared)
"""
    )
    assert done.stdout.strip() == "[] []", done.stderr


def test_install_is_idempotent_also_across_copies() -> None:
    done = python(
        PREPARE
        + """
first = cure
spec.loader.exec_module(second := importlib.util.module_from_spec(spec))
first.install(); first.install(); second.install()
print(sum(type(finder).__name__ == "TorchvisionCpuFinder" for finder in sys.meta_path))
"""
    )
    assert done.stdout.strip() == "1", done.stderr


def test_write_and_remove_undo_each_other(tmp_path: Path) -> None:
    assert torchvision_cpu.state(tmp_path) == "absent"
    written = torchvision_cpu.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    assert torchvision_cpu.state(tmp_path) == "current"

    written[0].write_text("# an older version\n", encoding="utf-8")
    assert torchvision_cpu.state(tmp_path) == "outdated"

    assert set(torchvision_cpu.remove(tmp_path)) == set(written)
    assert list(tmp_path.iterdir()) == []
    assert torchvision_cpu.remove(tmp_path) == []


def test_the_command_in_a_virtual_environment(tmp_path: Path) -> None:
    """The whole round in a bare environment: written, at work in every process and light, removed."""
    venv.create(tmp_path, with_pip=False, symlinks=os.name != "nt")
    executable = tmp_path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    source = torchvision_cpu.__file__

    def command(*arguments: str) -> list[str]:
        run = [executable, source, *arguments]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()

    assert [Path(line.removeprefix("wrote ")).name for line in command()] == [
        f"{torchvision_cpu.COPY_NAME}.py",
        torchvision_cpu.PTH_NAME,
    ]
    start = python(
        "import sys; heavy = {'torch', 'skinflow_plugins', 'typing'} & set(sys.modules); "
        "print(type(sys.meta_path[0]).__name__, heavy)",
        executable,
    )
    assert start.stdout.strip() == "TorchvisionCpuFinder set()"
    assert start.stderr == ""

    assert "current" in command("--check")[0]
    assert command("--remove")[0].startswith("removed ")
    assert [path for path in tmp_path.rglob("*") if "torchvision" in path.name] == []
    assert command("--remove")[0].startswith("Nothing to remove in ")
    start = python("import sys; print(type(sys.meta_path[0]).__name__)", executable)
    assert start.stdout.strip() != "TorchvisionCpuFinder"


def test_the_command_refuses_a_shared_python(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(torchvision_cpu, "site_packages", lambda: tmp_path)
    assert torchvision_cpu.main([]) == 2
    assert torchvision_cpu.main(["--remove"]) == 2
    message = capsys.readouterr().err
    assert "not in a virtual environment" in message
    assert "python -m venv" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cuda", "torchvision", "cure"),
    [
        ("13.0", "0.28.0+cu130", "absent"),  # a GPU build of both
        (None, "0.28.0+cpu", "absent"),  # a CPU build of both
        (None, "0.28.0", "absent"),  # macOS: no suffix at all
        (None, "0.28.0+cu130", "current"),
    ],
)
def test_diagnose_is_silent_where_torchvision_works(cuda: str | None, torchvision: str, cure: str) -> None:
    assert torchvision_cpu._explain("2.13.0", cuda, torchvision, cure) is None


def test_diagnose_names_both_builds_and_the_command() -> None:
    message = torchvision_cpu._explain("2.13.0+cpu", None, "0.28.0+cu130", "absent")
    assert message is not None
    assert "torch 2.13.0+cpu is a CPU build" in message
    assert "torchvision 0.28.0+cu130 was built for CUDA" in message
    assert "operator torchvision::nms does not exist" in message
    assert "`python -m skinflow_plugins.torchvision_cpu`" in message

    outdated = torchvision_cpu._explain("2.13.0+cpu", None, "0.28.0+cu130", "outdated")
    assert outdated is not None
    assert "another version of skinflow-plugins" in outdated


def test_check_reports_and_exits_with_one_where_the_cure_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    versions = {
        "torch": {"__version__": "2.13.0+cpu", "cuda": None},
        "torchvision": {"__version__": "0.28.0+cu130"},
    }
    monkeypatch.setattr(torchvision_cpu, "_version_file", versions.get)
    monkeypatch.setattr(torchvision_cpu, "site_packages", lambda: tmp_path)
    assert torchvision_cpu.main(["--check"]) == 1
    torchvision_cpu.write(tmp_path)
    assert torchvision_cpu.main(["--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(maxsplit=1)[-1] for line in (lines[0], lines[2])] == ["absent.", "current."]
    assert lines[3] == "Nothing needs to be done."
