"""`skinflow graft`: its options, its report, and its errors."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli import parser, table
from skinflow_plugins.cli.graft import family_for
from skinflow_plugins.models import build_tiny, family_named

Skinflow = Callable[..., Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    return build_tiny("llava", folder, vocabulary=["lesion"], width=64, depth=3)


def settings(folder: Path) -> Mapping[str, Any]:
    config = json.loads((folder / "config.json").read_text())
    return {"model_type": config["model_type"], **config["dve"]}


def test_the_options_are_those_of_the_encoder_and_the_family() -> None:
    arguments = vars(parser.parse(["graft", "BASE", "OUT"]))
    ours = {name: arguments[name] for name in arguments if name not in ("version", "verb", "parser", "do")}
    assert (ours.pop("base"), ours.pop("out")) == ("BASE", Path("OUT"))
    assert ours.pop("family") is None
    encoder = {each.name: each for each in catalogue().get("vision_encoders", "dve").options}
    assert ours == {name: option.default for name, option in encoder.items()}


def test_every_choice_is_one_of_the_encoders() -> None:
    encoder = {each.name: each for each in catalogue().get("vision_encoders", "dve").options}
    for action in parser.parse(["graft", "BASE", "OUT"]).parser._actions:
        if action.choices:
            assert tuple(action.choices) == encoder[action.dest].annotation.__args__


def test_the_report_is_printed(skinflow: Skinflow, tiny: Path) -> None:
    done = skinflow("graft", tiny, "out/deep")
    assert (done.code, done.err) == (0, "")
    out = Path.cwd() / "out" / "deep"
    lines = done.out.splitlines()
    assert lines[0].split() == ["layer", "projection", "size", "parameters", "router", "overhead"]
    # LLaVA reads the last layer but one, so of three layers two can be dynamic.
    places = [["0", "up"], ["0", "down"], ["1", "up"], ["1", "down"]]
    assert [line.split()[:2] for line in lines[1:5]] == places
    assert lines[5] == ""
    assert lines[6].startswith("4 projections with 4 bands each; ")
    assert lines[7].endswith(f": {out}")
    assert settings(out)["model_type"] == "skinflow_llava"
    assert any(path.is_symlink() for path in out.iterdir())


def test_on_a_terminal_it_is_a_table(skinflow: Skinflow, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(table, "show", lambda *arguments: shown.append(arguments))
    done = skinflow("graft", tiny, "out", "--layers", "0", "--projections", "up")
    assert done.code == 0
    ((title, heads, cells),) = shown
    assert title == f"llava: {tiny.resolve()}"
    assert (len(heads), len(cells)) == (6, 1)


def test_every_option_reaches_the_checkpoint(skinflow: Skinflow, tiny: Path) -> None:
    typed = ["--layers", "1,0", "--projections", "down", "--bands", "3", "--gates", "band,output"]
    typed += ["--router", "block", "--reduction", "8", "--frozen-bases", "--link", "copy"]
    typed += ["--family", "llava"]
    assert skinflow("graft", tiny, "one", *typed).code == 0
    found = settings(Path("one"))
    assert {name: found[name] for name in ("layers", "projections", "bands", "router", "reduction")} == {
        "layers": [0, 1],
        "projections": ["down"],
        "bands": 3,
        "router": "block",
        "reduction": 8,
    }
    assert set(found["gates"]) == {"band", "output"}
    assert found["frozen_bases"] is True
    assert not any(path.is_symlink() for path in Path("one").iterdir())

    assert skinflow("graft", tiny, "two", *typed, "--seed", "1").code == 0
    ours, theirs = (
        {path.name: path.read_bytes() for path in Path(name).glob("*.safetensors")} for name in ("one", "two")
    )
    assert sum(ours[name] != theirs[name] for name in ours) == 1  # the routers

    assert skinflow("graft", tiny, "three", "--layers", "quarters", "--link", "hardlink").code == 0
    assert settings(Path("three"))["layers"] == [0, 1]
    assert any(os.stat(path).st_nlink > 1 for path in Path("three").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--layers", "7,x"], ["layers: found '7,x'"]),
        (["--layers", "2"], ["nobody reads what layer 2 gives"]),
        (
            ["--layers", "half", "--projections", "gate,up", "--gates", "input", "--reduction", "0"],
            ["layers: found 'half'", "found 'gate'", "found ['input']", "expected 1 or more"],
        ),
    ],
)
def test_all_problems_of_the_options_at_once(
    skinflow: Skinflow, tiny: Path, typed: list[str], told: list[str]
) -> None:
    done = skinflow("graft", tiny, "out", *typed)
    assert (done.code, done.out) == (2, "")
    for text in told:
        assert text in done.err
    assert (len(told) == 1) == ("problems" not in done.err)
    assert list(Path.cwd().iterdir()) == []


def test_wrong_places_and_names(skinflow: Skinflow, tiny: Path) -> None:
    done = skinflow("graft", "nobody", "out", "--family", "lava")
    assert done.code == 2
    assert done.err.startswith("skinflow: 2 problems\n")
    assert "unknown base model 'lava'; did you mean 'llava'?" in done.err
    assert "nobody: there is no such folder" in done.err
    Path("there").mkdir()
    assert skinflow("graft", tiny, "there").code == 2
    wrong = skinflow("graft", tiny, "out", "--family", "qwen3_vl")
    assert wrong.code == 2
    assert "is not of the family qwen3_vl" in wrong.err
    assert skinflow("graft", tiny, "out", "--router", "blok").err.startswith(
        "skinflow graft: unknown kind 'blok'; did you mean 'block'?"
    )
    assert [path.name for path in Path.cwd().iterdir()] == ["there"]


def test_families_of_others_are_known_by_their_config(tmp_path: Path) -> None:
    theirs = dataclasses.replace(family_named("llava"), name="theirs", hf_model_type="theirs")
    (tmp_path / "config.json").write_text('{"model_type": "theirs"}')

    class Known:
        def table(self, kind: str) -> Mapping[str, Any]:
            assert kind == "base_models"
            return {**catalogue().table(kind), "theirs": type("Entry", (), {"value": theirs})}

    known: Any = Known()
    assert family_for(str(tmp_path), None, known) is theirs
    (tmp_path / "config.json").write_text('{"model_type": "nobodys"}')
    assert family_for(str(tmp_path), None, known) is None
