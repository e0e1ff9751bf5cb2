"""Whether every row that is timed computes the layer: its output and every gradient against the definition.

The definition is computed in float64 from the same numbers. How far a row may be from it says the one table
of tolerances, TOLERANCE in tests/kernels/conftest.py, which is read here and not copied.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from skinflow_bench import ROOT
from skinflow_bench.cases import Case, Setting
from skinflow_bench.clocks import reason
from skinflow_bench.rows import Prepared, Row

TABLE = ROOT / "tests" / "kernels" / "conftest.py"
SMALL = "35->70"
"""Features that are no multiples of a tile; with four bands the published split exists for it too."""
MANY, FEW = "19+1+40", "3+5+1+4"
REAL_MANY, REAL_FEW = "300+1+200", "6+40+2"
"""Images for either algorithm: weights mixed beforehand, and within the product."""


@cache
def tolerances() -> dict[tuple[str, str], float]:
    """The largest error ratio by operation and dtype, such as ("layer", "bfloat16")."""
    for statement in ast.parse(TABLE.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "TOLERANCE":
            assert isinstance(statement.value, ast.Dict)
            found = {}
            for key, value in zip(statement.value.keys, statement.value.values, strict=True):
                assert isinstance(key, ast.Tuple)
                operation, dtype = key.elts
                found[ast.literal_eval(operation), ast.unparse(dtype).removeprefix("torch.")] = (
                    ast.literal_eval(value)
                )
            return found
    raise LookupError(f"there is no TOLERANCE in {TABLE}")


def check_settings(setting: Setting, bands: Iterable[int], dtypes: Iterable[str]) -> list[Setting]:
    """What is checked before anything is timed: a small shape, and that of `setting`, in every dtype."""
    every = dict.fromkeys((4, *bands))  # the published split exists for few others
    small = [Setting(SMALL, pack, k, dtype) for dtype in dtypes for k in every for pack in (MANY, FEW)]
    real = [
        Setting(setting.shape, pack, setting.bands, dtype)
        for dtype in dtypes
        for pack in (REAL_MANY, REAL_FEW)
    ]
    return small + real


def check(
    rows: Sequence[Row], settings: Iterable[Setting], device: torch.device
) -> Iterator[tuple[str, str]]:
    """(row and setting, what is wrong there or ""), for every row that can compute a setting.

    A row that can compute none of them is wrong too: it would be timed without a check.
    """
    wanted: dict[Setting, list[Row]] = {}
    for setting in settings:
        for row in rows:
            own = row.setting_for_check(setting)
            if not row.cannot(own) and row not in wanted.setdefault(own, []):
                wanted[own].append(row)
    checked = {row.label for some in wanted.values() for row in some}
    yield from (
        (row.label, "it can compute none of the cases for the check")
        for row in rows
        if row.label not in checked
    )
    for setting, some in wanted.items():
        case, pristine = Case(setting, device), Case(setting, device)
        right: dict[object, dict[str, Tensor]] = {}
        for row in some:
            try:
                if row.expected not in right:  # many rows have the same
                    right[row.expected] = _results(row.expected(pristine), case.dy)
                mistakes = list(_mistakes(row, case, right[row.expected]))
                mistakes += [f"it changed its input {name}" for name in _changed(case, pristine)]
            except Exception as error:
                mistakes = [reason(error)]
            yield f"{row.label}: {setting}", "; ".join(mistakes)


def _mistakes(row: Row, case: Case, right: dict[str, Tensor]) -> Iterator[str]:
    found = _results(row.prepare(case), case.dy)
    if list(found) != list(right):
        yield f"it gives {', '.join(found)}; expected {', '.join(right)}"
        return
    most = tolerances()[row.operation, str(case.dtype).removeprefix("torch.")] * row.times(case)
    for name, expected in right.items():
        error = error_ratio(found[name], expected)
        if not error <= most:  # NaN never passes
            yield f"{name}: error ratio {error:.1e} exceeds {most:.1e}"


def _results(prepared: Prepared, dy: Tensor) -> dict[str, Tensor]:
    y = prepared.forward()
    gradients = prepared.gradients(y, dy.to(y.dtype))
    names = (f"gradient of {name}" for name in prepared.trained)
    return {"output": y.detach()} | dict(zip(names, gradients, strict=True))


def _changed(case: Case, pristine: Case) -> Iterator[str]:
    for name, tensor in vars(case).items():
        if isinstance(tensor, Tensor) and not torch.equal(tensor, getattr(pristine, name)):
            yield name


def error_ratio(found: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||expected||."""
    wide = expected.detach().double()
    return float((found.detach().double() - wide).norm() / wide.norm())
