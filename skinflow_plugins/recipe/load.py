"""A recipe read from its file, with the recipes that it extends and the changes from the command line.

**`extends: other`.** A name is looked up beside the recipe, then in the recipe folders of plug-ins and then
among the shipped recipes; with a slash or an ending it is a path from the recipe's own folder. Chains are
fine. The recipe holds only the differences: mappings merge, lists and scalars replace, and

- `stages` may be a mapping from stage name to differences, instead of a list (which replaces all stages). A
  name that the parent lacks is a new stage at the end, if it gives its `kind`.
- `null` takes away a whole stage, a task, a caption field, a taught task, or an argument under `swift:`.
  For any other key of a recipe null means its default; for an option of a plug-in it is a value.
- Where `data.source`, `model.vision.encoder` or `gate.metric` names another plug-in than the parent, the
  block starts afresh, because the parent's options are not that plug-in's.
- `name` and `summary` are never inherited.

**`key=value`.** Steps are separated by dots. An item of a list is addressed by its position (`stages.0`,
`stages[0]`), by its name (`stages.caption`, `stages.caption.rewards.format.weight`), or by `*` for all.
Values are YAML; they merge like the differences of a recipe, and come after all of them.

**Interpolation** is OmegaConf's (`${data.root}`, `${oc.env:NAME}`) and comes last, over the whole. The value
`???` must be given by a recipe that extends this one, or on the command line. Numbers stay what YAML says
that they are: `"3"` is text, and so is what comes from the environment.

Nothing is written, and nothing of the recipe is looked up outside the recipe files and the environment.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.declare import Declared, VisionEncoder
from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.options import fits
from skinflow_plugins.recipe import lines, shape
from skinflow_plugins.recipe.lines import Node, Place
from skinflow_plugins.recipe.merge import merge, override
from skinflow_plugins.recipe.schema import Recipe

ENDINGS = (".yaml", ".yml")
SHIPPED = "skinflow_recipes"


@dataclass(frozen=True)
class Loaded:
    """A recipe as read: `mapping` is plain and resolved, `files` are its own file and those it extends.

    `problems` are those of its shape: wrong keys and types, missing values, unresolved interpolations.
    `draft` is the recipe with defaults or blanks where `faulty` says that the value was wrong; only `check`
    reads it.
    """

    files: tuple[Path, ...]
    overrides: tuple[str, ...]
    mapping: Mapping[str, Any]
    places: Mapping[lines.Path, Place] = field(repr=False)
    problems: tuple[Problem, ...]
    draft: Recipe = field(repr=False)
    faulty: frozenset[lines.Path] = field(repr=False)

    @property
    def recipe(self) -> Recipe:
        """The recipe; an `InputError` with all problems of its shape when there are any."""
        if self.problems:
            raise InputError(self.problems)
        return self.draft

    def place(self, path: lines.Path) -> Place:
        """Where the value at `path` was written; for one that is not there, the block it belongs to."""
        return _place(self.places, path)


def load(
    name_or_path: str | Path, overrides: Sequence[str] = (), *, recipe_dirs: Sequence[Path] = ()
) -> Loaded:
    """The recipe of this name or file, resolved.

    Raises `InputError` where there is nothing to check: no such file, not YAML, not a mapping, a cycle.
    """
    problems: list[Problem] = []
    files, trees = _chain(find(name_or_path, recipe_dirs), recipe_dirs, problems)
    tree = Node({}, trees[-1].place)
    for layer in reversed(trees):
        inherited = {key: node for key, node in tree.value.items() if key not in ("name", "summary")}
        tree = merge(Node(inherited, tree.place), layer, problems)
    tree = override(tree, overrides, problems)
    tree, faulty = _resolved(tree, problems)
    places = lines.places(tree)
    mapping = lines.plain(tree)
    found = shape.read(mapping, lambda path: _place(places, path), faulty)
    return Loaded(
        tuple(files),
        tuple(overrides),
        mapping,
        places,
        (*problems, *found.problems),
        found.draft,
        frozenset(found.faulty),
    )


def filled_options(recipe: Recipe, declared: Declared, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a plug-in with what the recipe says for all: `taxonomy`, `vocabulary`, `judge`, and
    `fields` from `captions`; for a vision encoder, `seed`.

    An option called `fields` gets the caption fields with their values where it takes a mapping, else their
    names.
    """
    filled = dict(given)
    for option in declared.options:
        if option.name in given:
            continue
        if option.name == "taxonomy" and recipe.taxonomy is not None:
            filled["taxonomy"] = recipe.taxonomy
        elif option.name == "vocabulary" and recipe.vocabulary is not None:
            filled["vocabulary"] = recipe.vocabulary
        elif option.name == "judge" and recipe.judge:
            filled["judge"] = dict(recipe.judge)
        elif option.name == "fields" and recipe.captions:
            fields = {name: list(values) for name, values in recipe.captions.items()}
            filled["fields"] = fields if fits(fields, option.annotation) else list(fields)
        elif option.name == "seed" and isinstance(declared, VisionEncoder):
            filled["seed"] = recipe.seed
    return filled


