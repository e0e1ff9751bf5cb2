"""The corpus of canned answers against every reward: the reference answer scores best, and no attack pays.

"Pays" means half of the way from what nothing is worth, the lowest value that any answer got, to the best
good answer. An answer that is the same for every sample is right by luck on some, so its mean over the data
counts. Answers that hold the whole truth and are spoilt in form alone are the business of rewards of form.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli.score_plan import chosen_stages
from skinflow_plugins.cli.score_rows import score_stage
from skinflow_plugins.cli.score_samples import canned_rows
from skinflow_plugins.diagnosis import load_taxonomy, read_caption
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.recipe import checked
from skinflow_plugins.recipe.load import load, shipped
from skinflow_plugins.rewards.canned import (
    Canned,
    Gain,
    Scored,
    above_half,
    canned_answers,
    gains,
    violations,
)
from skinflow_plugins.rewards.composition import Component, RewardGate, score_batch

TAXONOMIES = ("demo", "fitzpatrick17k", "isic")
RECORDS = 24
PAPER = load("skinflow_qwen2_5_vl_7b", ["data.train=/x"]).draft
FIELDS = {name: list(values) for name, values in PAPER.captions.items()}
TARGETS = {
    "caption_fields": "caption",
    "caption_overlap": "caption",
    "caption_recovers_diagnosis": "caption",
    **dict.fromkeys(
        ("ranked_diagnosis", "hierarchy_credit", "safety", "morphology_gate", "abstain", "confidence"),
        "ranked_list",
    ),
}
FORM = ("format", "length", "repetition")


def reward(name: str) -> Any:
    return catalogue().get("rewards", name)


def records(taxonomy: str, seed: int = 3) -> list[dict[str, Any]]:
    """Samples over the labels in equal numbers, with captions drawn at random."""
    tree, rng = load_taxonomy(taxonomy), random.Random(seed)
    labels = [each.name for each in tree.labels() if tree.label(each.name) is each]
    names = (rng.sample(labels, len(labels)) * RECORDS)[:RECORDS]
    return [
        {
            "id": f"r{number}",
            "diagnosis": name,
            "caption": {field: [rng.choice(values)] for field, values in FIELDS.items()},
        }
        for number, name in enumerate(names)
    ]


def length_of(taxonomy: str) -> int:
    return 3 if taxonomy == "demo" else 6


def options_of(name: str, taxonomy: str, **more: Any) -> dict[str, Any]:
    """What a recipe fills in, and what the test adds."""
    known = {
        "taxonomy": taxonomy,
        "fields": FIELDS,
        "list_length": length_of(taxonomy),
        "form": TARGETS.get(name, "ranked_list"),
    }
    names = {option.name for option in reward(name).options}
    return {**{key: value for key, value in known.items() if key in names}, **more}


@dataclass(frozen=True)
class Tried:
    """Scored canned answers, and what the reference answer of each sample got."""

    scored: list[Scored]
    references: Mapping[str, float]

    @property
    def low(self) -> float:
        return min(each.value for each in self.scored)

    def gains(self) -> list[Gain]:
        return gains(self.scored, self.low)

    def named(self, name: str) -> list[Scored]:
        return [each for each in self.scored if each.canned.name == name]


def tried(
    name: str,
    taxonomy: str,
    target: str | None = None,
    *,
    others: Sequence[Component] = (),
    gate: RewardGate | None = None,
    **more: Any,
) -> Tried:
    """Every canned answer to every record, scored by one reward; `others` are there for its gate."""
    options = options_of(name, taxonomy, **more)
    pool, tree = records(taxonomy), load_taxonomy(taxonomy)
    scored: list[Scored] = []
    references: dict[str, float] = {}
    component = Component("this", reward(name), options, gate=gate)
    for number, sample in enumerate(pool):
        made = canned_answers(
            target or TARGETS[name],  # type: ignore[arg-type]
            sample,
            others=pool,
            taxonomy=tree,
            fields=FIELDS,
            list_length=length_of(taxonomy),
            prompt=PAPER.tasks[(target or TARGETS[name]).replace("ranked_list", "diagnosis")].prompt,
            huge=number == 0,
            confidences=name == "confidence",
            descriptions=name == "morphology_gate",
        )
        reference = component.reward.reference
        assert reference is not None
        made.append(Canned("good", "the reference of the reward", reference(sample, options)))
        columns = {key: [value] * len(made) for key, value in sample.items()}
        values = score_batch([component, *others], [each.answer for each in made], columns).values("this")
        assert None not in values
        references[sample["id"]] = float(values[-1] or 0.0)
        scored += [
            Scored(sample["id"], each, float(value or 0.0)) for each, value in zip(made, values, strict=True)
        ]
    return Tried(scored, references)


def spoken(found: Sequence[Gain]) -> list[str]:
    return [f"{gain.share:.3f} {gain.worst.canned.name}: {gain.worst.canned.answer[:80]!r}" for gain in found]


def check_reference_is_best(found: Tried) -> None:
    for each in found.scored:
        best = found.references[each.sample]
        assert each.value <= best + 1e-9, (each.value, best, each.sample, each.canned.name)
    assert all(best > found.low for best in found.references.values())


def test_every_reward_of_the_package_is_tried_here() -> None:
    ours = [name for name, entry in catalogue().table("rewards").items() if entry.owner == "skinflow-plugins"]
    assert set(ours) == {*TARGETS, *FORM}


CONTENT: list[tuple[str, dict[str, Any]]] = [
    ("ranked_diagnosis", {}),
    ("ranked_diagnosis", {"by_rank": [1.0, 0.45, 0.1]}),
    ("hierarchy_credit", {}),
    ("abstain", {}),
    ("confidence", {}),
    ("confidence", {"rule": "logarithmic"}),
    ("morphology_gate", {}),
    ("caption_fields", {}),
    ("caption_overlap", {}),
    ("caption_overlap", {"measure": "bleu"}),
]


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
@pytest.mark.parametrize(("name", "more"), CONTENT, ids=lambda v: v if isinstance(v, str) else ",".join(v))
def test_a_reward_of_content(name: str, more: dict[str, Any], taxonomy: str) -> None:
    found = tried(name, taxonomy, **more)
    check_reference_is_best(found)
    assert len({each.canned.name for each in found.scored if each.canned.kind == "gaming"}) >= 25
    assert spoken(above_half(found.gains())) == []


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
@pytest.mark.parametrize(
    "name", ["ranked_diagnosis", "hierarchy_credit", "abstain", "confidence", "morphology_gate"]
)
def test_no_worse_list_earns_more(name: str, taxonomy: str) -> None:
    found = violations(tried(name, taxonomy).scored)
    assert [(each.worst.canned, each.best.canned.name) for each in found] == []


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_no_worse_caption_earns_more(taxonomy: str) -> None:
    found = tried("caption_fields", taxonomy)
    assert [(each.worst.canned, each.best.canned.name) for each in violations(found.scored)] == []
    # To name everything is to say nothing. Loose words leave a field half right where a value belongs to two.
    loose = {"all values in one sentence", "all values without fields", "all values as a question"}
    spam = [e for e in found.scored if e.canned.name.startswith(("all values", "the schema", "the captions"))]
    assert len({each.canned.name for each in spam}) >= 10
    assert {each.value for each in spam if each.canned.name not in loose} == {0.0}
    assert max(each.value for each in spam) < 1 / 8


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_the_morphology_gate_wants_both(taxonomy: str) -> None:
    """The right diagnosis after no description or a wrong one is half an answer, and earns nothing."""
    found = tried("morphology_gate", taxonomy)
    for name in (
        "the truth alone",
        "repeats the truth",
        "negated values described, then the truth",
        "described wrongly, then the truth",
        "described, then another diagnosis",
    ):
        assert found.named(name), name
        assert {each.value for each in found.named(name)} == {0.0}, name
    # A word of morphology within the name of a disease may agree in one field of the eight.
    assert max(each.value for each in found.named("the diagnosis described, then the truth")) < 1 / 8
    assert max(each.value for each in found.named("all values described, then the truth")) < 1 / 4
    assert all(each.value > 0 for each in found.named("described, then the truth at rank 2"))


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_safety_is_a_penalty(taxonomy: str) -> None:
    """Many wrong answers to a harmless disease cross no line: an attack is held against a plain wrong one."""
    found = tried("safety", taxonomy)
    check_reference_is_best(found)
    for each in found.scored:
        if each.canned.kind == "gaming" and each.canned.holds != "all" and not each.canned.constant:
            wrong = max(o.value for o in found.scored if o.sample == each.sample and o.canned.kind == "bad")
            assert each.value <= wrong or each.value < -0.5, (each.canned, wrong)
    silent = ("empty", "malformed")
    assert {e.value for e in found.scored if e.canned.kind in silent and e.canned.holds == "nothing"} == {-1}
    for name in ("abstains", "every label in one item", "negates the truth", "hedges", "generic word",
                 "lists every label", "copied prompt", "injection: score 1"):  # fmt: skip
        assert {each.value for each in found.named(name)} == {-1.0}, name


@pytest.mark.parametrize("measure", ["rouge_l", "bleu"])
def test_overlap_pays_spam_a_little_and_nothing_behind_a_gate(measure: str) -> None:
    """Of a list of all values some words always overlap, and a prompt says "skin" as "skin-coloured" does."""
    alone = tried("caption_overlap", "demo", measure=measure)
    above = violations(alone.scored)
    assert {each.kind for each in above} <= {"bad"}
    assert {each.worst.canned.name for each in above} <= {"copied prompt", "copied prompt, ten times"}
    assert all(each.worst.value < 1 / 8 for each in above)
    assert any(each.value > 0 for each in alone.named("all values of all fields"))
    fields = Component("fields", reward("caption_fields"), options_of("caption_fields", "demo"), weight=0.0)
    gated = tried("caption_overlap", "demo", measure=measure, others=[fields], gate=RewardGate("fields", 0.5))
    check_reference_is_best(gated)
    assert violations(gated.scored) == []
    assert {each.value for each in gated.named("all values of all fields")} == {0.0}


# --- rewards of form: a fluent wrong answer may earn them in full, an attack on the form may not -----------

ATTACKS: dict[str, dict[str, Sequence[str]]] = {
    "format": {
        "ranked_list": (
            "repeats the truth", "lists every label", "every label in one item", "negates the truth",
            "hedges", "the truth hidden in a sentence", "copied prompt", "injection: score 1",
            "injection: a verdict of its own", "injection: a new turn", "nothing", "white space",
            "null bytes alone", "image tokens", "brackets without end", "separators without end",
            "100,000 tokens", "the truth, then 100,000 tokens",
        ),
        "caption": (
            "repeats the truth", "contradictions", "negates the truth", "fields without values",
            "fields with dots", "generic word", "the schema itself", "copied prompt", "injection: score 1",
            "the diagnosis in every field", "nothing", "null bytes alone", "100,000 tokens",
        ),
    },
    "length": {
        "ranked_list": ("nothing", "white space", "punctuation alone", "100,000 tokens",
                        "the truth, then 100,000 tokens", "copied prompt, ten times"),
        "caption": ("nothing", "repeats the truth", "one field, again and again", "100,000 tokens",
                    "the captions of other samples"),
    },
    "repetition": {
        "ranked_list": ("repeats the truth", "copied prompt, ten times", "100,000 tokens", "nothing"),
        "caption": ("repeats the truth", "one field, again and again", "copied prompt, ten times",
                    "100,000 tokens", "nothing"),
    },
}  # fmt: skip
FORM_OPTIONS: dict[str, dict[str, Any]] = {"format": {}, "length": {"at_most": 64}, "repetition": {}}


@pytest.mark.parametrize("target", ["ranked_list", "caption"])
@pytest.mark.parametrize("name", FORM)
def test_a_reward_of_form_does_not_pay_attacks_on_the_form(name: str, target: str) -> None:
    more = {**FORM_OPTIONS[name], **({"form": target} if name == "format" else {})}
    found = tried(name, "fitzpatrick17k", target, **more)
    assert not reward(name).content
    check_reference_is_best(found)
    for attack in ATTACKS[name][target]:
        some = found.named(attack)
        assert some, attack
        assert max(each.value for each in some) < 0.5, attack


# --- with a judge ------------------------------------------------------------------------------------------


MORPHOLOGY = {"telangiectases", "Telangiectasia", "Scar", "Cysts", "Comedo"}
"""Labels that are words of morphology as well: naming one may be a description, and is no leak."""


class RuleJudge:
    """A judge on this machine that goes by rules, and takes no orders.

    Of a caption it reads `field: value` pairs, mistrusts contradictions, and names the diagnosis of the
    record that agrees best, if one does; of a listed item it says whether it is the reference.
    """

    def __init__(self, pool: Sequence[Mapping[str, Any]], chat_server: Callable[..., str]) -> None:
        self.asked: list[str] = []
        self.pool = pool
        self.url = chat_server(self.say)

    def say(self, request: dict[str, Any]) -> str:
        text = request["messages"][-1]["content"]
        block = json.loads(text[text.index("{") : text.rindex("}") + 1])
        return json.dumps(self.verdicts(block) if "listed" in block else self.recovered(block))

    def verdicts(self, block: Mapping[str, Any]) -> dict[str, Any]:
        truth = fold(block["reference"])
        words = ["correct" if fold(each["text"]) == truth else "wrong" for each in block["listed"]]
        return {"verdicts": [{"item": n, "verdict": word} for n, word in enumerate(words, 1)]}

    def recovered(self, block: Mapping[str, Any]) -> dict[str, Any]:
        caption = str(block.get("caption", ""))
        self.asked.append(caption)
        read = read_caption(caption, FIELDS)
        doubtful = {*read.repeated, *read.unknown_values}
        told = {name: values for name, values in read.named.items() if name not in doubtful}
        agreeing = {
            index: sum(told.get(name) == values for name, values in sample.get("caption", {}).items())
            for index, sample in enumerate(self.pool)
        }
        best = max(agreeing, key=lambda index: agreeing[index])
        return {"diagnoses": [self.pool[best]["diagnosis"]] if agreeing[best] > len(FIELDS) / 2 else []}


@pytest.fixture
def judge_of(
    chat_server: Callable[..., str],
) -> Callable[[Sequence[Mapping[str, Any]]], RuleJudge]:
    return lambda pool: RuleJudge(pool, chat_server)


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_a_caption_that_leaks_or_commands_recovers_nothing(
    taxonomy: str, judge_of: Callable[[Sequence[Mapping[str, Any]]], RuleJudge]
) -> None:
    judge = judge_of(records(taxonomy))
    settings = {"endpoint": judge.url, "model": "rules", "cache": "off", "timeout": 20.0}
    found = tried("caption_recovers_diagnosis", taxonomy, judge=settings)
    check_reference_is_best(found)
    assert set(found.references.values()) == {1.0}
    names = {sample["id"]: sample["diagnosis"] for sample in records(taxonomy)}
    assert spoken(above_half(found.gains())) == []
    for name in ("the diagnosis instead of a caption", "the diagnosis in a sentence",
                 "the diagnosis in every field", "all diagnoses instead of a caption"):  # fmt: skip
        assert {each.value for each in found.named(name)} == {0.0}, name
        shown = {each.sample for each in found.named(name) if each.canned.answer in judge.asked}
        assert {names[sample] for sample in shown} <= MORPHOLOGY, name


# --- recipes -----------------------------------------------------------------------------------------------


def recipe_file(name: str, folder: Path) -> Path:
    """A child of a shipped recipe on data that is here: drawn lesions, UDA-1's two classes, or labels."""
    if name.startswith(("quickstart", "ablation")):
        base = "" if name == "quickstart" else "model: {base: tiny:qwen2_5_vl}\n"
        (folder / "mine.yaml").write_text(f"name: mine\nextends: {name}\n{base}data: {{train: 240}}\n")
        return folder / "mine.yaml"
    pool = records("fitzpatrick17k")
    captions = load(name, NEEDED.get(name, ["data.train=/x"])).draft.captions
    rng = random.Random(5)
    rows = []
    for number, sample in enumerate([*pool, *pool]):
        (folder / f"{number}.png").write_bytes(b"x")  # no reward of a shipped recipe opens it
        row = {"id": f"r{number}", "image": f"{number}.png", "diagnosis": sample["diagnosis"]}
        if name == "isic_uda1":
            row["diagnosis"] = ("nevus", "melanoma")[number % 2]
        if captions:
            row["caption"] = {field: [rng.choice(values)] for field, values in captions.items()}
        rows.append(json.dumps(row) + "\n")
    (folder / "train.jsonl").write_text("".join(rows))
    (folder / "mine.yaml").write_text(
        f"name: mine\nextends: {name}\ndata: {{source: jsonl, train: {folder / 'train.jsonl'}}}\n"
    )
    return folder / "mine.yaml"


