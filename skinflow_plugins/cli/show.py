"""`skinflow show NAME`: everything known of what has this name, of whatever kind it is."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

from skinflow_plugins.cli import show_dve
from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.cli.known import Thing
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.declare import Declared
    from skinflow_plugins.diagnosis import Taxonomy
    from skinflow_plugins.diagnosis.taxonomy import Concept

DESCRIPTION = """\
A reward, metric, data source, base model family, vision encoder, taxonomy or recipe. Where several kinds have
the name, all of them are shown. With a checkpoint behind it, `show dve` draws what its dynamic vision encoder
does: the gains of every projection for every image, and where the last token looks."""
MOST_LINES = 60


def add(verbs: Verbs) -> None:
    """Add `show` to the verbs."""
    parser = add_verb(verbs, "show", "show everything about one name", do, DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="as in `skinflow list`")
    parser.set_defaults(rest=[])
    show_dve.add_options(parser)


def do(arguments: argparse.Namespace) -> int:
    """Print everything that has the name; with `dve CHECKPOINT`, draw it."""
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.known import names, thing
    from skinflow_plugins.cli.listing import NAMED
    from skinflow_plugins.errors import InputError, Problem, nearest

    if more := show_dve.given(arguments):
        if arguments.name == "dve":
            return show_dve.do(arguments)
        message = f"{arguments.name!r} takes no further arguments, found: {' '.join(more)}"
        raise InputError(Problem(message, hint="only `skinflow show dve CHECKPOINT ...` does"))
    known = catalogue()
    by_kind = {kind: names(known, kind) for kind in NAMED}
    found = [thing(known, kind, arguments.name) for kind in NAMED if arguments.name in by_kind[kind]]
    if not found:
        every = [name for kind in by_kind.values() for name in kind]
        broken = [each.name for each in known.plugins if each.reason]
        hint = (
            f"plug-ins that did not load: {', '.join(broken)}; see `skinflow list plugins`" if broken else ""
        )
        message = f"nothing is called {arguments.name!r}; {nearest(arguments.name, every)}"
        raise InputError(Problem(message, hint=hint))
    print("\n\n".join("\n".join(described(each)) for each in found))
    return 0


def described(thing: Thing) -> list[str]:
    """All lines about one thing."""
    from skinflow_plugins.declare import Declared

    singular = {"taxonomies": "taxonomy"}.get(thing.kind, thing.kind.removesuffix("s")).replace("_", " ")
    head = [f"{singular} {thing.name}, from {thing.owner}"]
    if isinstance(thing.value, Declared):
        return [*head, "", *_declared(thing.value)]
    if thing.kind == "taxonomies":
        return [*head, *_taxonomy(thing)]
    if thing.kind == "recipes":
        text = thing.value.read_text(encoding="utf-8").rstrip("\n")
        return [*head, f"file: {thing.value}", "", *text.splitlines()]
    return [*head, *_fields(thing.value)]


def _declared(declared: Declared) -> list[str]:
    from skinflow_plugins.declare import Dataset, Metric, Reward
    from skinflow_plugins.options import options_of

    lines = (inspect.getdoc(declared.function) or "").splitlines()
    facts = []
    if isinstance(declared, Reward):
        facts.append(f"range: {declared.low:g} to {declared.high:g}")
        facts.append(f"needs the columns: {', '.join(declared.needs) or 'none'}")
        form = [
            word for word, is_so in (("batched", declared.batched), ("async", declared.is_async)) if is_so
        ]
        facts += [f"called: {' and '.join(form)}"] if form else []
        facts += [] if declared.reference is None else ["makes its own reference answer, for `check_reward`"]
    if isinstance(declared, Metric):
        facts.append(f"reads the answers to: {declared.task}")
    if isinstance(declared, Dataset) and declared.head is None:
        facts.append("cannot be looked at before a run")
    options = [
        f"  {option}" + ("  (required)" if option.required else "")
        for option in options_of(declared.function)
    ]
    source = inspect.getsourcefile(declared.function)
    facts += [f"file: {source}"] if source else []
    return [*lines, "", *facts, "", *(["options:", *options] if options else ["no options"])]


def _taxonomy(thing: Thing) -> list[str]:
    from skinflow_plugins.diagnosis import load_taxonomy

    tree = load_taxonomy(thing.value)
    lines = [f"file: {thing.value}", thing.summary, tree.note, ""]
    names = _branch(tree, None, "  ")
    if len(names) > MOST_LINES:
        names = [*names[:MOST_LINES], f"  and {len(names) - MOST_LINES} more; see the file"]
    return lines + names


def _branch(tree: Taxonomy, concept: Concept | None, indent: str) -> list[str]:
    lines = []
    for child in tree.children(concept):
        also = f" (also {', '.join(child.aliases)})" if child.aliases else ""
        lines += [f"{indent}{child.name}{also}", *_branch(tree, child, indent + "  ")]
    return lines


def _fields(value: object) -> list[str]:
    """The fields of a plain record, such as a base model family."""
    shown = {
        name: getattr(value, name) for name in getattr(value, "__dataclass_fields__", {}) if name != "name"
    }
    texts = {name: _text(field) for name, field in shown.items()}
    summary = texts.pop("summary", "")
    return [*([summary, ""] if summary else [""]), *(f"{name}: {text}" for name, text in texts.items())]


def _text(field: object) -> str:
    if is_dataclass(field) and not isinstance(field, type):  # a seam
        inner = {each.name: getattr(field, each.name) for each in fields(field)}
        return ", ".join(f"{name} {_text(value)}" for name, value in inner.items() if value is not None)
    if isinstance(field, Mapping):
        return ", ".join(f"{name} = {value}" for name, value in field.items())
    if field is None:
        return "none"
    return ", ".join(map(str, field)) if isinstance(field, tuple) else str(field)
