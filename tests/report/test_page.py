"""The page as text: its structure, that it is safe, the same each time, and says what is missing."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skinflow_plugins.report import part_gallery
from skinflow_plugins.report.page import page, write_page
from skinflow_plugins.report.run_story import RunStory, read_run
from skinflow_plugins.report.svg import Canvas

SECTIONS = (
    *(
        "summary",
        "top-k",
        "safety",
        "confusion",
        "skin-tone",
        "hierarchy",
        "calibration",
        "figures",
        "labels",
    ),
    *("run", "gallery", "answers", "input", "baselines", "versions", "use"),
)
WATCHED = ("rewards-2", "rewards-3")
WITH_RUN = (*SECTIONS[: SECTIONS.index("gallery")], *WATCHED, *SECTIONS[SECTIONS.index("gallery") :])
VOID = {"meta", "link", "img", "br", "input"}


class Outline(HTMLParser):
    """The tags of a page: their balance, attributes, ids, and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.sections: dict[str, str] = {}
        self.tables: list[list[int]] = []
        self._section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.sections[self._section] = ""
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append(0)
        if tag in ("td", "th"):
            self.tables[-1][-1] += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open[-1] == tag, (self.open[-3:], tag, self.getpos())
        self.open.pop()
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section and (not self.open or self.open[-1] != "style"):
            self.sections[self._section] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, write_run: Callable[..., Path]) -> RunStory:
    return read_run(write_run(tmp_path_factory.mktemp("page") / "run"))


@pytest.fixture(scope="module")
def whole(example: dict[str, Any], run: RunStory) -> str:
    return page(example, run=run)


@pytest.fixture(scope="module")
def outline(whole: str) -> Outline:
    return Outline(whole)


def test_every_section_is_there_in_its_order(outline: Outline) -> None:
    assert tuple(outline.sections) == WITH_RUN
    assert all(len(text.split()) > 8 for text in outline.sections.values())


def test_ids_are_unique_and_links_have_their_target(outline: Outline) -> None:
    assert [name for name, n in Counter(outline.ids).items() if n > 1] == []
    links = [value for tag, name, value in outline.attributes if (tag, name) == ("a", "href")]
    assert len(links) == len(WITH_RUN) + 1
    inside = [value for _, name, value in outline.attributes if name == "href" and value.startswith("#")]
    inside += [
        f"#{found}" for _, _, value in outline.attributes for found in re.findall(r"url\(#([^)]+)\)", value)
    ]
    assert {link[1:] for link in inside} <= set(outline.ids)


def test_nothing_comes_from_elsewhere_and_no_script_runs(whole: str, outline: Outline) -> None:
    assert outline.tags["script"] == outline.tags["iframe"] == outline.tags["object"] == 0
    for tag, name, value in outline.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "action", "srcset"):
            assert value.startswith(("#", "data:")), (tag, name, value[:80])
    style = whole[whole.index("<style>") : whole.index("</style>")]
    assert not re.search(r"url\(|@import|@font-face|https?:", style)
    assert "default-src 'none'" in whole
    assert "http://" not in re.sub(r"data:[^\"]+", "", whole)


def test_every_plot_has_a_name_words_and_its_numbers(outline: Outline, whole: str) -> None:
    charts = re.findall(r'<svg class="chart"[^>]*>', whole)
    assert len(charts) == outline.tags["figure"] == whole.count("Numbers of this plot")
    assert len(charts) >= 6 + 2 + 1 + 3 + 2 + 2 + 3 + 7
    assert all('role="img"' in chart and re.search(r'aria-label="[^"]{30,}"', chart) for chart in charts)
    assert len(re.findall(r'<svg class="chart"[^>]*><title>[^<]+</title>', whole)) == len(charts)
    assert len(re.findall(r"var\(--c1\)", whole)) > 100
    assert not re.search(r"#0102[0-9a-f]{2}", whole)


def test_tables_are_rectangular(outline: Outline) -> None:
    assert len(outline.tables) > 60
    assert all(len(set(rows)) == 1 and len(rows) > 1 for rows in outline.tables)


