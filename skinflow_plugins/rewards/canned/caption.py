"""Canned captions: right, nearly right, wrong, and those that try to be paid without looking."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.metrics import reference_caption
from skinflow_plugins.rewards.canned.answer import Canned

REPEATS = 50
FEW = 10

Fields = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Captions:
    """What canned captions are made of.

    `schema` has the fields with all their values, `truth` those of the sample, `other` a wrong value for each
    field of the truth that has one, `frequent` the values of the data by frequency. `sample_of_another` is
    the caption that agrees least; `some` are captions of other samples. `diagnosis` is the sample's.
    """

    schema: Fields
    truth: Mapping[str, list[str]]
    other: Mapping[str, str]
    frequent: Mapping[str, list[str]]
    sample_of_another: Mapping[str, list[str]] | None
    some: tuple[Mapping[str, list[str]], ...]
    diagnosis: str | None
    diagnoses: tuple[str, ...]


def captions(
    sample: Mapping[str, Any], others: Sequence[Mapping[str, Any]], schema: Fields, rng: random.Random
) -> Captions:
    """The values for canned captions of `sample`; `ValueError` naming a sample that does not fit `schema`."""
    truth = _ordered(reference_caption(sample, schema), schema)
    known = [_ordered(reference_caption(each, schema), schema) for each in others if each.get("caption")]
    other = {}
    for name, right in truth.items():
        wrong = [value for value in schema[name] if value not in right]
        if wrong:
            other[name] = rng.choice(wrong)
    counts: dict[str, Counter[str]] = {name: Counter() for name in schema}
    for caption in [truth, *known]:
        for name, values in caption.items():
            counts[name].update(values)
    frequent = {
        name: sorted(found, key=lambda value: (-found[value], value)) for name, found in counts.items()
    }
    some = rng.sample(known, min(FEW, len(known)))
    least = min(known, key=lambda each: _agreeing(each, truth), default=None)
    if least is not None and _agreeing(least, truth) > len(truth) // 2:
        least = None
    said = sample.get("diagnosis")
    names = dict.fromkeys(str(each["diagnosis"]) for each in (sample, *others) if each.get("diagnosis"))
    return Captions(
        schema, truth, other, frequent, least, tuple(some), said if isinstance(said, str) else None,
        tuple(sorted(names)),
    )  # fmt: skip


def _ordered(found: Mapping[str, set[str]], schema: Fields) -> dict[str, list[str]]:
    return {
        name: [value for value in schema[name] if value in found[name]] for name in schema if name in found
    }


def _agreeing(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> int:
    """Fields in which two captions share a value."""
    return sum(bool(set(one.get(name, ())) & set(values)) for name, values in other.items())


def honest(made: Captions, rng: random.Random) -> Iterator[Canned]:
    """Good, near-miss and bad captions."""
    truth, other = made.truth, made.other
    yield Canned("good", "the reference", write_caption(truth))
    yield Canned("good", "the reference, one field a line", write_caption(truth).replace("; ", "\n"))
    if len(truth) > 1:
        backwards = {name: truth[name] for name in reversed(list(truth))}
        yield Canned("good", "the reference in another order", write_caption(backwards))
        left_out = rng.choice(list(truth))
        short = {name: values for name, values in truth.items() if name != left_out}
        yield Canned("near_miss", "a field is missing", write_caption(short))
        if other:
            name = rng.choice(list(other))
            yield Canned("near_miss", "one field wrong", write_caption({**truth, name: [other[name]]}))
    if other:
        name = rng.choice(list(other))
        more = {**truth, name: [*truth[name], other[name]]}
        yield Canned("near_miss", "a value too many in one field", write_caption(more))
        yield Canned("bad", "every field wrong", write_caption({name: [v] for name, v in other.items()}))
    if made.sample_of_another is not None:
        yield Canned("bad", "the caption of another sample", write_caption(made.sample_of_another))


def gaming(made: Captions) -> Iterator[Canned]:
    """Captions that try to be paid without saying what there is to be seen."""
    for name, answer in _constant(made):
        yield Canned("gaming", name, answer, constant=True)
    for name, answer in (*_taken_back(made), *_misplaced(made)):
        yield Canned("gaming", name, answer)
    for name, answer in _everything(made):  # the right values are among them
        yield Canned("gaming", name, answer, holds="part")
    for name, answer in _leaks(made):  # a name such as halo nevus does tell a part of what is seen
        yield Canned("gaming", name, answer, holds="part")
    if len(made.truth) > 2:
        field, right = next(iter(made.truth.items()))
        again = "; ".join([write_caption({field: right})] * REPEATS)
        yield Canned("gaming", "one field, again and again", again, holds="part")
    yield Canned("gaming", "repeats the truth", "; ".join([write_caption(made.truth)] * REPEATS), holds="all")


def _constant(made: Captions) -> Iterator[tuple[str, str]]:
    """Captions without a look at the picture, right by luck alone."""
    for count, name in ((1, "the most frequent value"), (2, "the two most frequent values")):
        few = {field: values[:count] for field, values in made.frequent.items()}
        yield f"{name} of every field", write_caption(few)
    yield "the first value of every field", write_caption({n: v[:1] for n, v in made.schema.items()})
    if made.diagnoses:
        yield "all diagnoses instead of a caption", "; ".join(made.diagnoses)
    yield "abstains", "I don't know"


def _everything(made: Captions) -> Iterator[tuple[str, str]]:
    """All values at once, in every form."""
    schema = made.schema
    values = [value for each in schema.values() for value in each]
    yield "all values of all fields", write_caption(schema)
    yield "all values of all fields, each in a clause", "; ".join(_clauses(schema))
    yield "all values of all fields, joined by or", _written(schema, " or ".join)
    yield "all values of all fields, joined by slashes", _written(schema, "/".join)
    yield "all values of all fields, joined by spaces", _written(schema, " ".join)
    yield "all values in one sentence", f"The lesion is {', '.join(values[:-1])} and {values[-1]}."
    yield "all values without fields", ", ".join(values)
    yield "all values with the same share", _written(schema, lambda v: ", ".join(f"{x} (50%)" for x in v))
    yield "all values as a question", " ".join(f"Is it {value}?" for value in values)
    yield "the schema itself", json.dumps({name: list(v) for name, v in schema.items()}, ensure_ascii=False)
    marked = {name: dict.fromkeys(v, True) for name, v in schema.items()}
    yield "the schema itself, every value true", json.dumps(marked, ensure_ascii=False)
    yield "the captions of other samples", "\n".join(map(write_caption, (made.truth, *made.some, schema)))


def _taken_back(made: Captions) -> Iterator[tuple[str, str]]:
    """The truth, denied in the same breath."""
    truth, schema = made.truth, made.schema
    values = [value for each in truth.values() for value in each]
    yield "negates the truth", _written(truth, lambda v: ", ".join(f"not {x}" for x in v))
    yield "negates the truth with no", _written(truth, lambda v: ", ".join(f"no {x}" for x in v))
    yield "negates the truth in a sentence", f"The lesion is neither {' nor '.join(values)}."
    yield "negates everything", _written(schema, lambda v: ", ".join(f"not {x}" for x in v))
    clauses = [f"{name}: {value}; {name}: not {value}" for name, each in truth.items() for value in each]
    yield "contradictions", "; ".join(clauses)
    within = _written(truth, lambda v: ", ".join([*v, *(f"not {x}" for x in v)]))
    yield "contradictions within a field", within
    rest = {n: [x for x in schema[n] if x not in v] for n, v in truth.items()}
    yield "says only what it is not", _written(rest, lambda v: ", ".join(f"not {x}" for x in v))


def _misplaced(made: Captions) -> Iterator[tuple[str, str]]:
    """The truth in places that are not the answer, and the form without content."""
    truth, schema = made.truth, made.schema
    wrong = write_caption({name: [value] for name, value in made.other.items()})
    yield "the truth only in the thinking", f"<think>{write_caption(truth)}</think>{wrong}"
    block = f"<answer>{write_caption(truth)}</answer>"
    yield "the truth in a block before the last", f"{block}<answer>{wrong}</answer>"
    yield "fields without values", "; ".join(f"{name}:" for name in schema)
    yield "fields with dots", "; ".join(f"{name}: ..." for name in schema)
    yield "fields named by themselves", "; ".join(f"{name}: {name}" for name in schema)
    yield "field names alone", ", ".join(schema)
    yield "generic word", "; ".join(f"{name}: typical" for name in schema)
    names = list(truth)
    turned = dict(zip(names, [truth[name] for name in [*names[1:], *names[:1]]], strict=True))
    strange = {
        name: values for name, values in turned.items() if not set(values) & {*schema[name], *truth[name]}
    }
    if strange:
        yield "the values in the wrong fields", write_caption(strange)


def _leaks(made: Captions) -> Iterator[tuple[str, str]]:
    """The diagnosis in the place of a description: whoever guesses from such a caption has not read one."""
    if made.diagnosis is None:
        return
    yield "the diagnosis instead of a caption", made.diagnosis
    yield "the diagnosis in a sentence", f"The picture shows a typical {made.diagnosis}."
    yield "the diagnosis in every field", "; ".join(f"{name}: {made.diagnosis}" for name in made.schema)


def _clauses(schema: Fields) -> list[str]:
    return [f"{name}: {value}" for name, values in schema.items() for value in values]


def _written(fields: Fields, join: Any) -> str:
    return "; ".join(f"{name}: {join(list(values))}" for name, values in fields.items() if values)
