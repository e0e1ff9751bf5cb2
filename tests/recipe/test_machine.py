"""What a machine has: seen by another process where there is a driver, without torch where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skinflow_plugins.recipe import machine
from skinflow_plugins.recipe.machine import FLASH_ATTN, LIGER, MARK, Machine, Package, as_seen, this_machine

INSTALLED = {FLASH_ATTN: Package("2.8.3"), LIGER: Package("0.8.5")}


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Nobody shall be told of the machines that these tests pretend to be."""
    machine._this_machine.cache_clear()
    yield
    machine._this_machine.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path in which liger-kernel 0.8.5 is installed, as far as its metadata goes."""
    about = tmp_path / "liger_kernel-0.8.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: liger_kernel\nVersion: 0.8.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def printed(*lines: object) -> str:
    """What `look` prints, with what others print in between."""
    return "\n".join(f"a library greets\n{MARK}{json.dumps(line)}" for line in lines)


def test_without_a_driver_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch, installed: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "DRIVER", (installed / "nvidiactl",))
    monkeypatch.delattr(subprocess, "run")
    found = this_machine()
    assert (found.gpu, found.gpus, str(found)) == (None, 0, "there is no NVIDIA GPU")
    assert found.packages[LIGER] == Package("0.8.5")


@pytest.mark.parametrize("hidden", ["", " ", "-1"])
def test_hidden_gpus_are_not_there(monkeypatch: pytest.MonkeyPatch, hidden: str, installed: Path) -> None:
    monkeypatch.setattr(machine, "DRIVER", (installed,))
    monkeypatch.delattr(subprocess, "run")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert str(this_machine()) == "CUDA_VISIBLE_DEVICES hides every GPU"
    assert this_machine().packages[LIGER] == Package("0.8.5")


def test_it_looks_once_for_each_choice_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    first = this_machine()
    assert this_machine() is first
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert this_machine() is not first


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from skinflow_plugins.recipe.machine import this_machine; this_machine();"
        "from skinflow_plugins.recipe import plan, accelerators; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_with_a_driver_another_process_asks_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real look; a machine with a GPU and one without have different answers."""
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "DRIVER", (tmp_path,))
    found = this_machine()
    if torch.cuda.is_available():
        assert (found.gpu, found.gpus > 0) == (torch.cuda.get_device_name(0), True)
    else:
        why = "torch is no CUDA build" if torch.version.cuda is None else "torch finds no GPU"
        assert (found.gpu, found.no_gpu) == (None, why)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("#!/bin/sh\nkill -9 $$\n", "the process that looked for a GPU failed"),
        ("#!/bin/sh\nexec sleep 60\n", "looking for a GPU took more than 0 seconds"),
    ],
)
def test_a_look_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, why: str) -> None:
    (tmp_path / "python").write_text(program)
    (tmp_path / "python").chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "DRIVER", (tmp_path,))
    monkeypatch.setattr(machine, "PATIENCE", 0.3)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert this_machine().no_gpu == why


def test_the_weakest_of_several_gpus_counts() -> None:
    gpus = [[9, 0, "NVIDIA H100 PCIe"], [7, 5, "Tesla T4"], [8, 0, "NVIDIA A100"]]
    found = as_seen(printed([gpus, ""], [FLASH_ATTN, ""], [LIGER, ""]), INSTALLED)
    assert found == Machine("Tesla T4", (7, 5), 3, INSTALLED)
    assert str(found) == "3 GPUs, Tesla T4"


def test_what_cannot_be_imported_says_why() -> None:
    error = "ImportError: undefined symbol: _ZN3c104cuda"
    found = as_seen(printed([[[8, 0, "NVIDIA A100"]], ""], [FLASH_ATTN, error], [LIGER, ""]), INSTALLED)
    assert found.packages == {FLASH_ATTN: Package("2.8.3", error), LIGER: Package("0.8.5")}
    assert str(found) == "NVIDIA A100"


def test_what_ends_the_process_is_named() -> None:
    found = as_seen(printed([[[8, 0, "NVIDIA A100"]], ""], [LIGER, ""]), INSTALLED)
    assert found.packages[FLASH_ATTN] == Package("2.8.3", "importing it ends the process")
    assert found.packages[LIGER].broken == ""


def test_a_gpu_that_torch_does_not_find() -> None:
    found = as_seen(printed([[], "torch finds no GPU"]), INSTALLED)
    assert found == Machine(packages=INSTALLED, no_gpu="torch finds no GPU")


def test_the_look_says_what_torch_says(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    machine.look([])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(MARK)]
    gpus, why = json.loads(line.removeprefix(MARK))
    assert len(gpus) == torch.cuda.device_count()
    assert bool(why) == (not gpus)


def test_the_look_tries_the_packages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine with a GPU; flash-attn made for another torch fails like this one."""
    import torch

    class Properties:
        name, major, minor = "NVIDIA A100", 8, 0

    (tmp_path / "flash_attn.py").write_text('raise ImportError("flash_attn_2_cuda.so:\\n undefined symbol")')
    (tmp_path / "flash_attn_interface.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    packages = {FLASH_ATTN: Package("2.8.3"), machine.FLASH_ATTN_3: Package("3.0")}
    machine.look(list(packages))
    found = as_seen(capsys.readouterr().out, packages)
    error = "ImportError: flash_attn_2_cuda.so: undefined symbol"
    assert found == Machine("NVIDIA A100", (8, 0), 2, {**packages, FLASH_ATTN: Package("2.8.3", error)})
    sys.modules.pop("flash_attn_interface", None)


def test_a_long_error_is_one_short_line() -> None:
    text = machine.one_line(RuntimeError("a\n" * 200))
    assert len(text) == 160
    assert text.startswith("RuntimeError: a a a")
    assert text.endswith("...")