def test_hostile_text_is_text(whole: str, outline: Outline) -> None:
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in whole
    assert "<script>alert('x')</script>" in outline.sections["answers"]
    assert "</style><img src=x onerror=alert(1)>" in outline.sections["gallery"]
    assert "{{ 7 * 7 }} {% raw %}" in outline.sections["answers"]
    assert "[U+202E]gnisrever[U+202C] and [U+0000][U+001B][31mcontrol[U+0007]" in outline.sections["answers"]
    assert "lone \ufffd surrogate" in outline.sections["answers"]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\ud800-\udfff]", whole)


def test_hostile_text_everywhere(example: dict[str, Any], hostile: tuple[str, ...]) -> None:
    """Whatever string of the report is replaced, no tag comes of it."""

    def replaced(value: Any, text: str) -> Any:
        if isinstance(value, dict):
            return {key: replaced(each, text) for key, each in value.items()}
        if isinstance(value, list):
            return [replaced(each, text) for each in value]
        return text if isinstance(value, str) else value

    plain = Outline(page(replaced(example, "plain")))
    for text in hostile:
        other = Outline(page(replaced(example, text)))
        # The reversed text has more letters, so that one more answer may be folded.
        assert {tag: n for tag, n in other.tags.items() if tag not in ("details", "summary", "pre")} == {
            tag: n for tag, n in plain.tags.items() if tag not in ("details", "summary", "pre")
        }
        assert {name for _, name, _ in other.attributes} <= {name for _, name, _ in plain.attributes}