def find(name_or_path: str | Path, recipe_dirs: Sequence[Path] = ()) -> Path:
    """The file of a recipe; an `InputError` with the nearest name when there is none."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or _is_path(text):
        path = Path(text).expanduser()
        if path.is_file():
            return path
        if isinstance(name_or_path, Path) or path.suffix in ENDINGS or path.is_dir():
            message = "is a folder, not a recipe" if path.is_dir() else "there is no such file"
            raise InputError(Problem(message, where=text, hint=_known(path.stem, _beside(path.parent))))
    found = _named(text, [*recipe_dirs, *shipped()], but=())
    if found is None:
        raise InputError(Problem(f"there is no recipe {text!r}", hint=_known(text, names(recipe_dirs))))
    return found


def names(recipe_dirs: Sequence[Path] = ()) -> dict[str, Path]:
    """Every recipe that can be named, with its file; folders of plug-ins come before the shipped ones."""
    found: dict[str, Path] = {}
    for folder in (*recipe_dirs, *shipped()):
        for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if file.suffix in ENDINGS and file.is_file():
                found.setdefault(file.relative_to(folder).with_suffix("").as_posix(), file)
    return found


def shipped() -> tuple[Path, ...]:
    """The folders of the recipes that come with the package; none when they are not installed."""
    spec = importlib.util.find_spec(SHIPPED)
    return tuple(Path(place) for place in spec.submodule_search_locations or ()) if spec else ()


def _is_path(text: str) -> bool:
    return text.endswith(ENDINGS) or "/" in text or os.sep in text


def _named(name: str, folders: Sequence[Path], but: Sequence[Path]) -> Path | None:
    candidates = (folder / f"{name}{ending}" for folder in folders for ending in ENDINGS)
    return next((path for path in candidates if path.is_file() and path.resolve() not in but), None)


def _known(name: str, known: Iterable[str]) -> str:
    return nearest(name, known) if (known := list(known)) else "no recipes were found there"


def _beside(folder: Path) -> list[str]:
    files = folder.iterdir() if folder.is_dir() else ()
    return [file.stem for file in files if file.suffix in ENDINGS]


def _chain(path: Path, recipe_dirs: Sequence[Path], problems: list[Problem]) -> tuple[list[Path], list[Node]]:
    """The recipe's file and tree, then those of what it extends, and so on."""
    files: list[Path] = []
    trees: list[Node] = []
    while True:
        files.append(path)
        tree = _read(path, problems)
        trees.append(tree)
        extends = tree.value.pop("extends", None)
        if extends is None or extends.value is None:
            return files, trees
        path = _parent(extends, files, recipe_dirs)


