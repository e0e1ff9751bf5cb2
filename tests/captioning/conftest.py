"""Drawn lesions as a user's file, the two servers, and what a captioning needs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from skinflow_plugins.captioning.gate import Gate
from skinflow_plugins.captioning.making import Source
from skinflow_plugins.data.lesion_fields import CAPTION_FIELDS
from skinflow_plugins.diagnosis import Taxonomy, load_taxonomy
from skinflow_plugins.judging import Judge, load_prompt
from skinflow_plugins.judging.prompt import DESCRIBE, RECOVER


def load_players() -> ModuleType:
    """The module `players.py` beside this file, which no test module can import."""
    name = "skinflow_test_players"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("players.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def players_module() -> ModuleType:
    return load_players()


@pytest.fixture(scope="session")
def lesions(tmp_path_factory: pytest.TempPathFactory, players_module: ModuleType) -> Path:
    """A file of 24 drawn lesions without captions; tests do not change it."""
    return Path(players_module.write_rows(tmp_path_factory.mktemp("lesions"), 24))


@pytest.fixture
def players(lesions: Path, players_module: ModuleType) -> Iterator[Any]:
    both = players_module.play(lesions)
    yield both
    both.close()


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy("demo")


@pytest.fixture
def gate_of(taxonomy: Taxonomy) -> Callable[..., Gate]:
    def made(**options: Any) -> Gate:
        describe, recover = load_prompt("describe", DESCRIBE), load_prompt("recover", RECOVER)
        return Gate(CAPTION_FIELDS, taxonomy, describe, recover, **options)

    return made


@pytest.fixture
def model_of() -> Callable[..., Judge]:
    """A model at an address, quick to give up, with nothing kept of its answers."""

    def made(url: str, **options: Any) -> Judge:
        defaults: dict[str, Any] = {"runs": 1, "timeout": 5.0, "deadline": 8.0, "retries": 0, "cache": "off"}
        return Judge(url, "model", **{**defaults, **options})

    return made


@pytest.fixture
def source(lesions: Path) -> Source:
    return Source(lesions, "demo")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A file of rows beside two images, `a.png` and `b.png`; each row is a mapping or a line as it is."""
    import json

    from PIL import Image

    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate("ab"):
        Image.new("RGB", (8, 8), (number, 9, 9)).save(folder / f"{name}.png")

    def written(*rows: Any) -> Path:
        file = folder / "rows.jsonl"
        file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        return file

    return written
