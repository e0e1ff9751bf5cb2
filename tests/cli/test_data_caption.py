"""`skinflow data caption`, also killed, interrupted and without servers."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from skinflow_plugins.data.lesion_fields import CAPTION_FIELDS

FILES = ("captions.jsonl", "review.jsonl", "review.csv", "failed.jsonl", "left_out.jsonl")


@pytest.fixture(scope="session")
def play() -> ModuleType:
    """The servers of the tests of captioning."""
    path = Path(__file__).parents[1] / "captioning" / "players.py"
    spec = importlib.util.spec_from_file_location("skinflow_cli_players", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["skinflow_cli_players"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def lesions(tmp_path_factory: pytest.TempPathFactory, play: ModuleType) -> Path:
    folder = tmp_path_factory.mktemp("lesions")
    fields = {name: list(values) for name, values in CAPTION_FIELDS.items()}
    (folder / "fields.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    return Path(play.write_rows(folder, 24))


@pytest.fixture
def players(lesions: Path, play: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    both = play.play(lesions)
    yield both
    both.close()


@pytest.fixture
def command(players: Any, lesions: Path) -> Callable[..., list[str]]:
    """The arguments of a captioning of the drawn lesions into a folder."""

    def made(folder: Path, *more: str) -> list[str]:
        return [
            *("data", "caption", str(lesions), "--fields", str(lesions.with_name("fields.yaml"))),
            *("--taxonomy", "demo", "--tries", "2", "--cache", "off", "--retries", "0", "-o", str(folder)),
            *("--captioner", players.captioner.url, "--judge", players.judge.url, *more),
        ]

    return made


Command = Callable[..., list[str]]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "skinflow_plugins.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_tries(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    journal = folder / "journal.jsonl"
    while not journal.is_file() or journal.read_bytes().count(b'"event": "try"') < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def same_files(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def test_the_summary_adds_up(skinflow: Callable[..., Any], command: Command, tmp_path: Path) -> None:
    done = skinflow(*command(tmp_path / "out"))
    assert (done.code, done.err) == (0, "")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    accepted, review = report["rows"]["accepted"], report["rows"]["review"]
    assert accepted + review == 24
    assert "==> 24 rows in data.jsonl: 0 left out, 0 done before, 24 to ask now\n" in done.out
    assert f"24 rows: {accepted} accepted, {review} review, 0 failed, 0 waiting, 0 left out\n" in done.out
    assert (
        f"diagnosis recovered: {accepted / 24:.3f} of 24 rows with a verdict; captions of other" in done.out
    )
    assert f"--merge-review {tmp_path / 'out' / 'review.csv'}" in done.out
    table = [line.split() for line in done.out.splitlines()]
    assert [line[0] for line in table if line[:1] == ["psoriasis"]] == ["psoriasis"]
    assert {line[0] for line in table if line[:1] and line[0] in ("I-II", "III-IV", "V-VI")}


def test_rows_that_are_left_out_are_counted_and_listed(
    skinflow: Callable[..., Any], command: Command, lesions: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in lesions.read_text().splitlines()]
    rows[3]["diagnosis"] = "nostalgia"
    del rows[5]["diagnosis"], rows[7]["image"]
    file = tmp_path / "work" / "faulty.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{half\n")
    arguments = [str(file) if each == str(lesions) else each for each in command(tmp_path / "out")]
    arguments += ["--images", str(lesions.parent)]
    done = skinflow(*arguments)
    assert done.code == 2
    assert f"{file}:4: diagnosis: 'nostalgia' is no diagnosis of the taxonomy demo" in done.err
    assert f"{file}:25: not JSON" in done.err
    assert not (tmp_path / "out").exists()
    done = skinflow(*arguments, "--skip-bad-rows", "--captioner-price", "1000", "500")
    assert (done.code, done.err) == (0, "")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows_of = report["rows"]
    assert (rows_of["input"], rows_of["left_out"]) == (25, 4)
    assert rows_of["accepted"] + rows_of["review"] == 21
    left = [json.loads(line) for line in (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()]
    assert [each["line"] for each in left] == [4, 6, 8, 25]
    assert "  left out: 1 a label outside of the taxonomy\n" in done.out
    # A call has 100 tokens of prompt and 10 of reply.
    calls = report["usage"]["captioner"]["calls"]
    assert f"captioner: {calls} calls, 0 kept answers, {100 * calls} + {10 * calls} tokens, " in done.out
    assert report["usage"]["captioner"]["cost"] == pytest.approx(calls * (100 * 1000 + 10 * 500) / 1e6)
    # With --images the rows name their images as before, for a recipe with the same option.
    first = json.loads((tmp_path / "out" / "captions.jsonl").read_text().splitlines()[0])
    assert first["image"].startswith("images/")


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(
    skinflow: Callable[..., Any], command: Command, players: Any, tmp_path: Path
) -> None:
    assert skinflow(*command(tmp_path / "whole")).code == 0
    players.captioner.requests.clear()
    players.judge.pause = 0.03
    for tries in (4, 15):
        process = started(command(tmp_path / "killed", "--concurrency", "2"))
        wait_for_tries(tmp_path / "killed", tries, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        process.communicate()
    # As if the kill had come in the middle of a line.
    with (tmp_path / "killed" / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"event": "try", "run": 2, "id": "train-000')
    players.judge.pause = 0.0
    assert not (tmp_path / "killed" / "captions.jsonl").exists()
    done = skinflow(*command(tmp_path / "killed"))
    assert done.code == 0
    assert ", 0 done before," not in done.out
    assert same_files(tmp_path / "killed", tmp_path / "whole")
    ids = [json.loads(line)["id"] for name in ("captions.jsonl", "review.jsonl")
           for line in (tmp_path / "killed" / name).read_text().splitlines()]  # fmt: skip
    assert sorted(ids) == sorted({row["id"] for row in players.rows})
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("killed", "whole")]
    for report in reports:
        del report["usage"]
    assert reports[0] == reports[1]


def test_interrupted_it_leaves_its_files_and_goes_on(
    skinflow: Callable[..., Any], command: Command, players: Any, tmp_path: Path
) -> None:
    assert skinflow(*command(tmp_path / "whole")).code == 0
    players.judge.pause = 0.05
    process = started(command(tmp_path / "out", "--concurrency", "2"))
    wait_for_tries(tmp_path / "out", 6, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert f"stopped; {tmp_path / 'out'} holds all that was done, and the same command goes on" in out
    assert "Traceback" not in err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rows"]["waiting"] > 0
    assert report["rows"]["accepted"] == len((tmp_path / "out" / "captions.jsonl").read_text().splitlines())
    players.judge.pause = 0.0
    assert skinflow(*command(tmp_path / "out")).code == 0
    assert same_files(tmp_path / "out", tmp_path / "whole")


def test_two_commands_at_once(
    skinflow: Callable[..., Any], command: Command, players: Any, tmp_path: Path
) -> None:
    players.judge.pause = 0.1
    process = started(command(tmp_path / "out", "--concurrency", "1"))
    wait_for_tries(tmp_path / "out", 1, process)
    done = skinflow(*command(tmp_path / "out"))
    assert done.code == 2
    assert "another process is captioning into this folder" in done.err
    process.kill()
    process.communicate()


def test_an_address_where_nobody_listens(
    skinflow: Callable[..., Any], command: Command, tmp_path: Path
) -> None:
    arguments = command(tmp_path / "out")
    arguments[arguments.index("--captioner") + 1] = "http://127.0.0.1:9/v1"
    done = skinflow(*arguments)
    assert done.code == 1
    assert done.err.startswith("skinflow: the captioner cannot be asked: ")


def test_a_server_that_never_answers_costs_the_deadline(
    skinflow: Callable[..., Any], command: Command, players: Any, tmp_path: Path
) -> None:
    players.captioner.pause = 5.0
    done = skinflow(*command(tmp_path / "out", "--deadline", "0.5", "--timeout", "0.4"))
    assert done.code == 1
    assert "the captioner cannot be asked: no answer within" in done.err
    assert len(players.captioner.requests) == 1


def test_rows_without_a_verdict_end_with_1(
    skinflow: Callable[..., Any], command: Command, players: Any, play: ModuleType, tmp_path: Path
) -> None:
    honest, asked = players.judge.script, []

    def once(request: dict[str, Any]) -> Any:
        asked.append(request)
        return play.Reply("half a {") if len(asked) == 7 else honest(request)

    players.judge.script = once
    done = skinflow(*command(tmp_path / "out"))
    assert done.code == 1
    assert "  failed: 1 judge: unparsable\n" in done.out
    assert "1 rows are not done: the same command goes on" in done.out
    assert skinflow(*command(tmp_path / "out")).code == 0


def test_a_review_that_is_not_there(skinflow: Callable[..., Any]) -> None:
    done = skinflow("data", "caption", "--merge-review", "revue.csv")
    assert done.code == 2
    assert "revue.csv: there is no such file" in done.err


def test_review_and_merge(
    skinflow: Callable[..., Any], command: Command, players: Any, tmp_path: Path
) -> None:
    players.captioner.script.lies = 1.0
    assert skinflow(*command(tmp_path / "out")).code == 0
    sheet = tmp_path / "out" / "review.csv"
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["decision"], rows[1]["decision"], rows[2]["decision"] = "accept", "drop", "yes"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, rows[0], delimiter=";")
        out.writeheader()
        out.writerows(rows)
    done = skinflow("data", "caption", "--merge-review", str(sheet))
    assert done.code == 2
    assert "decision: found 'yes'; expected accept, drop" in done.err
    sheet.write_text(sheet.read_text().replace(";yes;", ";;"))
    before = len((tmp_path / "out" / "captions.jsonl").read_text().splitlines())
    done = skinflow("data", "caption", "--merge-review", str(sheet))
    assert (done.code, done.err) == (0, "")
    assert f"{sheet}: 1 rows accepted, 1 dropped, 0 known already, {len(rows) - 2} not decided\n" in done.out
    assert len((tmp_path / "out" / "captions.jsonl").read_text().splitlines()) == before + 1
    assert skinflow(*command(tmp_path / "out")).code == 0


def test_the_fields_of_a_recipe(
    skinflow: Callable[..., Any], command: Command, players: Any, play: ModuleType, tmp_path: Path
) -> None:
    honest = players.captioner.script

    def three(request: dict[str, Any]) -> Any:
        values = json.loads(honest(request).text)
        return play.Reply(json.dumps({name: values[name] for name in ("colour", "border", "surface")}))

    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\nextends: quickstart\ndata:\n  source: jsonl\n  train: ???\n"
        f"judge: {{endpoint: '{players.judge.url}', model: their judge, cache: 'off'}}\n"
    )
    players.captioner.script = three
    arguments = command(tmp_path / "out", "--recipe", str(recipe))
    for name in ("--fields", "--taxonomy", "--judge"):
        place = arguments.index(name)
        del arguments[place : place + 2]
    done = skinflow(*arguments)
    assert (done.code, done.err) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "out" / "captions.jsonl").read_text().splitlines()]
    assert rows
    assert {row["caption_judge"] for row in rows} == {"their judge"}
    assert all(set(row["caption"]) == {"colour", "border", "surface"} for row in rows)
    # What came out is data of that recipe as it stands.
    data = f"data.train={tmp_path / 'out' / 'captions.jsonl'}"
    checked = skinflow("data", "check", str(recipe), data)
    assert (checked.code, checked.err) == (0, "")
    assert checked.out.splitlines()[1].split()[-1] == str(len(rows))


def test_all_that_is_missing_is_said_at_once(skinflow: Callable[..., Any]) -> None:
    done = skinflow("data", "caption")
    assert done.code == 2
    for name in ("DATA", "--captioner", "--judge", "--recipe or --fields", "--taxonomy"):
        assert f"{name} is missing" in done.err


def test_settings_of_the_servers_are_checked(
    skinflow: Callable[..., Any], command: Command, tmp_path: Path
) -> None:
    done = skinflow(*command(tmp_path / "out", "--captioner-key", "sk-verysecret", "--concurrency", "2"))
    assert done.code == 2
    assert "--captioner: expected the name of an environment variable" in done.err
    assert "verysecret" not in done.err
    assert "--tries: found 0; expected 1 to 100" in skinflow(*command(tmp_path / "out", "--tries", "0")).err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected caption fields with their values"),
        ("colour: red\n", "colour: found 'red'; expected a list of texts"),
        (
            "nail: [yes, no]\n",
            "nail: found [True, False]; expected a list of texts\n    YAML takes no and yes",
        ),
        ("colour: [red, red]\n", "expected values that differ"),
        ("{}\n", "there are no caption fields"),
        ("a: [", "is no YAML"),
    ],
)
def test_wrong_fields(
    skinflow: Callable[..., Any], command: Command, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "fields.yaml").write_text(text)
    arguments = command(tmp_path / "out")
    arguments[arguments.index("--fields") + 1] = str(tmp_path / "fields.yaml")
    done = skinflow(*arguments)
    assert done.code == 2
    assert message in done.err


def test_the_key_is_nowhere_in_the_folder(
    skinflow: Callable[..., Any], command: Command, tmp_path: Path
) -> None:
    os.environ["OUR_KEY"] = "sk-verysecret"  # restored by `skinflow`
    options = ("--captioner-key", "OUR_KEY", "--judge-key", "OUR_KEY", "--limit", "4")
    assert skinflow(*command(tmp_path / "out", *options)).code == 0
    for file in (tmp_path / "out").iterdir():
        assert b"verysecret" not in file.read_bytes()