def _parent(extends: Node, files: list[Path], recipe_dirs: Sequence[Path]) -> Path:
    def wrong(message: str, hint: str = "") -> InputError:
        return InputError(extends.place.problem(("extends",), message, hint))

    name, folder = extends.value, files[-1].parent
    if not isinstance(name, str):
        raise wrong(f"found {lines.plain(extends)!r}, expected the name or the path of one recipe")
    if _is_path(name):
        parent: Path | None = folder / Path(name).expanduser()
        known = _beside((folder / Path(name).expanduser()).parent)
    else:
        # A recipe may extend one of its own name that lies further away.
        searched = [folder, *recipe_dirs, *shipped()]
        parent = _named(name, searched, but=[files[-1].resolve()])
        known = [*_beside(folder), *names(recipe_dirs)]
        if parent is None and _named(name, searched, but=()) is not None:
            parent = files[-1]
    if parent is None or not parent.is_file():
        raise wrong(f"there is no recipe {name!r}", _known(Path(name).stem, known))
    if parent.resolve() in [file.resolve() for file in files]:
        ring = [*(_display(file) for file in files), _display(parent)]
        raise wrong("recipes extend each other in a circle: " + " -> ".join(ring))
    return parent


def _read(path: Path, problems: list[Problem]) -> Node:
    file = _display(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", where=file)) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(Problem("not UTF-8 text", where=file, line=line)) from error
    tree, double = lines.parse(text, file)
    problems += double
    if not isinstance(tree.value, dict):
        found = "nothing" if tree.value is None else f"a {type(tree.value).__name__}"
        raise InputError(Problem(f"found {found}, expected a mapping such as `name: my_recipe`", where=file))
    return tree


def _display(path: Path) -> str:
    """A file as the user would type it: from the working folder when it lies below."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _place(places: Mapping[lines.Path, Place], path: lines.Path) -> Place:
    while path not in places:
        path = path[:-1]
    return places[path]


# --- interpolation ---------------------------------------------------------------------------------------


def _resolved(tree: Node, problems: list[Problem]) -> tuple[Node, set[lines.Path]]:
    """The tree with interpolations resolved; and the paths whose value could not be found, now null."""
    open_leaves = [
        (path, leaf)
        for path, leaf in lines.leaves(tree)
        if isinstance(leaf.value, str) and ("${" in leaf.value or leaf.value == "???")
    ]
    if not open_leaves:
        return tree, set()
    from omegaconf import OmegaConf  # 0.2 s, so only where it is needed

    faulty: set[lines.Path] = set()
    for path, leaf in open_leaves:
        if leaf.value == "???":
            key = lines.shown(path)
            message = "no value is given"
            hint = f"set it in a recipe that extends this one, or on the command line: {key}=..."
        else:
            message, hint = _grammar(leaf.value), "a plain dollar sign before a brace is written \\${"
        if message:
            problems.append(leaf.place.problem(path, message, hint))
            faulty.add(path)
            leaf.value = None
    config = OmegaConf.create(lines.plain(tree))
    # All are looked up before any is replaced, so that none sees another's replacement.
    found = [(path, leaf, *_look_up(config, path)) for path, leaf in open_leaves if path not in faulty]
    for path, leaf, value, message in found:
        if message:
            problems.append(leaf.place.problem(path, f"cannot resolve {leaf.value!r}: {message}"))
            faulty.add(path)
        leaf.value = lines.lifted(value, leaf.place).value
    return tree, faulty


def _grammar(text: str) -> str:
    """What is wrong with an interpolation's form; empty when nothing is."""
    from omegaconf import OmegaConf
    from omegaconf.errors import GrammarParseError

    try:
        OmegaConf.create({"value": text})
    except GrammarParseError as error:
        return f"cannot read the interpolation {text!r}: {_first_line(error)}"
    return ""


def _look_up(config: Any, path: lines.Path) -> tuple[Any, str]:
    """(the value at `path`, what is wrong)."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        for step in path:
            config = config[step]
        return (OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config), ""
    except OmegaConfBaseException as error:
        return None, _first_line(error)
    except RecursionError:
        return None, "it leads back to itself"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
