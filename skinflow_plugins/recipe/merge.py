"""How the differences of a recipe, and `key=value` from the command line, change the recipe below them.

Mappings merge, lists and scalars replace; the rules beyond that are in the docstring of `recipe.load`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.recipe.lines import Node, Path, Place, parse_value, shown

COMMAND_LINE = "command line"

# Blocks whose other keys are the options of the plug-in that this key names.
_NAMING_KEYS = {("data",): "source", ("model", "vision"): "encoder", ("stages", "*", "gate"): "metric"}

# Entries that null takes away. Elsewhere null is a value: a plug-in may give it a meaning.
_DROPPED_BY_NULL = (
    ("stages", "*"),
    ("stages", "*", "swift", "*"),
    ("stages", "*", "teach", "*"),
    ("swift", "*"),
    ("tasks", "*"),
    ("captions", "*"),
)


def merge(parent: Node, child: Node, problems: list[Problem], path: Path = ()) -> Node:
    """The parent with the child's differences; notes stage names that the parent does not have."""
    if path == ("stages",) and isinstance(parent.value, list) and isinstance(child.value, dict):
        return _stages(parent, child, problems)
    if not (isinstance(parent.value, dict) and isinstance(child.value, dict)):
        return child
    naming = next((key for pattern, key in _NAMING_KEYS.items() if _is_at(path, pattern)), None)
    if naming and naming in child.value and child.get(naming) != parent.get(naming):
        return child  # another plug-in: the options of the one before mean nothing to it
    merged = dict(parent.value)
    for key, item in child.value.items():
        here = (*path, key)
        if item.value is None and key in merged and any(_is_at(here, p) for p in _DROPPED_BY_NULL):
            del merged[key]
        elif key in merged:
            merged[key] = merge(merged[key], item, problems, here)
        elif here == ("stages",):
            merged[key] = merge(Node([], item.place), item, problems, here)
        else:
            merged[key] = item
    return Node(merged, child.place)


def _is_at(path: Path, pattern: Sequence[str]) -> bool:
    return len(path) == len(pattern) and all(p in ("*", step) for step, p in zip(path, pattern, strict=True))


def _stages(parent: Node, child: Node, problems: list[Problem]) -> Node:
    """The list of stages after differences that are addressed by stage name."""
    stages: list[Node] = list(parent.value)
    for name, differences in child.value.items():
        position = next((i for i, stage in enumerate(stages) if stage.get("name") == name), None)
        given = differences.get("name")
        if given is not None and given != name:
            problems.append(
                differences.place.problem(
                    ("stages", name, "name"),
                    f"the stage under the key {name!r} calls itself {given!r}",
                    "leave `name` out here: the key is the name",
                )
            )
        if position is not None and differences.value is None:
            del stages[position]
        elif position is not None:
            stages[position] = merge(stages[position], differences, problems, ("stages", name))
        elif differences.get("kind") is not None:
            named = {"name": Node(name, differences.place)} | differences.value
            stages.append(Node(named, differences.place))
        else:
            known = [str(stage.get("name")) for stage in stages if stage.get("name") is not None]
            hint = "a new stage needs at least its `kind`"
            message = f"no stage {name!r} to change; {nearest(name, known)}"
            problems.append(differences.place.problem(("stages", name), message, hint))
    return Node(stages, child.place)


def override(tree: Node, overrides: Iterable[str], problems: list[Problem]) -> Node:
    """The tree after every `key=value`, in order; notes those that cannot be applied."""
    parsed: list[tuple[list[str], Node]] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        steps = re.sub(r"\[([^][]*)\]", r".\1", key.strip().removeprefix("--")).split(".")
        if not equals or not all(steps):
            problems.append(
                Problem(
                    f"{text!r} is not of the form key=value",
                    where=COMMAND_LINE,
                    hint="for example stages.caption.swift.learning_rate=1e-6",
                )
            )
            continue
        try:
            node, double = parse_value(value, COMMAND_LINE)
        except InputError as error:
            problems += [Problem(f"{text!r}: {problem.message}", COMMAND_LINE) for problem in error.problems]
            continue
        problems += double
        parsed.append((steps, node))
    # A key that names a plug-in empties its block, so it goes before the options of the new plug-in.
    parsed.sort(key=lambda pair: pair[0][-1] not in _NAMING_KEYS.values())
    for steps, value_node in parsed:
        tree = _set(tree, steps, value_node, problems, ())
    return tree


def _set(node: Node, steps: list[str], value: Node, problems: list[Problem], path: Path) -> Node:
    place = Place(COMMAND_LINE)
    if not steps:
        return merge(node, value, problems, path)
    step, rest = steps[0], steps[1:]
    if isinstance(node.value, list):
        return _set_items(node, step, rest, value, problems, path)
    if node.value is None:
        node = Node({}, place)
    if not isinstance(node.value, dict):
        message = f"cannot set {'.'.join(steps)!r} inside {shown(path)}, which is {node.value!r}"
        problems.append(place.problem(path, message))
        return node
    if rest and isinstance(getattr(node.value.get(step), "value", None), (dict, list)):
        changed = _set(node.value[step], rest, value, problems, (*path, step))
        return Node(node.value | {step: changed}, node.place)
    if rest and step in node.value and node.value[step].value is not None:
        message = f"cannot set {'.'.join(rest)!r} inside it: it is {node.value[step].value!r}"
        problems.append(place.problem((*path, step), message))
        return node
    for outer in reversed(rest):
        value = Node({outer: value}, place)
    merged = merge(node, Node({step: value}, place), problems, path)
    return Node(merged.value, node.place)


def _set_items(
    node: Node, step: str, rest: list[str], value: Node, problems: list[Problem], path: Path
) -> Node:
    """Sets below the item of a list that `step` tells: a position, `*` for all, or the item's name."""
    items: list[Node] = list(node.value)
    if step == "*":
        chosen = list(range(len(items)))
    elif step.isdecimal():
        chosen = [int(step)] if int(step) < len(items) else []
    else:
        chosen = [number for number, item in enumerate(items) if _is_called(item, step)]
    if not chosen:
        known = [name for item in items for name in _names(item)]
        message = f"no item {step!r} here; {nearest(step, known)}, or a position below {len(items)}"
        problems.append(Place(COMMAND_LINE).problem(path, message))
    for number in reversed(chosen):
        item = items[number]
        if not rest and value.value is None and path == ("stages",):
            del items[number]
            continue
        if isinstance(item.value, str) and (rest or isinstance(value.value, dict)):
            item = Node({item.value: Node({}, item.place)}, item.place)  # the short form of a reward
        inside = [step] if isinstance(item.value, dict) and list(item.value) == [step] else []
        items[number] = _set(item, [*inside, *rest], value, problems, (*path, number))
    return Node(items, node.place)


def _names(item: Node) -> list[str]:
    """What a list item can be called: its `name`, its only key, or itself."""
    if isinstance(item.value, dict):
        return [str(item.get("name"))] if "name" in item.value else list(item.value)[:1]
    return [item.value] if isinstance(item.value, str) else []


def _is_called(item: Node, name: str) -> bool:
    return name in _names(item)
