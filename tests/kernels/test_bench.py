"""The benchmarks of kernels/bench: the real commands on a CPU, in small; the arithmetic of their floors."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "kernels" / "bench"
SMALL = ["--shapes", "35->70", "--packs", "8+3+8"]


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """A command in a process of its own; `code` is what is run instead of a program."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON_", "SKINFLOW_"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(BENCH) if code else ""}
    what = ["-c", code] if code else [str(BENCH / arguments[0])]
    command = [sys.executable, *what, *arguments[0 if code else 1 :]]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- virtual_width.py


def test_a_quick_run_checks_times_and_writes(tmp_path: Path) -> None:
    out = tmp_path / "new" / "figures.csv"
    done = run("virtual_width.py", "--quick", *SMALL, "--device", "cpu", "--breakdown", "--out", str(out))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "checks of output and gradients against the definition passed" in done.stdout
    assert "no floor" in done.stdout
    assert "us in kernels" in done.stdout
    lines = rows_of(out)
    found = {(line["row"], line["training"], line["mode"]) for line in lines}
    for row in ("nn.Linear", "torch", "module with router", "published", "definition"):
        for mode in ("backward", "both"):
            assert (row, "trained", mode) in found
        assert (row, "", "forward") in found
    assert {("torch", training, "both") for training in ("frozen", "fixed bases", "trained")} <= found
    assert ("bases rebuilt, once per optimizer step", "", "") in found
    for line in lines:
        assert line["why"] == "", line
        low, middle, high = (float(line[name]) for name in ("ms_20", "ms_50", "ms_80"))
        assert 0 < low <= middle <= high, line
        assert float(line["ratio"]) > 0, line
        assert line["ratio_to"].startswith("nn.Linear"), line
        assert (line["floor_ms"], line["of_floor"], line["peak_mib"], line["gpu"]) == ("", "", "", "")
        assert line["torch"] == torch.__version__
        assert line["cpu"]
        assert line["commit"]
        assert (line["shape"], line["pack"], line["bands"], line["dtype"]) == ("35->70", "8+3+8", "4", "fp32")
    own = [line for line in lines if line["row"] == "nn.Linear" and line["training"] == "trained"]
    assert {line["ratio"] for line in own} == {"1"}


