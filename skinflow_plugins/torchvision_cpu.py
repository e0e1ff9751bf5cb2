"""Makes `import torchvision` work where torch is a CPU build and torchvision was built for CUDA.

The wheel of torchvision that an index offers for Linux is usually built for CUDA. Beside a CPU build of torch
its library of C++ operators cannot be loaded. torchvision forgives that, and then still registers shape rules
for two of those operators, which ends in "RuntimeError: operator torchvision::nms does not exist".

`install()` adds a finder to `sys.meta_path` that waits for `torchvision.extension`, the module that tries to
load the library. If torch has no CUDA and an operator is missing afterwards, its schema is declared, without
a kernel: transforms and image processors work, `torchvision.ops.nms` says that it has no C++ operators.
Where the library loads, on a GPU or with torchvision's own CPU build, nothing is declared: torch refuses a
second declaration.

A plain `swift` process does not import us before torchvision. `python -m skinflow_plugins.torchvision_cpu`
therefore copies this file into the virtual environment, beside a `.pth` line that calls `install()` at every
start of Python. For the sake of that start, nothing but `sys` is imported at the top of this file.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType

PTH_NAME = "skinflow_torchvision_cpu.pth"
COPY_NAME = "_skinflow_torchvision_cpu"
PTH_LINE = f"import {COPY_NAME}; {COPY_NAME}.install()\n"
COMMAND = "python -m skinflow_plugins.torchvision_cpu"

# From torchvision/csrc/ops/nms.cpp and csrc/ops/quantized/cpu/qnms_kernel.cpp (they share one signature).
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")
_HOOKED = "torchvision.extension"
_declared: list[object] = []  # a torch.library.Library takes its schemas back when it is collected


class TorchvisionCpuFinder:
    """A finder that adds nothing but our declaration, right after `torchvision.extension` has run."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if fullname != _HOOKED:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_then_declare(module: "ModuleType") -> None:
            execute(module)
            declare_missing_operators()

        spec.loader.exec_module = execute_then_declare  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Nothing; the finder is in place afterwards, once, however often and from whichever copy."""
    if any(type(finder).__name__ == TorchvisionCpuFinder.__name__ for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, TorchvisionCpuFinder())
    if _HOOKED in sys.modules:  # an earlier import of torchvision failed and may be tried again
        declare_missing_operators()


def declare_missing_operators() -> list[str]:
    """The names of operators declared now; none if torch knows CUDA or torchvision's library is loaded."""
    import torch

    if torch.version.cuda is not None:
        return []
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        _declared.append(library)
        for name in missing:
            library.define(name + _SIGNATURE)
    return missing


def diagnose(site: "Path | None" = None) -> str | None:
    """What is wrong with torch and torchvision in this environment and what to do; None if nothing is.

    Reads the version files of both; imports neither. `site` is the folder looked at for the cure,
    by default the site-packages of the running Python.
    """
    torch, torchvision = _version_file("torch"), _version_file("torchvision")
    if torch is None or torchvision is None:
        return None
    return _explain(
        torch.get("__version__"),
        torch.get("cuda"),
        torchvision.get("__version__"),
        state(site or site_packages()),
    )


def _explain(torch: str | None, cuda: str | None, torchvision: str | None, cure: str) -> str | None:
    if cuda is not None or "+cu" not in (torchvision or "") or cure == "current":
        return None
    if cure == "outdated":
        return (
            f"The cure for torchvision in {PTH_NAME} was written by another version of skinflow-plugins. "
            f"Run `{COMMAND}` to renew it."
        )
    return (
        f"torch {torch} is a CPU build, but torchvision {torchvision} was built for CUDA: "
        f'`import torchvision` fails with "operator torchvision::nms does not exist", and with it '
        f"every Qwen-VL processor. Run `{COMMAND}` once in this virtual environment (`make venv` does), "
        f"or install the CPU build of torchvision."
    )


def _version_file(package: str) -> dict[str, str | None] | None:
    """The constants in `<package>/version.py`, read without importing the package; None if it is absent."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "version.py"
    if not path.is_file():
        return None
    constants: dict[str, str | None] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            constants[target.id] = None if value.value is None else str(value.value)
    return constants


# --- The copy in the environment ---


def site_packages() -> "Path":
    """The folder in which the running Python looks for `.pth` files of pure packages."""
    import sysconfig
    from pathlib import Path

    return Path(sysconfig.get_path("purelib"))


def state(site: "Path") -> str:
    """'current', 'outdated' or 'absent': how the copy in the folder `site` compares with this file."""
    pth, copy = site / PTH_NAME, site / f"{COPY_NAME}.py"
    if not pth.is_file() or not copy.is_file():
        return "absent"
    same = copy.read_bytes() == _own_source() and pth.read_text(encoding="utf-8") == PTH_LINE
    return "current" if same else "outdated"


def write(site: "Path") -> "list[Path]":
    """The files written into the folder `site`: the copy of this module, then the `.pth` that needs it."""
    copy, pth = site / f"{COPY_NAME}.py", site / PTH_NAME
    copy.write_bytes(_own_source())
    pth.write_text(PTH_LINE, encoding="utf-8")
    return [copy, pth]


def remove(site: "Path") -> "list[Path]":
    """The files removed from the folder `site`; the `.pth` goes first, so that it never points at nothing."""
    copy = site / f"{COPY_NAME}.py"
    files = [site / PTH_NAME, copy, *sorted((site / "__pycache__").glob(f"{COPY_NAME}.*.pyc"))]
    removed = [path for path in files if path.is_file()]
    for path in removed:
        path.unlink()
    return removed


def _own_source() -> bytes:
    from pathlib import Path

    return Path(__file__).read_bytes()


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 `--check` found the cure missing where it is needed, 2 not a virtual env."""
    import argparse

    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Make `import torchvision` work in this virtual environment, where torch is a CPU build "
        "and torchvision was built for CUDA. Elsewhere it changes nothing.",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--remove", action="store_true", help="take away what this command wrote")
    action.add_argument(
        "--check", action="store_true", help="only report; exit code 1 if the cure is missing"
    )
    options = parser.parse_args(arguments)

    site = site_packages()
    if options.check:
        complaint = diagnose(site)
        print(f"Cure for torchvision in {site}: {state(site)}.")
        print(complaint or "Nothing needs to be done.")
        return 1 if complaint else 0
    if sys.prefix == sys.base_prefix:
        print(
            f"Nothing was changed: the running Python, {sys.executable}, is not in a virtual environment, "
            f"and this command never touches a shared one. Make one with `python -m venv .venv` "
            f"(or `make venv`) and run this command with its Python.",
            file=sys.stderr,
        )
        return 2
    files = remove(site) if options.remove else write(site)
    for path in files:
        print(f"{'removed' if options.remove else 'wrote'} {path}")
    if options.remove and not files:
        print(f"Nothing to remove in {site}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
