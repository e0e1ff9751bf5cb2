"""What a captioning was asked with: the settings that make a folder, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from skinflow_plugins.captioning.gate import Gate
from skinflow_plugins.captioning.outputs import Provenance
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.judging.prompt import Prompt
from skinflow_plugins.judging.settings import Judge

MOST_TRIES = 100


def read_fields(file: Path) -> dict[str, tuple[str, ...]]:
    """The caption schema of a YAML file: each field with its values, alone or under the key `captions`."""
    where = str(file)
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror or error}", where)) from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(Problem(f"is no YAML in UTF-8: {error}", where)) from error
    if isinstance(found, dict) and isinstance(found.get("captions"), dict):
        found = found["captions"]
    if not isinstance(found, dict):
        message = "expected caption fields with their values"
        raise InputError(Problem(message, where, hint="such as colour: [red, brown]"))
    return checked_fields(found, where)


def checked_fields(found: Mapping[Any, Any], where: str) -> dict[str, tuple[str, ...]]:
    """The schema; `InputError` with every field that has no list of distinct texts."""
    problems = []
    for name, values in found.items():
        texts = isinstance(values, (list, tuple)) and all(isinstance(v, str) and v.strip() for v in values)
        if not isinstance(name, str) or not name.strip():
            problems.append(Problem(f"found the field {name!r}; expected a name", where))
        elif not texts or not values:
            message = f"found {values!r}; expected a list of texts"
            problems.append(
                Problem(message, where, path=name, hint="YAML takes no and yes for truth: quote them")
            )
        elif len(set(values)) < len(values):
            problems.append(Problem(f"found {list(values)}; expected values that differ", where, path=name))
    if not found:
        problems.append(Problem("there are no caption fields", where, hint="such as colour: [red, brown]"))
    if problems:
        raise InputError(problems)
    return {name: tuple(values) for name, values in found.items()}


def check_gate(gate: Gate, captioner: Judge, judge: Judge) -> None:
    """Raise `InputError` with every setting that cannot work."""
    problems = []
    if not 1 <= gate.tries <= MOST_TRIES:
        problems.append(Problem(f"found {gate.tries}; expected 1 to {MOST_TRIES}", path="--tries"))
    if gate.top_k < 1:
        problems.append(Problem(f"found {gate.top_k}; expected 1 or more", path="--top-k"))
    if gate.tries > 1 and captioner.heat == 0 and not gate.show_rejected:
        message = f"at temperature 0 the {gate.tries} captions of an image would be the same"
        problems.append(
            Problem(message, path="--temperature", hint="raise it, add --show-rejected, or give --tries 1")
        )
    if problems:
        raise InputError(problems)


def identity(gate: Gate, captioner: Judge, judge: Judge) -> dict[str, Any]:
    """What must stay the same for a folder to be one body of data; addresses may change."""
    return {
        "captioner": captioner.model,
        "captioner_temperature": captioner.heat,
        "captioner_max_tokens": captioner.max_tokens,
        "describe_prompt": named(gate.describe),
        "hint_diagnosis": gate.hint_diagnosis,
        "show_rejected": gate.show_rejected,
        "judge": judge.model,
        "judge_runs": judge.runs,
        "judge_temperature": judge.heat,
        "recover_prompt": named(gate.recover),
        "taxonomy": f"{gate.taxonomy.name} {gate.taxonomy.version}",
        "fields": {name: list(values) for name, values in gate.fields.items()},
        "tries": gate.tries,
        "top_k": gate.top_k,
        "seed": gate.seed,
    }


def named(prompt: Prompt) -> str:
    """A prompt as a report names it: name, version and the beginning of its hash."""
    return f"{prompt.name} {prompt.version} {prompt.sha256[:12]}"


def provenance(gate: Gate, captioner: Judge, judge: Judge) -> Provenance:
    """What the captions' own columns say of where they come from."""
    prompts: Sequence[str] = named(gate.describe), named(gate.recover)
    return Provenance(captioner.model, prompts[0], gate.hint_diagnosis, judge.model, prompts[1])
