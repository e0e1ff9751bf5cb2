"""Which arguments `swift sft` and `swift rlhf` take, read from their sources without importing them.

Importing swift costs eight seconds and loads torch. Its argument classes are plain dataclasses, so the `ast`
of about fifteen files tells the same: fields by method resolution order, with their annotations. A test
compares the result with the imported classes.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import pathlib
import types
import typing
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from skinflow_plugins.errors import nearest
from skinflow_plugins.options import fits
from skinflow_plugins.recipe.lines import quoted_number
from skinflow_plugins.recipe.schema import Recipe, Stage

Kind = Literal["sft", "grpo", "rollout"]
_CLASSES: Mapping[str, tuple[str, str]] = {
    "sft": ("swift.arguments.sft_args", "SftArguments"),
    "grpo": ("swift.arguments.rlhf_args", "RLHFArguments"),
    "rollout": ("swift.arguments.deploy_args", "RolloutArguments"),
}

OWNED: Mapping[str, str] = MappingProxyType(
    {
        "model": "model.base",
        "model_type": "model.family",
        "template": "model.family",
        "adapters": "stages[].init",
        "ref_adapters": "stages[].init",
        "dataset": "data",
        "val_dataset": "data",
        "cached_dataset": "data",
        "cached_val_dataset": "data",
        "split_dataset_ratio": "data",
        "dataset_shuffle": "stages[].balance and seed",
        "train_dataloader_shuffle": "stages[].balance and seed",
        "custom_dataset_info": "data",
        "output_dir": "the folder given to `skinflow run`",
        "logging_dir": "the folder given to `skinflow run`",
        "add_version": "the folder given to `skinflow run`",
        "resume_from_checkpoint": "`skinflow run`, which resumes by itself",
        "load_args": "stages[].init",
        "external_plugins": "a plug-in under the entry-point group `skinflow`",
        "custom_register_path": "a plug-in under the entry-point group `skinflow`",
        "callbacks": "stages[].balance, stages[].replay and stages[].gate",
        "rlhf_type": "stages[].kind",
        "reward_funcs": "stages[].rewards",
        "reward_weights": "stages[].rewards",
        "reward_model": "a reward with a `judge:`",
        "reward_model_plugin": "a reward with a `judge:`",
        "use_gym_env": "a reward of your own",
        "seed": "seed",
        "data_seed": "seed",
        "use_vllm": "rollouts.engine",
        "vllm_mode": "rollouts.mode",
    }
)
"""Arguments that the plan sets itself -> what to use in a recipe instead."""


@functools.cache
def arguments(kind: Kind) -> Mapping[str, Any]:
    """Every argument of a stage of this kind with its type annotation; enumerations appear as `Literal`.

    Raises `ModuleNotFoundError` when ms-swift or transformers is not installed.
    """
    found: dict[str, Any] = {}
    for module, definition in reversed(_linear(*_CLASSES[kind])):
        for statement in definition.body:
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            if "ClassVar" not in ast.unparse(statement.annotation):
                # A field keeps its first place in the order and takes its latest type, as dataclasses do.
                found[statement.target.id] = _Annotation(module).read(statement.annotation)
    return MappingProxyType(found)


def given(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """What the recipe gives swift for a stage: its own arguments over those for all stages.

    An argument for all stages goes to the stages whose program knows it; `num_generations`, for instance, not
    to an sft stage. A stage of a kind that we do not know gets everything.
    """
    known = arguments(stage.kind) if stage.kind in _CLASSES else recipe.swift
    return {name: value for name, value in recipe.swift.items() if name in known} | dict(stage.swift)


def mistake(name: str, value: Any, kind: Kind) -> tuple[str, str] | None:
    """What is wrong with `name: value` under `swift:` for a stage of this kind, and what to do about it.

    None when nothing is wrong. swift itself would say so only after the model is loaded, or not at all.
    """
    known = arguments(kind)
    if name in OWNED:
        return f"{name!r} is set by skinflow itself", f"use {OWNED[name]} instead"
    if name not in known:
        other: Kind = "grpo" if kind == "sft" else "sft"
        if name in arguments(other):
            return f"{name!r} is an argument of {other} stages, not of {kind} stages", (
                f"move it to `swift:` of the {other} stages"
            )
        full = sorted((c for c in known if c.startswith(name)), key=len)
        hint = "names must be written out; swift would guess at an abbreviation" if full else ""
        return f"swift has no argument {name!r}; {_suggest(name, full, known)}", hint
    if value is None:
        return (
            f"{name!r} is null, which swift would read as the text 'None'",
            "leave the key out; null only drops what an extended recipe sets",
        )
    if isinstance(value, (list, tuple)) and not value:
        return f"{name!r} is an empty list, which swift's command line refuses", "leave the key out"
    if not _accepts(value, known[name]):
        return f"found {value!r}, but swift's {name!r} is {describe(known[name])}", _advice(
            value, known[name]
        )
    return None


def _suggest(name: str, full: list[str], known: Mapping[str, Any]) -> str:
    if full and len(full) <= 3:
        return "did you mean " + " or ".join(repr(candidate) for candidate in full) + "?"
    return nearest(name, known)


def describe(annotation: Any) -> str:
    """An annotation in the words of a reader of YAML."""
    parts = [part for part in _members(annotation) if part is not type(None)]
    words = []
    for part in parts:
        if typing.get_origin(part) is Literal:
            choices = [repr(value) for value in typing.get_args(part) if value is not None]
            words.append("one of " + ", ".join(choices))
        elif typing.get_origin(part) is list:
            words.append(f"a list ({describe(typing.get_args(part)[0])} each)")
        else:
            words.append(_WORDS.get(typing.get_origin(part) or part, "a value"))
    return " or ".join(dict.fromkeys(words))


_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    pathlib.Path: "text",
    Any: "a value",
}


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _accepts(value: Any, annotation: Any) -> bool:
    """Whether swift's command line takes the value: it is written as text, and a list as several texts."""
    for part in _members(annotation):
        if part is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            return True
        if typing.get_origin(part) is Literal:
            choices = typing.get_args(part)
            if any(value == choice and type(value) is type(choice) for choice in choices):
                return True
        elif typing.get_origin(part) is list:
            items = value if isinstance(value, (list, tuple)) else [value]
            if all(_accepts(item, typing.get_args(part)[0]) for item in items):
                return True
        elif part is not type(None) and fits(value, part):
            return True
    return False