def test_only_some_rows_are_timed_beside_nn_linear(tmp_path: Path) -> None:
    out = tmp_path / "figures.csv"
    done = run(
        "virtual_width.py", "--quick", *SMALL, "--device", "cpu", "--only", "torch, froz", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    labels = {(line["row"], line["training"]) for line in rows_of(out)}
    assert labels == {("nn.Linear", "trained"), ("nn.Linear", ""), ("torch", "frozen")}


def test_what_cannot_be_computed_is_said(tmp_path: Path) -> None:
    out = tmp_path / "figures.csv"
    arguments = ["--shapes", "33->35", "--packs", "4x3", "--only", "published", "--out", str(out)]
    done = run("virtual_width.py", "--quick", "--device", "cpu", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    published = [line for line in rows_of(out) if line["row"] == "published"]
    assert published
    for line in published:
        assert line["ms_50"] == ""
        assert "do not divide" in line["why"]


BROKEN = """
import sys
from dataclasses import replace
import skinflow_bench
from skinflow_kernels.virtual_width import dispatch, torch_path

at = [backend.name for backend in dispatch.TABLE].index("torch")
dispatch.TABLE[at] = replace(dispatch.TABLE[at], forward=lambda call: torch_path.forward(call) * 1.01)
import {program}
sys.exit({program}.main(sys.argv[1:]))
"""


def test_nothing_is_timed_while_a_check_fails(tmp_path: Path) -> None:
    out = tmp_path / "figures.csv"
    arguments = ["--quick", *SMALL, "--device", "cpu", "--only", "torch, frozen", "--out", str(out)]
    done = run(*arguments, code=BROKEN.format(program="virtual_width"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "checks fail; nothing is timed" in done.stderr
    assert "torch, frozen: 35->70" in done.stderr
    assert "output: error ratio" in done.stderr
    assert "ratio" not in done.stdout
    assert not out.exists()


def nan_output(call: Any, torch_path: Any) -> Tensor:
    return torch_path.forward(call) * float("nan")


def spoilt_input(call: Any, torch_path: Any) -> Tensor:
    y = torch_path.forward(call)
    call.x.detach().zero_()
    return y


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("forward", "worse", "named"),
    [
        (nan_output, None, "output: error ratio nan"),
        (spoilt_input, None, "it changed its input x"),
        (None, "band_delta", "gradient of band_delta: error ratio"),
        (None, "x", "gradient of x: error ratio"),
    ],
    ids=["nan", "changed input", "gradient of amplitudes", "gradient of x"],
)
def test_every_kind_of_mistake_is_found(
    forward: Any, worse: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skinflow_bench.cases import Setting
    from skinflow_bench.checks import check
    from skinflow_bench.rows import op_rows

    from skinflow_kernels.virtual_width import dispatch, torch_path
    from skinflow_kernels.virtual_width.call import TRAINED

    def backward(call: Any, dy: Tensor, wants: Any) -> tuple[Tensor | None, ...]:
        found = dict(zip(TRAINED, torch_path.backward(call, dy, wants), strict=True))
        if worse and found[worse] is not None:
            found[worse] = found[worse] * 1.01
        return tuple(found.values())

    at = [backend.name for backend in dispatch.TABLE].index("torch")
    own = (lambda call: forward(call, torch_path)) if forward else torch_path.forward
    right = dispatch.TABLE[at]
    device, setting = torch.device("cpu"), Setting("35->70", "8+3", 4, "fp32")
    for backend, wrong in ((right, ""), (replace(right, forward=own, backward=backward), named)):
        monkeypatch.setattr(dispatch, "TABLE", [*dispatch.TABLE[:at], backend, *dispatch.TABLE[at + 1 :]])
        found = [mistakes for _, mistakes in check(list(op_rows(["torch"])), [setting], device)]
        assert len(found) == 3
        assert all(wrong in mistakes if wrong else not mistakes for mistakes in found)


@pytest.mark.usefixtures("bench")
def test_a_row_that_cannot_be_checked_is_not_timed() -> None:
    from skinflow_bench.cases import Setting
    from skinflow_bench.checks import check
    from skinflow_bench.opponents import published_rows

    found = list(check(list(published_rows()), [Setting("33->35", "8+3", 4, "fp32")], torch.device("cpu")))
    assert found == [("published, trained", "it can compute none of the cases for the check")]


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--packs", "16 by 4"], "pack '16 by 4'; expected one like 16x1024"),
        (["--shapes", "1280"], "shape '1280'; expected one like 1280->3420"),
        (["--tune"], "--tune needs a GPU"),
        (["--repeats", "0"], "expected 1 or more"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_arguments(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    from skinflow_bench.command import arguments as read

    with pytest.raises(SystemExit, match="2"):
        read("", ["--device", "cpu", *arguments])
    assert said in capsys.readouterr().err


# --- --base


def test_another_revision_is_timed_in_turns(tmp_path: Path) -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    out = tmp_path / "base.csv"
    arguments = ["--device", "cpu", "--only", "frozen", "--base", "HEAD", "--out", str(out)]
    done = run("virtual_width.py", "--quick", *SMALL, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = rows_of(out)
    assert {line["row"] for line in lines} == {"auto, frozen, backward", "auto, frozen, both"}
    for line in lines:
        assert line["base"] == "HEAD"
        assert float(line["ratio_least"]) <= float(line["ratio"]) <= float(line["ratio_most"])
        assert float(line["ms"]) > 0
        assert float(line["base_ms"]) > 0


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("no-such-revision", "--base no-such-revision: .*no-such-revision"),
        ("/", "holds no kernels/skinflow_kernels"),
    ],
)
def test_a_base_without_kernels(base: str, said: str) -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    from skinflow_bench.revisions import tree_of

    with pytest.raises(ValueError, match=said), tree_of(base):
        pass


def test_a_base_in_a_folder_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    kernels = tmp_path / "kernels" / "skinflow_kernels"
    shutil.copytree(ROOT / "kernels" / "skinflow_kernels", kernels)
    op = kernels / "virtual_width" / "torch_path.py"
    text = op.read_text(encoding="utf-8")
    assert text.count("    return y\n") == 1
    op.write_text(text.replace("    return y\n", "    return y * 1.01\n"), encoding="utf-8")
    done = run("virtual_width.py", "--quick", *SMALL, "--device", "cpu", "--base", str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{tmp_path}: auto, frozen" in done.stderr
    assert "this tree: auto" not in done.stderr
    assert " ms" not in done.stdout.split("\n", 2)[2]


# --- towers.py


def test_tiny_towers_are_checked_and_timed(tmp_path: Path) -> None:
    out = tmp_path / "towers.csv"
    arguments = ["--size", "tiny", "--device", "cpu", "--repeats", "1", "--out", str(out)]
    done = run("towers.py", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = rows_of(out)
    for model in ("Qwen2.5-VL-7B, tiny", "Qwen3-VL-4B, tiny"):
        own = [line for line in lines if line["model"] == model]
        towers = [(line["training"], line["mode"]) for line in own if line["row"] == "dynamic tower"]
        expected = [("", "forward"), ("routers", "both"), ("all", "both")]
        assert towers == [*expected, ("", "both"), ("its image encoded once", "both")]
        assert len([line for line in own if line["row"] == "plain tower"]) == len(towers)
    for line in lines:
        assert line["why"] == "", line
        assert float(line["ms_50"]) > 0
        assert line["ratio_to"].startswith("plain tower")
    assert "goal" not in done.stdout


def test_towers_with_a_broken_kernel_are_not_timed() -> None:
    code = BROKEN.format(program="towers")
    done = run("--size", "tiny", "--device", "cpu", "--no-grpo", "--models", "Qwen3-VL-4B", code=code)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nothing is timed" in done.stderr
    assert "plain tower, forward" not in done.stdout


# --- arithmetic


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.mark.usefixtures("bench")
def test_floors_count_operations_and_bytes() -> None:
    from skinflow_bench.floors import BACKWARD, BOTH, FORWARD, PEAKS, Sizes, Work, layer_work, linear_work

    sizes = Sizes(tokens=100, images=5, columns=20, rows=30, bands=4, item=2)
    product, mixing = 2 * 100 * 600, 2 * 5 * 4 * 600
    x, y, weight, gains = 100 * 20 * 2, 100 * 30 * 2, 600 * 2, 4 * 5 * (20 + 30 + 4)
    assert linear_work(sizes, FORWARD, frozen=True) == Work(product, x + y + weight)
    assert linear_work(sizes, BACKWARD, frozen=True) == Work(product, y + weight + x)
    assert linear_work(sizes, BACKWARD, frozen=False) == Work(2 * product, y + 2 * weight + 2 * x)
    assert linear_work(sizes, BOTH, frozen=False).operations == 3 * product

    assert layer_work(sizes, FORWARD, training="frozen") == Work(
        product + mixing, x + y + weight + 4 * weight + gains
    )
    backward = {t: layer_work(sizes, BACKWARD, training=t) for t in ("frozen", "fixed bases", "trained")}
    assert backward["frozen"] == Work(2 * product + 2 * mixing, y + 2 * x + 5 * weight + 2 * gains)
    assert backward["fixed bases"].bytes - backward["frozen"].bytes == weight
    assert backward["trained"].bytes - backward["fixed bases"].bytes == 2 * 4 * weight
    assert backward["trained"].operations - backward["frozen"].operations == mixing
    for training, work in backward.items():
        both = layer_work(sizes, BOTH, training=training)
        assert both == layer_work(sizes, FORWARD, training=training) + work

    # 989.4 TFLOP/s and 3.35 TB/s: operations bind when there are more than 295 of them for a byte.
    peak = PEAKS["NVIDIA H100 80GB HBM3"]
    assert Work(989.4e12, 1).milliseconds(peak, torch.bfloat16) == pytest.approx(1000)
    assert Work(66.9e12, 1).milliseconds(peak, torch.float32) == pytest.approx(1000)
    assert Work(1, 3.35e12).milliseconds(peak, torch.bfloat16) == pytest.approx(1000)
    # 16 images of 1,024 tokens through 1280 -> 3420: at least 0.145 ms on an H100.
    real = Sizes(tokens=16384, images=16, columns=1280, rows=3420, bands=4, item=2)
    assert linear_work(real, FORWARD, frozen=True).milliseconds(peak, torch.bfloat16) == pytest.approx(
        0.145, rel=0.01
    )


@pytest.mark.usefixtures("bench")
def test_every_peak_names_its_source_and_a_cpu_has_none() -> None:
    from skinflow_bench.floors import PEAKS, peak_of

    assert all(peak.source and name == peak.name for name, peak in PEAKS.items())
    assert peak_of(torch.device("cpu")) is None


@pytest.mark.usefixtures("bench")
def test_quantiles_and_ratios_go_by_round() -> None:
    from skinflow_bench.clocks import Samples

    samples = Samples({0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0, 5: 5.0})
    assert samples.quantiles() == pytest.approx([1.8, 3.0, 4.2])
    # The machine was half as fast in rounds 2 and 3; round 4 is missing here, 5 there.
    base = Samples({0: 1.0, 1: 1.0, 2: 2.0, 3: 2.0, 4: 9.0})
    assert samples.ratio(base) == pytest.approx(1.75)


@pytest.mark.usefixtures("bench")
def test_slow_rows_have_fewer_rounds_and_bases_all_of_them() -> None:
    from skinflow_bench.clocks import Timed, measure

    class Clock:
        least, most, budget, estimates = 2, 8, 40.0, 1

        def start(self, timed: Timed):
            took = timed.run(None)
            return lambda: (took, took)

        def peak(self, timed: Timed) -> None:
            return None

        def recover(self) -> None:
            pass

    def fails(_: None) -> float:
        raise ValueError("no such\nkernel")

    timed = {"slow": Timed(lambda _: 100.0), "fast": Timed(lambda _: 1.0), "middle": Timed(lambda _: 10.0)}
    samples, why = measure(Clock(), timed | {"base": Timed(lambda _: 20.0), "broken": Timed(fails)}, {"base"})
    assert {name: len(each.milliseconds) for name, each in samples.items()} == {
        "slow": 2, "fast": 8, "middle": 4, "base": 8,
    }  # fmt: skip
    assert samples["slow"].ratio(samples["base"]) == 5
    assert why == {"broken": "ValueError: no such kernel"}


@pytest.mark.usefixtures("bench")
def test_the_table_of_tolerances_is_that_of_the_tests() -> None:
    from skinflow_bench.checks import tolerances

    found = tolerances()
    assert found["layer", "float32"] < found["layer", "float16"] < found["layer", "bfloat16"] < 0.1
    assert ("published", "float32") in found


@pytest.mark.usefixtures("bench")
def test_goals_are_compared_with_what_was_measured() -> None:
    from skinflow_bench.cases import Setting
    from skinflow_bench.clocks import Samples
    from skinflow_bench.measuring import Line
    from skinflow_bench.targets import reached

    def line(row: str, ratio: float, ms: float) -> Line:
        return Line(row, "", "forward", Samples({0: ms}), ratio, "nn.Linear, forward", None)

    setting = Setting("1280->3420", "16x1024", 4, "bf16")
    said = list(reached({setting: [line("triton", 1.16, 1.0), line("published", 9.0, 11.0)]}))
    assert len(said) == 2
    assert said[0].startswith("NOT reached")
    assert "1.160, goal 1.15" in said[0]
    assert said[1].startswith("reached")
    assert "11.0 times" in said[1]


@pytest.mark.usefixtures("bench")
def test_the_important_cases_come_first() -> None:
    from skinflow_bench.cases import PACKS, SHAPES, settings

    found = settings(SHAPES, PACKS, [16, 4], ["bf16", "fp32"])
    assert len(found) == len(SHAPES) * len(PACKS) * 4
    assert {(s.shape, s.bands, s.dtype) for s in found[: 2 * len(PACKS)]} == {
        ("1280->3420", 4, "bf16"),
        ("3420->1280", 4, "bf16"),
    }
    assert {s.dtype for s in found[len(found) // 2 :]} == {"fp32"}


@pytest.mark.usefixtures("bench")
def test_the_sizes_that_are_swept_exist_and_those_shipped_come_first() -> None:
    from skinflow_bench.tuning import TUNED, candidates

    from skinflow_kernels.virtual_width import tilings

    for tuned in TUNED:
        found = candidates(tuned, torch.bfloat16)
        assert found[0] == {name: getattr(tilings.tiling(torch.bfloat16), name) for name in tuned.grid}
        assert len(found) >= 3
        assert len({tuple(sizes.items()) for sizes in found}) == len(found)


@pytest.mark.usefixtures("bench")
def test_the_commands_and_the_code_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    from skinflow_bench.command import arguments

    text = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
    towers = (BENCH / "towers.py").read_text(encoding="utf-8")
    commands = re.findall(r"^    python kernels/bench/(\w+)\.py *(.*?) *(?:#.*)?$", text, re.MULTILINE)
    assert len(commands) >= 7
    for program, options in commands:
        given = [*options.split(), "--device", "cpu"]
        if program == "towers":  # which takes seconds to import
            assert all(f'"{option}"' in towers for option in given if option.startswith("--"))
        elif "--tune" in given:
            with pytest.raises(SystemExit):
                arguments("", given)
            assert "--tune needs a GPU" in capsys.readouterr().err
        else:
            assert program == "virtual_width"
            assert arguments("", given).device == "cpu"
    code = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(code) == 1
    printed = run(code=code[0]).stdout
    assert printed.startswith("torch")
    assert "".join(f"    {line}\n" for line in printed.splitlines()) in text
