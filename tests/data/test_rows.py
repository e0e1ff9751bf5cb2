"""The order of rows as laws: balance, replay, control, and the same rows from the same seed."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinflow_plugins.data.record import Record
from skinflow_plugins.data.rows import (
    Prompt,
    balanced_forever,
    interleave,
    permute_images,
    prompt_row,
    ranked_names,
    shuffled_forever,
    taught_row,
    with_random_caption,
)

SEEDS = st.integers(0, 2**32)
NAMES = ["acne", "eczema", "lupus", "melanoma", "naevus", "psoriasis"]
FIELDS = {"colour": ["red", "brown", "black"], "border": ["sharp", "blurred"], "size": ["small", "large"]}


def record(number: int, diagnosis: str | None = "acne", **more: object) -> Record:
    return Record(id=f"r{number}", image=f"/images/{number}.png", split="train", diagnosis=diagnosis, **more)  # type: ignore[arg-type]


@given(groups=st.lists(st.integers(1, 5), min_size=1, max_size=7), seed=SEEDS, rounds=st.integers(1, 12))
def test_balanced_order_holds_each_value_once_in_every_round(
    groups: list[int], seed: int, rounds: int
) -> None:
    items = [(value, item) for value, size in enumerate(groups) for item in range(size)]
    random.Random(seed).shuffle(items)
    stream = balanced_forever(items, lambda item: item[0], random.Random(seed))
    drawn = list(itertools.islice(stream, rounds * len(groups)))
    for start in range(0, len(drawn), len(groups)):
        assert sorted(value for value, _ in drawn[start : start + len(groups)]) == list(range(len(groups)))
    for value, size in enumerate(groups):
        mine = [item for kind, item in drawn if kind == value]
        for start in range(0, len(mine), size):  # within a value no item comes twice before all have come
            part = mine[start : start + size]
            assert len(set(part)) == len(part)


@given(count=st.integers(1, 30), seed=SEEDS, passes=st.integers(1, 4))
def test_every_pass_of_a_shuffle_holds_every_item_once(count: int, seed: int, passes: int) -> None:
    drawn = list(itertools.islice(shuffled_forever(range(count), random.Random(seed)), count * passes))
    for start in range(0, len(drawn), count):
        assert sorted(drawn[start : start + count]) == list(range(count))


def test_passes_differ() -> None:
    drawn = list(itertools.islice(shuffled_forever(range(30), random.Random(0)), 60))
    assert drawn[:30] != drawn[30:]


def prompts(task: str) -> Iterator[Prompt]:
    return (Prompt(record(number), task, task) for number in itertools.count())


@given(share=st.floats(0, 1), start=st.integers(0, 500), length=st.integers(1, 500))
def test_replay_has_its_share_of_every_run(share: float, start: int, length: int) -> None:
    mixed = list(itertools.islice(interleave(prompts("new"), prompts("old"), share), start + length))[start:]
    replayed = sum(prompt.task == "old" for prompt in mixed)
    assert abs(replayed - share * length) <= 1 + 1e-6


@given(share=st.floats(0, 0.9), length=st.integers(0, 200))
def test_replay_leaves_both_orders_alone(share: float, length: int) -> None:
    mixed = list(itertools.islice(interleave(prompts("new"), prompts("old"), share), length))
    for task in ("new", "old"):
        ids = [prompt.record.id for prompt in mixed if prompt.task == task]
        assert ids == [f"r{number}" for number in range(len(ids))]


@given(count=st.integers(2, 60), seed=SEEDS)
def test_permuted_images_have_no_fixed_point_and_lose_none(count: int, seed: int) -> None:
    records = [record(number) for number in range(count)]
    permuted = permute_images(records, seed)
    assert all(a.image != b.image for a, b in zip(records, permuted, strict=True))
    assert sorted(r.image for r in permuted) == sorted(r.image for r in records)
    assert [(r.id, r.diagnosis) for r in permuted] == [(r.id, r.diagnosis) for r in records]
    assert permute_images(records, seed) == permuted


def test_permuting_depends_on_the_seed_and_needs_two() -> None:
    records = [record(number) for number in range(20)]
    assert permute_images(records, 0) != permute_images(records, 1)
    with pytest.raises(ValueError, match="at least two records"):
        permute_images(records[:1], 0)


@given(seed=SEEDS, length=st.integers(1, 8), truth=st.booleans(), diagnosis=st.sampled_from([None, *NAMES]))
def test_ranked_answers_are_distinct_names(
    seed: int, length: int, truth: bool, diagnosis: str | None
) -> None:
    names = ranked_names(record(0, diagnosis), NAMES, length, random.Random(seed), truth=truth)
    assert len(set(names)) == len(names) == min(length, len(NAMES))
    assert set(names) <= set(NAMES)
    if truth and diagnosis:
        assert names[0] == diagnosis


@given(seed=SEEDS, one=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
def test_a_random_list_does_not_depend_on_the_truth(seed: int, one: str, other: str) -> None:
    def listed(name: str) -> list[str]:
        return ranked_names(record(0, name), NAMES, 3, random.Random(seed), truth=False)

    assert listed(one) == listed(other)


CAPTIONS = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(st.sampled_from(v), min_size=1, max_size=2, unique=True).map(tuple)
        for name, v in FIELDS.items()
    },
)


@given(seed=SEEDS, one=CAPTIONS, other=CAPTIONS)
def test_random_fields_do_not_depend_on_the_truth(
    seed: int, one: dict[str, tuple[str, ...]], other: dict[str, tuple[str, ...]]
) -> None:
    donors = [record(i, caption={name: (v[i % len(v)],) for name, v in FIELDS.items()}) for i in range(5)]

    def shown(caption: dict[str, tuple[str, ...]], fields: list[str]) -> Record:
        return with_random_caption(record(0, caption=caption), donors, fields, 1.0, random.Random(seed))

    assert shown(one, list(FIELDS)).caption == shown(other, list(FIELDS)).caption
    some = [shown(caption, ["colour", "size"]).caption for caption in (one, other)]
    assert some[0]["colour"] == some[1]["colour"]
    assert some[0]["size"] == some[1]["size"]
    assert some[0].get("border") == one.get("border")


def test_random_values_keep_the_frequencies_of_the_donors_and_leave_a_share_of_the_truth() -> None:
    donors = [record(i, caption={"colour": ("brown" if i % 4 else "red",)}) for i in range(40)]
    truth = record(0, caption={"colour": ("blue",)})
    rng = random.Random(0)
    seen = Counter(
        with_random_caption(truth, donors, ["colour"], 0.8, rng).caption["colour"][0] for _ in range(2000)
    )
    assert abs(seen["blue"] / 2000 - 0.2) < 0.04
    assert abs(seen["brown"] / 2000 - 0.6) < 0.04
    assert abs(seen["red"] / 2000 - 0.2) < 0.04


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50)
@given(columns=st.dictionaries(st.text(min_size=1), JSON, max_size=4), caption=CAPTIONS)
def test_a_sample_survives_its_row(columns: dict[str, object], caption: dict[str, tuple[str, ...]]) -> None:
    """Through the row, a line of JSON and back, as between our files and a reward."""
    known = record(3, 'naïve ; "quoted"', caption=caption, columns=columns, group="p1", skin_tone="V-VI")
    row = json.loads(
        json.dumps(prompt_row(Prompt(known, "diagnosis", "second"), "what?"), ensure_ascii=False)
    )
    assert json.loads(row["sample"]) == known.sample()
    assert (row["id"], row["task"], row["stage"]) == ("r3", "diagnosis", "second")
    assert row["images"] == ["/images/3.png"]
    assert row["messages"] == [{"role": "user", "content": "<image>what?"}]


def test_unknown_columns_are_absent() -> None:
    assert record(1, None).sample() == {"id": "r1"}


def test_a_taught_row_ends_with_the_answer() -> None:
    row = taught_row(Prompt(record(0), "diagnosis", "warmup"), "what?", "acne; lupus")
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1]["content"] == "acne; lupus"
