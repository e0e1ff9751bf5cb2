"""Trained with everything of `speed:` on, a model is what it is with everything off: real `swift rlhf`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.models.families import FAMILIES

pytestmark = pytest.mark.slow

OFF = "speed={distinct_images: false, pixel_cache: 0, old_logprobs: false}"
ON = "speed={distinct_images: true, pixel_cache: 64, old_logprobs: true}"
AUTO = "speed={pixel_cache: 64}"
PLAIN = "model.vision={encoder: base}"
FULL, LORA = "tuning={tuner: full, encoder: trained}", "tuning={tuner: lora, encoder: trained}"
SHORT = ("swift.max_steps=2", "swift.learning_rate=1e-3")

REWARDS, LEARNT = ("reward", "reward_std"), ("loss", "grad_norm", "kl")
TOLERANCE = 2e-5
"""Relative, in float32, of what is learnt; rewards are exact. A tower that computes fewer rows may add up in
another order: gradient norms were up to 2.5e-6 apart in all runs below, a spread of distances 6.2e-6."""
LEAST = 1e-6
"""Absolute: a first loss is zero up to rounding; losses and distances were up to 4.2e-7 apart."""

GROUP, ROWS, STEPS = 4, 8, 2
IMAGES, GROUPS = ROWS * STEPS, ROWS // GROUP * STEPS


@dataclass(frozen=True)
class Run:
    """A stage as it was trained, and what its trainer says of the work that it did not do twice."""

    trained: Any
    reuse: Any

    def rewards(self) -> str:
        return Path(self.trained.folder, "rewards.jsonl").read_text()

    def on(self) -> set[str]:
        return {each.option for each in self.reuse.outcomes if each.on}

    def why(self, option: str) -> str:
        return str(next(each for each in self.reuse.outcomes if each.option == option))


@pytest.fixture(scope="module")
def trained() -> dict[tuple[str, ...], Run]:
    return {}


@pytest.fixture
def train(
    lab: Any, monkeypatch: pytest.MonkeyPatch, trained: dict[tuple[str, ...], Run]
) -> Callable[..., Run]:
    """Train the first stage of the dynamic recipe under these changes; the same ones only once."""
    from skinflow_plugins.bridge.reuse.reuse import Reuse

    seen: list[Any] = []
    original = Reuse.end

    def end(self: Any) -> None:
        seen.append(self)
        original(self)

    monkeypatch.setattr(Reuse, "end", end)

    def run(*overrides: str, start: str = "random", more: Sequence[str] = (), plan: Any = None) -> Run:
        asked = (*overrides, start)
        if plan is None and asked in trained:
            return trained[asked]
        made = Run(lab.run(plan or lab.plan(*SHORT, *overrides, start=start), "first", *more), seen[-1])
        if plan is None:
            trained[asked] = made
        return made

    return run


def same(slow: Run, fast: Run, *, with_distance: bool = False) -> None:
    """That two runs are one: every completion with every reward, and what each step learnt from them.

    `with_distance`: swift takes a distance between two models off the rewards, which is computed like a loss.
    """
    assert fast.rewards() == slow.rewards()
    expected, found = slow.trained.steps(), fast.trained.steps()
    assert len(found) == len(expected) > 0
    assert min(row["grad_norm"] for row in expected) > 0
    assert [set(row) for row in found] == [set(row) for row in expected]
    for name in (*REWARDS, *LEARNT):
        pairs = [(row[name], other[name]) for row, other in zip(found, expected, strict=True) if name in row]
        assert pairs or name == "kl"
        ours, wanted = zip(*pairs, strict=True) if pairs else ((), ())
        if name in REWARDS and not with_distance:
            assert name != "reward_std" or min(wanted) > 0
            assert ours == wanted, name
        else:
            assert ours == pytest.approx(wanted, rel=TOLERANCE, abs=LEAST), name


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_every_family(train: Callable[..., Run], family: str) -> None:
    """Fully tuned with a reference model beside it: three forwards of each batch, and the rollout's."""
    model = (f"model.base=tiny:{family}", PLAIN, FULL)
    slow = train(*model, OFF, start="fresh")
    fast = train(*model, ON, start="fresh")
    same(slow, fast)
    assert slow.on() == set()
    assert fast.on() == {"distinct_images", "pixel_cache", "old_logprobs"}
    assert slow.reuse.summary() == ""
    # Rollout, reference and training see each image; old log-probabilities were not asked for.
    assert fast.reuse.images() == (3 * IMAGES, 3 * GROUPS)
    assert fast.reuse.on_policy.skipped == STEPS
    asked = 2 * IMAGES * (2 if family.startswith("qwen") else 1)  # Qwen's resizing is a step of its own
    cache = fast.reuse.cache
    assert cache.hits + cache.misses == asked
    assert cache.misses == asked // (2 * GROUP)
    assert cache.bytes == 0  # given back


