"""`skinflow score`."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

SMALL = ("data.train=60", "--limit", "6")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A recipe on eight records of its own, with rewards that can be gamed when it is told so."""
    folder = tmp_path / "mine"
    folder.mkdir()
    names = ["melanoma", "psoriasis", "common nevus", "basal cell carcinoma"]
    rows = []
    for number in range(8):
        (folder / f"{number}.png").write_bytes(b"x")
        row = {"id": f"r{number}", "image": f"{number}.png", "split": "train", "diagnosis": names[number % 4]}
        row["caption"] = {"colour": ["black" if number % 2 else "red"], "border": ["sharp"]}
        rows.append(row)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = f"""\
name: mine
model: {{base: tiny:qwen2_5_vl}}
taxonomy: demo
captions: {{colour: [black, red, blue, brown], border: [sharp, blurred]}}
data: {{source: jsonl, train: {folder / "train.jsonl"}}}
tasks:
  caption: {{prompt: describe, target: caption}}
  diagnosis: {{prompt: what is it, target: ranked_list, length: 3}}
swift: {{max_steps: 1, num_generations: 8, per_device_train_batch_size: 8}}
stages:
  - name: see
    kind: grpo
    task: caption
    rewards: [{{caption_fields: {{weight: 1.0}}}}]
  - name: diagnose
    kind: grpo
    task: diagnosis
    balance: diagnosis
    rewards:
      - ranked_diagnosis: {{weight: 1.0, list_length: 3}}
      - format: {{weight: 0.2, form: ranked_list, list_length: 3}}
"""
    (folder / "mine.yaml").write_text(text)
    return folder / "mine.yaml"


def changed(recipe: Path, old: str, new: str) -> None:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))


def table(out: str, head: str, stage: str = "") -> dict[str, list[str]]:
    """The rows below a head line, by their first word."""
    lines = out[out.index(f"stage {stage}") :].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(head))
    rows = {}
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        first, *rest = re.split(r"\s{2,}", line.strip())
        rows[first] = rest
    return rows


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


# --- canned answers ----------------------------------------------------------------------------------------


