"""Everything that has a name, by kind, in one shape: what `list` and `show` print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.errors import InputError

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue


@dataclass(frozen=True)
class Thing:
    """One named thing with its owner and its listing line; `value` is a file for taxonomies and recipes."""

    kind: str
    name: str
    owner: str
    summary: str
    value: Any


def names(known: Catalogue, kind: str) -> list[str]:
    """The names of one kind; nothing is opened for them."""
    return sorted(_recipes(known)) if kind == "recipes" else known.names(kind)


def things(known: Catalogue, kind: str) -> Iterator[Thing]:
    """Everything of one kind, by name."""
    for name in names(known, kind):
        yield thing(known, kind, name)


def thing(known: Catalogue, kind: str, name: str) -> Thing:
    """The thing of this kind and name, which must exist."""
    if kind == "recipes":
        path, owner = _recipes(known)[name]
        return Thing(kind, name, owner, _recipe_summary(known, path), path)
    entry = known.table(kind)[name]
    summary = _taxonomy_summary(entry.value) if kind == "taxonomies" else entry.value.summary
    if kind == "base_models":
        summary += "; can be dynamic" if entry.value.seam else "; cannot be dynamic (it names no seam)"
    return Thing(kind, name, entry.owner, summary, entry.value)


def _recipes(known: Catalogue) -> dict[str, tuple[Path, str]]:
    """Every recipe that can be named, with its file and the owner of its folder."""
    from skinflow_plugins.recipe.load import names as names_of_recipes

    owners = {entry.value: entry.owner for entry in known.table("recipe_dirs").values()}
    found = {}
    for name, path in names_of_recipes(list(owners)).items():
        owner = next(
            (who for folder, who in owners.items() if path.is_relative_to(folder)), "skinflow-plugins"
        )
        found[name] = path, owner
    return found


def _recipe_summary(known: Catalogue, path: Path) -> str:
    from skinflow_plugins.cli.recipe_arguments import recipe_dirs
    from skinflow_plugins.recipe.load import load

    try:
        return load(path, recipe_dirs=recipe_dirs(known)).draft.summary or "(no summary)"
    except InputError as error:
        return f"cannot be read: {_first_line(error)}"


def _taxonomy_summary(path: Path) -> str:
    from skinflow_plugins.diagnosis import load_taxonomy

    try:
        tree = load_taxonomy(path)
    except InputError as error:
        return f"cannot be read: {_first_line(error)}"
    return f"{len(tree.labels())} labels in {len(tree)} concepts, version {tree.version}"


def _first_line(error: InputError) -> str:
    return str(error).partition("\n")[0]