ALL = {"distinct_images", "pixel_cache", "old_logprobs"}
COMPUTED = ALL - {"old_logprobs"}
IN_TWO = "swift.per_device_train_batch_size=4"
CASES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "a dynamic tower": ((FULL,), ALL),
    "its routers alone": (("tuning={tuner: routers, encoder: frozen}",), ALL),
    "a frozen tower": ((PLAIN, "tuning={tuner: full, encoder: frozen}"), ALL),
    "LoRA, whose reference is without it": ((LORA,), ALL),
    "gradient checkpointing": ((FULL, "swift.gradient_checkpointing=true"), ALL),
    "a batch in two passes": ((FULL, IN_TWO, "swift.gradient_accumulation_steps=2"), ALL),
    "two optimizer steps for a batch": ((FULL, IN_TWO, "swift.steps_per_generation=2"), COMPUTED),
    "a batch learnt from twice": ((FULL, "swift.num_iterations=2"), COMPUTED),
    "LoRA's dropout": (("tuning={tuner: lora, encoder: frozen}", "swift.lora_dropout=0.05"), COMPUTED),
    "LoRA's dropout in the tower": ((LORA, "swift.lora_dropout=0.05"), {"pixel_cache"}),
    "a distance in the reward": ((FULL, "swift.kl_in_reward=true"), COMPUTED),
}
"""What is trained and how, on a dynamic tower unless it says otherwise, and what may be on."""
REASONS = {
    "two optimizer steps for a batch": "several optimizer steps (num_iterations 1, steps_per_generation 2",
    "a batch learnt from twice": "several optimizer steps (num_iterations 2",
    "LoRA's dropout": "a second forward draws other numbers: dropout of 0.05",
    "LoRA's dropout in the tower": "a second forward draws other numbers: dropout of 0.05",
    "a distance in the reward": "kl_in_reward",
}


@pytest.mark.parametrize("case", CASES)
def test_every_way_of_training(train: Callable[..., Run], case: str) -> None:
    changes, on = CASES[case]
    start = "fresh" if PLAIN in changes else "random"
    slow, fast = train(*changes, OFF, start=start), train(*changes, AUTO, start=start)
    same(slow, fast, with_distance="kl_in_reward" in str(changes))
    assert fast.on() == on
    seen, computed = fast.reuse.images()
    if "distinct_images" in on:
        assert computed == seen // GROUP > 0
    else:
        assert seen == 0
        assert "lora_dropout" in fast.why("distinct_images")
    if "old_logprobs" in on:
        assert fast.reuse.on_policy.skipped >= STEPS
    else:
        assert fast.reuse.on_policy is None
        assert REASONS[case] in fast.why("old_logprobs")


def test_what_true_cannot_have_stops_the_run(train: Callable[..., Run], lab: Any) -> None:
    """`skinflow validate` says so before; whoever changes swift's arguments, before the first step."""
    plan = lab.plan(*SHORT, LORA, ON, start="random")
    for argument, value, told in (
        ("--num_iterations", "2", "several optimizer steps"),
        ("--lora_dropout", "0.1", r"a second forward draws other numbers: dropout of 0\.1 in .*lora"),
    ):
        with pytest.raises(InputError, match=rf"speed\.old_logprobs: found true, but .*{told}"):
            train(plan=plan, more=[argument, value])