def _advice(value: Any, annotation: Any) -> str:
    parts = _members(annotation)
    if isinstance(value, str) and bool in parts:
        return "write true or false, without quotes"
    return quoted_number(value) if int in parts or float in parts else ""


# --- reading classes out of source files ---------------------------------------------------------------


def _linear(module: str, name: str) -> list[tuple[str, ast.ClassDef]]:
    """The class and its ancestors in method resolution order; bases that we cannot see are left out."""
    definition = _module(module).classes[name]
    above: list[list[tuple[str, ast.ClassDef]]] = []
    for base in definition.bases:
        home = _resolve(module, base.id) if isinstance(base, ast.Name) else None
        if home is not None:
            above.append(_linear(*home))
    above.append([line[0] for line in above])
    merged = [(module, definition)]
    while any(above):
        above = [line for line in above if line]
        head = next(
            line[0]
            for line in above
            if not any(_same(line[0], later) for other in above for later in other[1:])
        )
        merged.append(head)
        for line in above:
            if _same(line[0], head):
                del line[0]
    return merged


def _same(one: tuple[str, ast.ClassDef], other: tuple[str, ast.ClassDef]) -> bool:
    return one[1] is other[1]


class _Module:
    """The classes that a module defines, and where its imported names come from."""

    def __init__(self, tree: ast.Module, package: str) -> None:
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.imports: dict[str, tuple[str, str]] = {}
        for node in _imports(tree.body):
            source = node.module or ""
            if node.level:
                parts = package.split(".")
                root = ".".join(parts[: len(parts) - node.level + 1])
                source = f"{root}.{source}" if source else root
            for alias in node.names:
                self.imports.setdefault(alias.asname or alias.name, (source, alias.name))


def _imports(body: list[ast.stmt]) -> Iterator[ast.ImportFrom]:
    """Imports at module level; those under `if TYPE_CHECKING` say where a lazy module's names come from."""
    for node in body:
        if isinstance(node, ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            yield from _imports(node.body)
            yield from _imports(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _imports(node.body)


@functools.cache
def _module(name: str) -> _Module:
    top, *rest = name.split(".")
    # Only the top-level package is looked up: asking for a submodule would import its parents.
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{top} is not installed", name=top)
    place = pathlib.Path(spec.submodule_search_locations[0], *rest)
    is_package = place.is_dir()
    file = place / "__init__.py" if is_package else place.with_suffix(".py")
    if not file.is_file():
        raise ModuleNotFoundError(f"{name} has no source at {file}", name=name)
    package = name if is_package else name.rpartition(".")[0]
    return _Module(ast.parse(file.read_text(encoding="utf-8")), package)


@functools.cache
def _resolve(module: str, name: str) -> tuple[str, str] | None:
    """The module that defines the class called `name` in `module`; None when it is not one of ours."""
    while True:
        if name in _module(module).classes:
            return module, name
        if name not in _module(module).imports:
            return None
        module, name = _module(module).imports[name]
        if module.partition(".")[0] not in ("swift", "transformers", "trl"):
            return None


class _Annotation:
    """Turns the source of an annotation into a type; names that are not plain types become `Any`."""

    _NAMES: Mapping[str, Any] = {
        **{t.__name__: t for t in (str, int, float, bool, list, dict)},
        "Any": Any,
        "Dict": dict,
        "List": list,
        "Literal": Literal,
        "None": None,
        "Optional": typing.Optional,
        "Path": pathlib.Path,
        "Union": typing.Union,
    }

    def __init__(self, module: str) -> None:
        self.module = module

    def read(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return self.read(ast.parse(node.value, mode="eval").body) if isinstance(node.value, str) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            left, right = self.read(node.left), self.read(node.right)
            if typing.get_origin(left) is Literal and right is str:
                return left  # an enumeration that may be given as text: the parser takes its values only
            return left | right
        if isinstance(node, ast.Subscript):
            outer = self.read(node.value)
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if outer is Literal:
                return Literal[tuple(ast.literal_eval(item) for item in inner)]
            read = tuple(self.read(item) for item in inner)
            return Any if outer is Any else outer[read if len(read) > 1 else read[0]]
        if isinstance(node, ast.Name):
            return self._NAMES[node.id] if node.id in self._NAMES else self._enumeration(node.id)
        return Any

    def _enumeration(self, name: str) -> Any:
        home = _resolve(self.module, name)
        if home is None:
            return Any
        definition = _module(home[0]).classes[home[1]]
        if not any("Enum" in ast.unparse(base) for base in definition.bases):
            return Any
        values = [
            statement.value.value
            for statement in definition.body
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        ]
        return Literal[tuple(values)]
