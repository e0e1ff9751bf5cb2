"""Everything that can be named in a recipe, built once from all plug-ins and then frozen.

A plug-in that fails to load is kept with its reason and never stops the program. Two plug-ins with one name
for the same kind of thing are a mistake that names both owners.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pluggy

from skinflow_plugins import hookspecs
from skinflow_plugins.declare import Dataset, Metric, Reward, VisionEncoder
from skinflow_plugins.errors import InputError, Problem, nearest

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "rewards": "skinflow_rewards",
        "metrics": "skinflow_metrics",
        "base_models": "skinflow_base_models",
        "vision_encoders": "skinflow_vision_encoders",
        "projections": "skinflow_projections",
        "datasets": "skinflow_datasets",
        "taxonomies": "skinflow_taxonomies",
        "recipe_dirs": "skinflow_recipe_dirs",
    }
)


_EXPECTED: Mapping[str, type] = MappingProxyType(
    {
        "rewards": Reward,
        "metrics": Metric,
        "datasets": Dataset,
        "vision_encoders": VisionEncoder,
        "taxonomies": Path,
        "recipe_dirs": Path,
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One named thing and the distribution that brought it."""

    name: str
    value: Any
    owner: str


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One plug-in as found: `reason` is empty when it loaded, else why it did not."""

    name: str
    owner: str
    target: str
    reason: str = ""


@dataclass(frozen=True)
class Catalogue:
    """Frozen tables by kind (see `KINDS`), and the state of every plug-in."""

    entries: Mapping[str, Mapping[str, Entry]]
    plugins: tuple[PluginStatus, ...]

    def table(self, kind: str) -> Mapping[str, Entry]:
        return self.entries[kind]

    def names(self, kind: str) -> list[str]:
        return sorted(self.entries[kind])

    def get(self, kind: str, name: str) -> Any:
        """The thing called `name`; an `InputError` with the nearest name when there is none."""
        entry = self.entries[kind].get(name)
        if entry is None:
            raise InputError(Problem(self.unknown(kind, name)))
        return entry.value

    def unknown(self, kind: str, name: str) -> str:
        """A sentence for an unknown name; mentions plug-ins that failed, since one may have held it."""
        noun = kind.removesuffix("s").replace("taxonomie", "taxonomy").replace("_", " ")
        text = f"unknown {noun} {name!r}; {nearest(name, self.entries[kind])}"
        broken = [status.name for status in self.plugins if status.reason]
        if broken:
            text += f" (plug-ins that did not load: {', '.join(broken)}; see `skinflow list plugins`)"
        return text


def build(found: Iterable[tuple[EntryPoint, str]]) -> Catalogue:
    """Load the given entry points, each with its owner's name, and freeze what they bring.

    Raises `InputError` for names that two owners claim.
    """
    statuses: list[PluginStatus] = []
    tables: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
    clashes: list[Problem] = []
    for point, owner in found:
        try:
            brought = list(_items(point))
        except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; we go on
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
            statuses.append(PluginStatus(point.name, owner, point.value, reason))
            continue
        statuses.append(PluginStatus(point.name, owner, point.value))
        for kind, name, value in brought:
            other = tables[kind].get(name)
            if other is not None:
                clashes.append(
                    Problem(
                        f"the name {name!r} is claimed twice among {kind}: by {other.owner} and by {owner}",
                        hint="rename one of them, or uninstall one of the two packages",
                    )
                )
                continue
            tables[kind][name] = Entry(name, value, owner)
    if clashes:
        raise InputError(clashes)
    frozen = {kind: MappingProxyType(table) for kind, table in tables.items()}
    return Catalogue(MappingProxyType(frozen), tuple(statuses))


def _items(point: EntryPoint) -> Iterable[tuple[str, str, Any]]:
    """Every (kind, name, value) of one plug-in, through a plug-in manager of its own."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(point.load(), name=point.name)
    manager.check_pending()  # a misspelt hook would otherwise be silently ignored
    for kind, hook in KINDS.items():
        for returned in getattr(manager.hook, hook)():
            for value in returned:
                if not isinstance(value, _EXPECTED.get(kind, object)):
                    wanted = _EXPECTED[kind].__name__
                    raise TypeError(f"{hook} returned a {type(value).__name__}, expected a {wanted}")
                yield kind, _name(kind, value), value


def _name(kind: str, value: Any) -> str:
    if kind == "taxonomies":
        return str(value.stem)
    # Folders have no names of their own: two packages may each have one called `recipes`.
    return str(value) if kind == "recipe_dirs" else str(value.name)


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue of this process, from the entry points of all installed distributions."""
    points = [
        (point, point.dist.name if point.dist else "unknown distribution")
        for point in entry_points(group=hookspecs.GROUP)
    ]
    # Built-ins first, then by name, so that a clash always reads the same way.
    points.sort(key=lambda pair: (pair[0].name != "builtin", pair[1], pair[0].name))
    return build(points)