def test_an_earlier_policy_would_be_noticed(
    train: Callable[..., Run], lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If swift ever came to a batch after an optimizer step that we did not expect."""
    from skinflow_plugins.bridge.reuse import old_logprobs

    monkeypatch.setattr(old_logprobs, "reasons", lambda trainer: iter(()))
    with pytest.raises(WorkFailed, match=r"sampled after 0 optimizer steps is learnt from after 1"):
        train(plan=lab.plan(*SHORT, FULL, "swift.num_iterations=2", start="random"))


def test_a_teacher_is_compared_with_them(train: Callable[..., Run], lab: Any) -> None:
    """swift has a batch seen by a teacher where a row brings a prompt for one."""

    def planned(speed: str) -> Any:
        plan = lab.plan(*SHORT, FULL, speed, start="random")
        stage = next(each for each in plan.stages if each.stage.name == "first")
        (data,) = (Path(name) for name in stage.arguments["dataset"].value)
        rows = [json.loads(line) for line in data.read_text().splitlines()]
        told = [{**row, "teacher_prompt": "describe the brown lesion"} for row in rows]
        data.write_text("".join(json.dumps(row) + "\n" for row in told))
        return plan

    slow, fast = train(plan=planned(OFF)), train(plan=planned(AUTO))
    same(slow, fast)
    assert "teacher_kl" in fast.trained.steps()[0]
    assert fast.reuse.on_policy.skipped == 0
    with pytest.raises(WorkFailed, match=r"speed\.old_logprobs is true, but rows have a teacher_prompt"):
        train(plan=planned(ON))


def test_the_log_says_what_is_on(train: Callable[..., Run], lab: Any) -> None:
    from swift.utils import get_logger

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    get_logger().addHandler(handler)
    try:
        train(plan=lab.plan(*SHORT, FULL, "speed.pixel_cache=0", "swift.num_iterations=2", start="random"))
    finally:
        get_logger().removeHandler(handler)
    ours = [text for text in said if "skinflow: speed." in text]
    assert ours == [
        "skinflow: speed.distinct_images: on, the vision tower computes each image of a forward once",
        "skinflow: speed.pixel_cache: off, as asked",
        "skinflow: speed.old_logprobs: off, a batch is learnt from in several optimizer steps "
        "(num_iterations 2, steps_per_generation 1, gradient_accumulation_steps 1)",
    ]
    (summary,) = [text for text in said if "vision towers computed" in text]
    assert summary.startswith("skinflow: ")


def test_each_option_alone(train: Callable[..., Run]) -> None:
    slow = train(FULL, OFF, start="random")
    for option in ("distinct_images", "old_logprobs", "pixel_cache"):
        value = 64 if option == "pixel_cache" else True
        fast = train(FULL, OFF, f"speed.{option}={json.dumps(value)}", start="random")
        same(slow, fast)
        assert fast.on() == {option}


def test_a_resumed_run_is_the_same(train: Callable[..., Run], lab: Any) -> None:
    """Interrupted after the first of three steps, and gone on with at another speed."""
    steps = ("swift.max_steps=3", "swift.learning_rate=1e-3", FULL)
    slow = train(plan=lab.plan(*steps, OFF, start="random"))
    plan = lab.plan(*steps, ON, start="random")
    whole = train(plan=plan)
    same(slow, whole)
    last = whole.trained.folder / "checkpoint-1"
    resumed = train(plan=plan, more=["--resume_from_checkpoint", str(last)])
    same(slow, resumed)
    assert resumed.reuse.on_policy.skipped == 2


# --- two processes ----------------------------------------------------------------------------------------

WORKER = """
import json, os, sys

from skinflow_plugins.bridge.register import register
from skinflow_plugins.bridge.reuse.reuse import Reuse

end = Reuse.end


def told(self):
    seen, computed = self.images()
    skipped = self.on_policy.skipped if self.on_policy else 0
    with open(f"{sys.argv[1]}.{os.environ['RANK']}", "a") as file:
        print(json.dumps([seen, computed, skipped]), file=file)
    end(self)


Reuse.end = told
for command, argv, environment in json.load(open(sys.argv[1])):
    os.environ.update(environment)
    register()
    from swift import pipelines

    pipelines.rlhf_main(argv)
"""


def test_two_processes(lab: Any, tmp_path: Path) -> None:
    """Each of them looks at its own images; both leave the same forwards out."""
    from skinflow_plugins.bridge.swift_yaml import arguments_of

    two = ("launch={mode: process, processes: 2}", "swift.per_device_train_batch_size=8")
    plans = [
        lab.plan(*SHORT, *two, tuning, speed, start="random")
        for tuning in (FULL, LORA)
        for speed in (OFF, ON)
    ]
    stages = [next(each for each in plan.stages if each.stage.name == "first") for plan in plans]
    work = [(stage.command, arguments_of(stage), dict(stage.environment)) for stage in stages]
    lab.in_two_processes(WORKER, work, tmp_path)
    on = [3 * IMAGES, 3 * GROUPS, STEPS]
    for rank in range(2):
        lines = (tmp_path / f"work.json.{rank}").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [[0, 0, 0], on] * 2
    for slow, fast in ((0, 1), (2, 3)):
        folders = [Path(plans[number].folder(stages[number])) for number in (slow, fast)]
        same(*(Run(_Folder(folder), None) for folder in folders))


@dataclass(frozen=True)
class _Folder:
    """What `same` reads of a stage that other processes trained."""

    folder: Path

    def steps(self) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (self.folder / "logging.jsonl").read_text().splitlines()]
        return [row for row in rows if "grad_norm" in row]