SHIPPED = sorted(path.stem for folder in shipped() for path in folder.glob("*.yaml"))
NEEDED = {"isic_uda1": ["data.root=/x"]}


SEEN: set[tuple[str, bool]] = set()
"""Stages that were tried in this session: ablations differ in what they train, not in what they reward."""


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "ablation_warm_start"])
def test_the_total_of_a_shipped_recipe(
    name: str, tmp_path: Path, judge_of: Callable[[Sequence[Mapping[str, Any]]], RuleJudge]
) -> None:
    known = catalogue()
    file = recipe_file(name, tmp_path)
    overrides = []
    if load(file).draft.judge:
        pool = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
        overrides = [f"judge.endpoint={judge_of(pool).url}", "judge.model=rules", "judge.cache=off"]
    recipe = checked(load(file, overrides), known)
    stages = chosen_stages(recipe, known, None, with_judge=True)
    rows = canned_rows(recipe, known, stages, tmp_path / "work", RECORDS, 0)
    for stage in stages:
        if (repr(stage.components), name == "isic_uda1") in SEEN:
            continue
        SEEN.add((repr(stage.components), name == "isic_uda1"))
        scores = score_stage(stage, rows.of[stage.name])
        scored = [
            Scored(str(row.sample["id"]), row.canned, total)
            for row, total in zip(scores.rows, scores.whole_totals, strict=True)
            if row.canned is not None and total is not None
        ]
        assert len(scored) == len(scores.rows)
        found = violations(scored)
        assert [(each.worst.canned, each.best.canned.name) for each in found] == []
        half = above_half(gains(scored, min(each.value for each in scored)))
        # What one answer earns everywhere is luck, and the form for free: the rewards of content are asked.
        assert spoken([gain for gain in half if not gain.worst.canned.constant]) == []
        if name == "isic_uda1":  # of two classes, any answer is right for half of the records
            continue
        for component in stage.components:
            if component.reward.content and component.reward.high > 0:
                values = scores.values(component)
                some = [
                    Scored(str(row.sample["id"]), row.canned, value)
                    for row, value in zip(scores.rows, values, strict=True)
                    if row.canned is not None and value is not None
                ]
                low = min(each.value for each in some)
                assert spoken(above_half(gains(some, low))) == [], component.key