def test_equal_input_gives_equal_bytes(
    whole: str, example: dict[str, Any], run: RunStory, tmp_path: Path
) -> None:
    path = write_page(example, tmp_path / "new" / "folder", run=run)
    assert path == tmp_path / "new" / "folder" / "report.html"
    assert path.read_bytes() == whole.encode("utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert write_page({}, tmp_path / "a.html") == tmp_path / "a.html"


def test_it_is_not_large(whole: str) -> None:
    assert len(whole.encode("utf-8")) < 1_500_000


def test_the_counts_of_the_input_add_up_and_are_shown(outline: Outline, example: dict[str, Any]) -> None:
    given = example["input"]
    assert given["scored"] + sum(given["left_out"].values()) == given["rows"]
    text = " ".join(outline.sections["input"].split())
    for number in (given["scored"], *given["left_out"].values(), given["rows"]):
        assert f"{number:,}" in text
    assert "The counts add up to the rows of the input." in text


def test_counts_that_do_not_add_up_are_said_aloud(example: dict[str, Any]) -> None:
    wrong = {**example, "input": {**example["input"], "scored": 16_300}}
    text = Outline(page(wrong)).sections["input"]
    assert "do NOT add up" in text
    assert "The counts add up" not in text


def test_every_figure_is_in_the_table_of_all(outline: Outline, example: dict[str, Any]) -> None:
    text = outline.sections["figures"]
    for figure in example["figures"].values():
        assert figure["title"] in text
    assert "Figures that no family of this report lists." in text
    assert "no answer abstains" in text


def test_long_lists_say_what_they_leave_out(outline: Outline) -> None:
    assert "49 rarer items are in report.json alone." in outline.sections["answers"]
    assert "The 25 most frequent of" in outline.sections["confusion"]
    letters = re.search(r"([\d,]+) more letters are in the predictions file", outline.sections["gallery"])
    assert letters is not None
    assert int(letters[1].replace(",", "")) > 190_000


REMOVED = [
    "fairness",
    "calibration",
    "selective",
    "examples",
    "confusion",
    "labels",
    "answers",
    "versions",
    "figures",
    "families",
    "input",
    "options",
    "taxonomy",
    "created",
    "name",
]


@pytest.mark.parametrize("part", REMOVED)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_without_a_part_the_page_says_why(
    part: str, how: str, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Canvas, "svg", lambda *_: "<svg></svg>")  # drawing takes most of the time
    less = copy.deepcopy(example)
    if how == "absent":
        del less[part]
    else:
        less[part] = None
    found = Outline(page(less))
    assert tuple(found.sections) == SECTIONS
    for text in found.sections.values():
        assert len(text.split()) >= 6, text


def test_each_missing_part_has_its_sentence() -> None:
    sections = Outline(page({"name": "bare"})).sections
    said = {key: " ".join(text.split()) for key, text in sections.items()}
    assert said["skin-tone"].endswith("the records do not say which skin tone they show.")
    assert said["calibration"].count("confidences") == 2
    assert said["gallery"].endswith("The report holds no examples.")
    assert said["run"].endswith("this report was made from predictions alone.")


def test_a_run_without_an_evaluation(run: RunStory) -> None:
    sections = Outline(page(None, run=run)).sections
    assert tuple(sections) == ("summary", "run", *WATCHED, "versions", "use")
    assert "holds no evaluation" in sections["summary"]
    assert "Stage 3: diagnosis" in sections["run"]


def test_a_killed_run_is_shown_as_such(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    killed = read_run(write_run(tmp_path / "run", killed=True))
    text = Outline(page(None, run=killed)).sections["run"]
    assert "not finished: stage diagnosis" in text
    assert "1 line is broken in rewards.rank0.jsonl and left out" in text


def test_a_reference_that_cannot_be_beaten_is_none(outline: Outline) -> None:
    summary = " ".join(outline.sections["summary"].split())
    assert "best constant 0.0% (trivially) · prior random 43.4%" in summary
    assert summary.count("better than the best constant answer") == 4
    assert summary.count("better than a prior-random answer") == 2


def test_a_judge_is_introduced(example: dict[str, Any]) -> None:
    account = {
        "model": "judge-7b",
        "prompt": {"name": "ranked", "version": 1, "sha256": "ab" * 32},
        "runs": 3,
        "questions": 120,
        "calls": 360,
        "failures": {"timeout": 4},
        "left_out": 2,
        "seed": 0,
        "agreement": {"items": 118, "unanimous": 0.91, "kappa": 0.8123, "why": ""},
        "notes": ["one note"],
    }
    text = " ".join(Outline(page({**example, "judge": account})).sections["answers"].split())
    for words in ("judge-7b", "majority of 3", "91.0% of 118 items", "0.81", "Failed: timeout4", "one note"):
        assert words in text


def test_images_are_small_and_few_enough(
    tmp_path: Path, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    Image.new("L", (3000, 10)).save(tmp_path / "wide.png")
    Image.new("RGBA", (40, 50)).save(tmp_path / "clear.png")
    cases = {
        "broken.jpg": "image cannot be read",
        "absent.jpg": "image not found",
        "": "no image given",
        "wide.png": "",
        "clear.png": "",
        ".": "image not found",
    }
    pictures = part_gallery._Pictures(tmp_path)
    for name, words in cases.items():
        made, placeholder = pictures.of(name)
        assert (placeholder, made[:23]) == (words, "" if words else "data:image/jpeg;base64,")
    monkeypatch.setattr(part_gallery, "MOST_BYTES", 9_000)
    text = Outline(page(example)).sections["gallery"]
    assert "images were left out to keep the page below its size limit" in text
    assert "image left out: the page is large enough" in text


def test_relative_images_are_looked_up_in_their_folder(tmp_path: Path) -> None:
    Image.new("RGB", (60, 50)).save(tmp_path / "one.png")
    document = {"examples": [{"id": "a", "image": "one.png", "verdict": "correct"}]}
    assert "data:image/jpeg" in page(document, images=tmp_path)
    assert "image not found" in page(document, images=tmp_path / "nowhere")


def test_few_ranks_few_groups(example: dict[str, Any]) -> None:
    """The demo counts three ranks, has one group of skin tones and no malignancy."""
    less = copy.deepcopy(example)
    less["options"]["top_k"] = 3
    less["figures"] = {
        key: value for key, value in less["figures"].items() if key[-2:] not in ("@4", "@5", "@6")
    }
    less["figures"]["safety.malignant_miss@1"] |= {
        "value": None,
        "low": None,
        "high": None,
        "why": "none is malignant",
    }
    less["fairness"]["groups"] = {"by_type": [], "by_pair": less["fairness"]["groups"]["by_pair"][:1]}
    less["fairness"]["gaps"] = []
    sections = Outline(page(less)).sections
    assert "none is malignant" in sections["safety"]
    assert "No gaps: fewer than two groups have enough records." in sections["skin-tone"]
    assert "Top 3" in sections["labels"]


def test_importing_the_page_imports_nothing_heavy() -> None:
    code = (
        "import sys, skinflow_plugins.report.page, skinflow_plugins.report.model_card\n"
        "print(sorted({'numpy', 'matplotlib', 'jinja2', 'PIL', 'torch', 'swift'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
