"""What reading a taxonomy and a vocabulary share: finding the file, its YAML, mistakes with their lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from skinflow_plugins.errors import InputError, Problem, nearest

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def located(name_or_path: str | Path, builtin: Mapping[str, Path], what: str) -> tuple[Path, int, int]:
    """The file of a built-in name or of a path, when it was changed, and its size: what a cache goes by.

    `what` names the kind of file in the `InputError`.
    """
    path = builtin.get(name_or_path) if isinstance(name_or_path, str) else None
    if path is None:
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml") and not path.is_file():
            message = f"unknown {what} {str(name_or_path)!r}; {nearest(str(name_or_path), builtin)}"
            raise InputError(Problem(message, hint="give a built-in name, or the path of a YAML file"))
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(Problem(f"cannot read this {what}: {error.strerror}", where=str(path))) from error
    return path, state.st_mtime_ns, state.st_size


def composed(path: Path, what: str) -> yaml.Node | None:
    """The nodes of a YAML file, which know their lines; `InputError` when it is none."""
    try:
        root: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot read this {what}: {error}", where=str(path))) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = f"this is not YAML: {getattr(error, 'problem', None) or error}"
        raise InputError(Problem(message, str(path), mark.line + 1 if mark else None)) from error
    return root


@dataclass
class NodeReader:
    """Reads nodes of one file, and collects every problem with its line."""

    path: Path
    problems: list[Problem] = field(default_factory=list)

    def mapping(self, node: yaml.Node | None, what: str, known: Iterable[str] = ()) -> dict[str, yaml.Node]:
        """Key -> node; with `known` only those keys."""
        allowed = tuple(known)
        if not isinstance(node, yaml.MappingNode):
            expected = f" with {', '.join(allowed)}" if allowed else ""
            self.problem(f"{what} must be a mapping{expected}", node)
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if allowed and name not in allowed:
                self.problem(f"{what} has the unknown key {name!r}; {nearest(name, allowed)}", key)
            elif name in found:
                self.problem(f"{what} has the key {name!r} twice", key)
            else:
                found[name] = value
        return found

    def sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.problem(f"`{what}` must be a list", node)
        return []

    def text(self, node: yaml.Node, what: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
            return str(node.value)
        self.problem(f"`{what}` must be a text", node)
        return ""

    def problem(self, message: str, node: yaml.Node | None) -> None:
        self.problem_at(message, node.start_mark.line + 1 if node is not None else None)

    def problem_at(self, message: str, line: int | None) -> None:
        self.problems.append(Problem(message, str(self.path), line))