def test_quickstart_takes_no_torch_and_no_model() -> None:
    code = (
        "import sys\n"
        "from skinflow_plugins.cli import main\n"
        "assert main(['score', 'quickstart', '--canned', '--limit', '4']) == 0\n"
        "print(sorted({'torch', 'swift', 'transformers', 'trl', 'openai', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_report(skinflow: Callable[..., Any], mine: Path) -> None:
    done = skinflow("score", mine, "--canned", "--stage", "diagnose")
    assert (done.code, done.err) == (0, "")
    start = done.out.splitlines()
    assert start[:4] == [
        "mine: canned answers to 8 of 8 training records of jsonl",
        "",
        f"stage diagnose: task diagnosis, {count(done.out, 'diagnose')} answers to 8 records",
        "",
    ]
    means = table(done.out, "mean")
    assert means["ranked_diagnosis"][:4] == ["1", "1.000", means["ranked_diagnosis"][2], "0.000"]
    assert means["format"][0] == "0.2"
    assert means["total"][0] == "1.200"
    assert means["answers"][0] == "24"
    ranges = table(done.out, "range")
    assert ranges["ranked_diagnosis"][0] == "0 to 1"
    assert ranges["ranked_diagnosis"][3:5] == ["0.000", "1.000"]
    assert ranges["total"][0] == "0 to 1.2"
    assert "order: no worse answer scores higher than a better one" in done.out
    assert "gaming: what pays most, as a share of what the best good answer earns" in done.out
    assert "\n    ranked_diagnosis 0" in done.out  # why, in the reward's own words
    assert "stage see" not in done.out
    assert list(Path.cwd().iterdir()) == []


def test_both_stages_and_the_same_again(skinflow: Callable[..., Any], mine: Path) -> None:
    first = skinflow("score", mine)
    assert [line for line in first.out.splitlines() if line.startswith("stage ")] == [
        f"stage see: task caption, {count(first.out, 'see')} answers to 8 records",
        f"stage diagnose: task diagnosis, {count(first.out, 'diagnose')} answers to 8 records",
    ]
    assert skinflow("score", mine).out == first.out
    assert skinflow("score", mine, "--seed", "1").out != first.out


def count(out: str, stage: str) -> int:
    found = re.search(rf"stage {stage}: task \w+, (\d+) answers", out)
    assert found is not None
    return int(found[1])


def test_every_line_with_why(skinflow: Callable[..., Any], mine: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "lines.jsonl"
    done = skinflow("score", mine, "-o", file, "--limit", "3")
    assert done.out.endswith(f"\n{file}: every answer with its scores\n")
    rows = lines_of(file)
    assert len(rows) == count(done.out, "see") + count(done.out, "diagnose")
    assert {row["kind"] for row in rows} == {"good", "near_miss", "bad", "empty", "gaming", "malformed"}
    assert {row["id"] for row in rows} <= {f"r{n}" for n in range(8)}
    for row in rows:
        assert row["why"].keys() == row["rewards"].keys()
        assert row["name"]
        weights = {"diagnose.format": 0.2}
        total = sum(weights.get(key, 1.0) * value for key, value in row["rewards"].items())
        assert row["total"] == pytest.approx(total, abs=1e-6)
    good = [row for row in rows if row["kind"] == "good" and row["stage"] == "diagnose"]
    assert {row["rewards"]["diagnose.ranked_diagnosis"] for row in good} == {1.0}


def test_rewards_that_can_be_gamed_are_shown(skinflow: Callable[..., Any], mine: Path) -> None:
    # The form alone is paid: any name will do.
    changed(mine, "ranked_diagnosis: {weight: 1.0, list_length: 3}", "length: {weight: 0.1}")
    done = skinflow("score", mine, "--stage", "diagnose", "--strict")
    assert done.code == 1
    assert "gaming answers that reach half:" in done.out
    assert "\n  gaming \u201cnames no disease but the group\u201d: total 100%\n" in done.out
    assert re.search(r'\n    "(malignant|benign|\w+)[ a-z]*"\n    length 1.000: \d words', done.out)
    assert skinflow("score", mine, "--stage", "diagnose").code == 0  # only --strict fails
    assert skinflow("score", mine, "--stage", "see", "--strict").code == 0


def test_a_penalty_has_its_weight_below_zero(skinflow: Callable[..., Any], mine: Path) -> None:
    changed(
        mine, "format: {weight: 0.2, form: ranked_list, list_length: 3}", "ranked_diagnosis: {weight: -1}"
    )
    changed(mine, "ranked_diagnosis: {weight: 1.0, list_length: 3}", "format: {form: ranked_list}")
    done = skinflow("score", mine, "--stage", "diagnose", "--strict")
    assert done.code == 1
    assert table(done.out, "range")["total"][0] == "-1 to 1"
    # The right answer costs, and every other one is better.
    assert "order: worse answers that score higher than the best of a better kind" in done.out
    assert "bad \u201canother diagnosis\u201d above the best good answer in 8 records: total" in done.out


def test_a_constant_reward_teaches_nothing(skinflow: Callable[..., Any], mine: Path) -> None:
    changed(
        mine,
        "format: {weight: 0.2, form: ranked_list, list_length: 3}",
        "length: {weight: 0.2, at_most: 1, flank: 0, at_least: 1}",
    )
    changed(mine, "ranked_diagnosis: {weight: 1.0, list_length: 3}", "ranked_diagnosis: {by_rank: [0.0]}")
    done = skinflow("score", mine, "--stage", "diagnose")
    assert "ranked_diagnosis is constant: every answer gets 0.000, so it teaches nothing" in done.out


def test_gates_count_as_in_training(skinflow: Callable[..., Any], mine: Path, tmp_path: Path) -> None:
    changed(
        mine,
        "ranked_diagnosis: {weight: 1.0, list_length: 3}",
        "ranked_diagnosis: {weight: 1.0, list_length: 3, gate: {reward: format, at_least: 1.0}}",
    )
    file = tmp_path / "lines.jsonl"
    done = skinflow("score", mine, "--stage", "diagnose", "-o", file)
    assert table(done.out, "range")["ranked_diagnosis"][7].endswith("%")
    rows = [row for row in lines_of(file) if row["name"] == "repeats the truth"]
    for row in rows:
        assert row["rewards"] == {"diagnose.ranked_diagnosis": 0.0, "diagnose.format": 0.0}
        assert row["gated"] == {"diagnose.ranked_diagnosis": 1.0}


def test_a_schedule_counts_at_its_beginning(skinflow: Callable[..., Any], mine: Path) -> None:
    changed(
        mine,
        "{weight: 0.2, form: ranked_list",
        "{schedule: {to: 5, steps: 10}, weight: 0.5, form: ranked_list",
    )
    assert table(skinflow("score", mine, "--stage", "diagnose").out, "mean")["format"][0] == "0.5"


def test_one_class_for_half_of_the_records_excuses_a_constant_answer(
    skinflow: Callable[..., Any], mine: Path
) -> None:
    file = mine.parent / "train.jsonl"
    file.write_text(file.read_text().replace("psoriasis", "melanoma").replace("common nevus", "melanoma"))
    balanced = skinflow("score", mine, "--stage", "diagnose")  # drawn as the stage's batches are
    assert "(50% of these records have one diagnosis)" in balanced.out
    changed(mine, "    balance: diagnosis\n", "")
    done = skinflow("score", mine, "--stage", "diagnose", "--strict")
    assert done.code == 0
    expected = (
        "gaming \u201cthe most frequent diagnosis\u201d (on average): total 80%, ranked_diagnosis 75% "
        "(75% of these records have one diagnosis)"
    )
    assert expected in done.out


# --- completions -------------------------------------------------------------------------------------------


def written(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def completions(tmp_path: Path) -> Path:
    """Three groups of the diagnosis stage: one that differs, one all right, one all wrong; without labels."""
    answers = {
        "r0": ["melanoma", "psoriasis; melanoma", "x", ""],
        "r1": ["psoriasis"] * 3,
        "r2": ["melanoma", "melanoma", "melanoma"],
    }
    rows = [{"id": id, "answer": answer} for id, some in answers.items() for answer in some]
    return written(tmp_path / "completions.jsonl", rows)


def test_a_record_that_a_run_asked_about_twice_is_two_groups(
    skinflow: Callable[..., Any], mine: Path, tmp_path: Path
) -> None:
    rows = [
        {"id": "r0", "step": step, "answer": answer}
        for step, answer in ((1, "melanoma"), (1, "melanoma"), (7, "psoriasis"), (7, "psoriasis"))
    ]
    file = written(tmp_path / "rewards.jsonl", rows)
    done = skinflow("score", mine, "--completions", file, "--stage", "diagnose")
    assert done.code == 0
    assert "2 of 2 groups (100%) would give no gradient" in done.out


def test_completions_of_a_file(skinflow: Callable[..., Any], mine: Path, completions: Path) -> None:
    done = skinflow("score", mine, "--completions", completions, "--stage", "diagnose")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("mine: 10 completions of completions.jsonl\n")
    assert "==> 3 records of jsonl joined by id" in done.out
    groups = table(done.out, "within a group")
    assert groups["ranked_diagnosis"][1] == "2 of 3"
    assert groups["total"][1] == "2 of 3"
    assert "2 of 3 groups (67%) would give no gradient" in done.out
    assert table(done.out, "range")["ranked_diagnosis"][1] == "0.450"
    top, low = done.out.split("highest totals:")[1].split("lowest totals:")
    assert '"melanoma"' in top
    assert "ranked_diagnosis 1.000: melanoma at rank 1" in top
    assert "0.000  r0" in low


def test_a_label_of_the_file_goes_before_that_of_the_data(
    skinflow: Callable[..., Any], mine: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "c.jsonl", [{"id": "r0", "answer": "psoriasis", "diagnosis": "psoriasis"}])
    done = skinflow("score", mine, "--completions", file, "--stage", "diagnose")
    assert "psoriasis at rank 1" in done.out
    assert "joined by id" not in done.out
    assert "every record is answered once" in done.out


def test_rows_go_to_the_stage_that_asks_their_task(
    skinflow: Callable[..., Any], mine: Path, tmp_path: Path
) -> None:
    rows = [
        {"id": "r0", "task": "caption", "answer": "colour: red; border: sharp"},
        {"id": "r0", "task": "diagnosis", "answer": "melanoma"},
    ]
    done = skinflow("score", mine, "--completions", written(tmp_path / "c.jsonl", rows))
    assert "stage see: task caption, 1 answers to 1 records" in done.out
    assert "stage diagnose: task diagnosis, 1 answers to 1 records" in done.out


def test_a_null_in_the_file_says_nothing(skinflow: Callable[..., Any], mine: Path, tmp_path: Path) -> None:
    row = {"id": "r0", "task": "caption", "answer": "colour: red; border: sharp", "caption": None}
    done = skinflow("score", mine, "--completions", written(tmp_path / "c.jsonl", [row]), "--stage", "see")
    assert (done.code, done.err) == (0, "")
    assert "1 records of jsonl joined by id" in done.out
    assert table(done.out, "range")["caption_fields"][1] == "1.000"


def test_nothing_in_an_answer_reaches_the_terminal(
    skinflow: Callable[..., Any], mine: Path, tmp_path: Path
) -> None:
    """A policy may write what moves the cursor, sets a title, or turns the direction of a line."""
    bad = "\x1b[31m\x1b]0;title\x07\u202e"
    row = {"id": f"r0{bad}", "answer": f"colour{bad}: {bad}red", "caption": {"colour": ["red"]}}
    recipe = "stages.see.rewards=[{caption_fields: {weight: 1}}, {format: {weight: 1, form: caption}}]"
    file = written(tmp_path / "c.jsonl", [row, {**row, "answer": f"1. {bad}"}])
    done = skinflow("score", mine, "--completions", file, "--stage", "see", recipe)
    assert done.code == 0
    assert all(line.isprintable() for line in done.out.split("\n"))
    assert r"r0\x1b[31m\x1b]0;title\x07\u202e" in done.out


def test_rewards_of_a_run_are_scored_again(skinflow: Callable[..., Any], mine: Path, tmp_path: Path) -> None:
    """A line of rewards.jsonl calls the answer `completion`, and has columns of its own."""
    line = {"step": 1, "id": "r0", "task": "diagnosis", "group": 0, "completion": "melanoma",
            "rewards": {"a.b": 0.5}, "total": 0.5}  # fmt: skip
    file = written(tmp_path / "rewards.jsonl", [line, {**line, "completion": "wart"}])
    done = skinflow("score", mine, "--completions", file, "--column", "answer=completion")
    assert done.code == 0
    assert "0 of 1 groups (0%) would give no gradient" in done.out


def test_what_was_written_can_be_read_back(skinflow: Callable[..., Any], mine: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    first = skinflow("score", mine, "-o", file, "--limit", "4")
    again = skinflow("score", mine, "--completions", file)
    for stage in ("see", "diagnose"):
        assert table(again.out, "range", stage) == table(first.out, "range", stage)


def test_limit_takes_whole_records(skinflow: Callable[..., Any], mine: Path, completions: Path) -> None:
    done = skinflow("score", mine, "--completions", completions, "--stage", "diagnose", "--limit", "1")
    assert re.search(r"stage diagnose: task diagnosis, [34] answers to 1 records", done.out)


# --- what is wrong -----------------------------------------------------------------------------------------


def test_all_mistakes_of_the_recipe_at_once(skinflow: Callable[..., Any]) -> None:
    done = skinflow("score", "quickstart", "taxonomy=dmo", "stages.0.swift.lerning_rate=1")
    assert done.code == 2
    assert done.err.startswith("skinflow: 2 problems\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--limit", "0"], "--limit 0; expected 1 or more"),
        (["--stage", "diagnos"], "there is no grpo stage 'diagnos'; did you mean 'diagnosis'?"),
        (["--stage", "warmup"], "there is no grpo stage 'warmup'"),
        (["--column", "answer=x"], "--column is about a file of --completions"),
        (["--completions", "none.jsonl"], "none.jsonl"),
        (["--completions", "none.jsonl", "--strict"], "--strict judges canned answers"),
        (["--completions", "none.jsonl", "--column", "answer"], "expected OURS=THEIRS"),
        (["--canned", "--completions", "x"], "not allowed with"),
        (["-o", "."], "is a folder"),
        (["-o", "/dev/null/x.jsonl"], "-o /dev/null/x.jsonl cannot be written: /dev/null is no folder"),
        (["--completions", "none.jsonl", "-o", "./none.jsonl"], "is the file of completions"),
    ],
)
def test_wrong_arguments(skinflow: Callable[..., Any], arguments: list[str], words: str) -> None:
    done = skinflow("score", "quickstart", *arguments)
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_missing_column_is_named_before_anything_is_scored(
    skinflow: Callable[..., Any], mine: Path
) -> None:
    file = mine.parent / "train.jsonl"
    rows = lines_of(file)
    without = {key: value for key, value in rows[0].items() if key != "diagnosis"}
    rows += [{**without, "id": f"s{n}", "final_diagnosis": "melanoma"} for n in range(60)]
    written(file, rows[8:])
    done = skinflow("score", mine, "--stage", "diagnose")
    assert (done.code, done.out) == (2, "")
    assert "diagnosis" in done.err
    # Beyond the rows that `validate` looks at, every record is asked.
    written(file, [*({**rows[n % 8], "id": f"t{n}"} for n in range(50)), *rows[8:]])
    done = skinflow("score", mine, "--stage", "diagnose")
    assert (done.code, done.out) == (2, "")
    assert (
        "the reward 'ranked_diagnosis' of the stage 'diagnose' needs the column 'diagnosis'; 60 of "
        in done.err
    )
    assert "(first: s0)" in done.err
    assert "did you mean 'final_diagnosis'?" in done.err


def test_labels_that_nobody_knows_are_all_named(skinflow: Callable[..., Any], mine: Path) -> None:
    file = mine.parent / "train.jsonl"
    file.write_text(file.read_text().replace("psoriasis", "psoriasys").replace("melanoma", "benign"))
    done = skinflow("score", mine, "--stage", "diagnose")
    assert done.code == 2
    assert done.err.startswith("skinflow: 2 problems\n")
    assert "does not know its diagnosis 'psoriasys'" in done.err
    assert "'benign' is a general word" in done.err


def test_a_recipe_without_rewards(skinflow: Callable[..., Any], mine: Path) -> None:
    text = mine.read_text()
    text = (
        text[: text.index("swift:")]
        + "swift: {max_steps: 1}\n"
        + "stages: [{name: w, kind: sft, teach: {diagnosis: {}}}]\n"
    )
    mine.write_text(text)
    done = skinflow("score", mine)
    assert done.code == 2
    assert "mine has no grpo stage" in done.err


def test_completions_of_another_task(skinflow: Callable[..., Any], mine: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "c.jsonl", [{"id": "r0", "answer": "x", "task": "grading"}])
    done = skinflow("score", mine, "--completions", file)
    assert done.code == 2
    assert "the completions answer grading, and the stages ask caption, diagnosis" in done.err
    assert "--stage" in done.err


def test_completions_of_records_that_the_data_lacks(
    skinflow: Callable[..., Any], mine: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "c.jsonl", [{"id": "zzz", "answer": "melanoma"}])
    done = skinflow("score", mine, "--completions", file, "--stage", "diagnose")
    assert (done.code, done.out) == (2, "")
    assert "needs the column 'diagnosis'; 1 of 1 samples do not have it (first: zzz)" in done.err


# --- a judge -----------------------------------------------------------------------------------------------


@pytest.fixture
def judged(mine: Path) -> Callable[[str], Path]:
    """The recipe with a reward that asks the judge at an address."""

    def at(endpoint: str) -> Path:
        changed(
            mine,
            "[{caption_fields: {weight: 1.0}}]",
            "[{caption_fields: {weight: 1.0}}, {caption_recovers_diagnosis: {weight: 0.5}}]",
        )
        with mine.open("a") as file:
            file.write(f"judge: {{endpoint: '{endpoint}', model: m, cache: 'off', deadline: 2.0}}\n")
        return mine

    return at


def test_a_judge_that_is_not_there_is_an_error_at_once(
    skinflow: Callable[..., Any], judged: Callable[[str], Path]
) -> None:
    recipe = judged("http://127.0.0.1:9/v1")
    done = skinflow("score", recipe)
    assert (done.code, done.out) == (2, "")
    assert "judge.endpoint: nobody answers at http://127.0.0.1:9/v1: Connection refused" in done.err
    assert "--no-judge" in done.err


@pytest.fixture
def answering(chat_server: Callable[..., str]) -> Callable[[Callable[[int], str]], str]:
    """Starts a judge whose n-th reply, from 1, is what a function says, and gives its address."""

    def start(says: Callable[[int], str]) -> str:
        numbers = itertools.count(1)
        return chat_server(lambda request: says(next(numbers)))

    return start


def test_a_judge_that_says_nothing_usable_ends_it(
    skinflow: Callable[..., Any],
    judged: Callable[[str], Path],
    answering: Callable[[Callable[[int], str]], str],
) -> None:
    """Its rewards would be figures of the few answers about which nobody had to be asked."""
    recipe = judged(answering(lambda number: "I would rather not."))
    done = skinflow("score", recipe, "--stage", "see", "--limit", "2")
    assert done.code == 1
    assert re.search(
        r"'caption_recovers_diagnosis' could not judge \d+ of \d+ answers, and 20% may fail, as in a run; "
        r"most often: the judge gave no verdict.* unparsable: no JSON",
        done.err,
    )
    assert "--no-judge" in done.err
    assert "order:" not in done.out


def test_answers_that_a_judge_failed_on_are_told(
    skinflow: Callable[..., Any],
    judged: Callable[[str], Path],
    answering: Callable[[Callable[[int], str]], str],
) -> None:
    recipe = judged(answering(lambda number: '{"diagnoses": []}' if number % 10 else "no"))
    arguments = ("score", recipe, "--stage", "see", "--limit", "2", "judge.runs=1")
    done = skinflow(*arguments)
    assert (done.code, done.err) == (0, "")
    told = r"caption_recovers_diagnosis could not judge \d+ of \d+ answers, which no figure here counts; most"
    assert re.search(told, done.out)
    assert skinflow(*arguments, "--strict").code == 1


def test_a_judge_that_the_recipe_lacks_is_an_error_at_once(skinflow: Callable[..., Any], mine: Path) -> None:
    asking = "stages.diagnose.rewards=[{ranked_diagnosis: {weight: 1, accept: judge}}, {length: {weight: 1}}]"
    done = skinflow("score", mine, asking)
    assert (done.code, done.out) == (2, "")
    assert "accept: judge needs a judge; write the block `judge` into the recipe" in done.err
    judge = "judge={endpoint: 'http://127.0.0.1:9/v1', model: m}"  # nobody is there, and nobody is asked
    done = skinflow("score", mine, asking, judge, "--no-judge", "--stage", "diagnose", "--limit", "2")
    assert done.code == 0
    assert "ranked_diagnosis is left out: it asks a judge" in done.out


def test_without_the_judge_its_rewards_are_left_out(
    skinflow: Callable[..., Any], judged: Callable[[str], Path]
) -> None:
    done = skinflow("score", judged("http://127.0.0.1:9/v1"), "--no-judge", "--stage", "see")
    assert done.code == 0
    assert "caption_recovers_diagnosis is left out: it asks a judge" in done.out
    assert set(table(done.out, "mean")) == {"caption_fields", "total", "answers"}


def test_a_gated_reward_goes_with_its_gate(
    skinflow: Callable[..., Any], judged: Callable[[str], Path]
) -> None:
    recipe = judged("http://127.0.0.1:9/v1")
    changed(
        recipe,
        "{caption_fields: {weight: 1.0}}",
        "{caption_fields: {weight: 1.0, gate: {reward: caption_recovers_diagnosis, at_least: 0.5}}}, "
        "{length: {weight: 0.1}}",
    )
    done = skinflow("score", recipe, "--no-judge", "--stage", "see")
    assert "caption_fields is left out: so is its gate" in done.out
    assert set(table(done.out, "mean")) == {"length", "total", "answers"}
