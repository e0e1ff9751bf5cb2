"""The page opened in a real browser: narrow and wide, light and dark, offline, with hostile text in it.

Needs playwright and a Chromium on the path. Without them the tests are skipped, or fail where
SKINFLOW_NEED_BROWSER=1 says that there must be one. SKINFLOW_SHOTS=DIR keeps screenshots of the whole page.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.report.page import write_page
from skinflow_plugins.report.run_story import read_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
COMBINATIONS = [(width, scheme) for width in (400, 1400) for scheme in ("light", "dark")]
SECTIONS = 18
# Every element with text of its own, and what it stands on: colours as they are painted.
CONTRASTS = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *:not(svg *):not(svg)')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([ratio, element.tagName + '.' + element.className + ': ' + element.textContent.slice(0, 40)]);
  }
  return found;
}"""
PLOT_TEXT = """() => {
  const card = getComputedStyle(document.querySelector('.plot')).backgroundColor;
  return [...document.querySelectorAll('svg.chart text')].map(text => {
    const chart = text.ownerSVGElement;
    const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
    return [parseFloat(getComputedStyle(text).fontSize) * scale, getComputedStyle(text).fill, card];
  });
}"""
# How far texts of one plot lie on each other or leave it, in pixels, at worst.
COLLISIONS = """() => [...document.querySelectorAll('svg.chart')].flatMap(chart => {
  const frame = chart.getBoundingClientRect();
  const texts = [...chart.querySelectorAll('text')];
  const boxes = texts.map(text => [text.getBoundingClientRect(), text.textContent]);
  const found = [];
  boxes.forEach(([a, word], at) => {
    const beside = a.left < frame.left - 1 || a.right > frame.right + 1;
    if (beside || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
      found.push(chart.id + ' cuts off ' + word);
    boxes.slice(at + 1).forEach(([b, other]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 3) found.push(chart.id + ': ' + word + ' on ' + other);
    });
  });
  return found;
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    needed = os.environ.get("SKINFLOW_NEED_BROWSER") == "1"
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        reason = "playwright is not installed"
        pytest.fail(reason) if needed else pytest.skip(reason)
    if executable is None:
        reason = f"no browser on the path: looked for {', '.join(BROWSERS)}"
        pytest.fail(reason) if needed else pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(
    tmp_path_factory: pytest.TempPathFactory, example: dict[str, Any], write_run: Callable[..., Path]
) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    return write_page(example, folder, run=read_run(write_run(folder / "run")))


class Visit:
    """The page in one window, and everything that the browser had to say about it."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str) -> None:
        self.name = f"{width}-{scheme}"
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.said.append("a dialog opened"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_load_state("networkidle")


@pytest.fixture(scope="module", params=COMBINATIONS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def visit(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Visit]:
    made = Visit(browser, file, *request.param)
    yield made
    if shots := os.environ.get("SKINFLOW_SHOTS"):
        Path(shots).mkdir(parents=True, exist_ok=True)
        made.page.screenshot(path=str(Path(shots) / f"report-{made.name}.png"), full_page=True)
    made.context.close()


def test_it_says_nothing_and_asks_for_nothing(visit: Visit, file: Path) -> None:
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith("data:")] == [file.as_uri()]


def test_everything_is_there(visit: Visit) -> None:
    page = visit.page
    assert page.locator("main > section").count() == SECTIONS
    assert page.locator("svg.chart").count() >= 26
    assert page.locator("svg.chart").count() == page.locator("figure details table").count()
    assert page.locator("main table").count() >= 60
    assert page.locator(".gallery img").count() == 6
    assert page.locator(".card").count() == 6
    sizes = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.naturalHeight])")
    assert all(0 < max(size) <= 256 for size in sizes)


def test_nothing_is_wider_than_the_window(visit: Visit) -> None:
    visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    widths = visit.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths[0] <= widths[1]
    wide = visit.page.evaluate(
        "[...document.querySelectorAll('.box, .plot, .card, .example, pre')]"
        ".filter(each => each.getBoundingClientRect().right > innerWidth + 1).map(each => each.className)"
    )
    assert wide == []
    visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = false)")


def test_text_stands_out_from_its_ground(visit: Visit) -> None:
    visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = visit.page.evaluate(CONTRASTS)
    visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = false)")
    assert len(found) > 1_000
    assert [each for each in found if each[0] < 4.5] == []


def test_plots_can_be_read(visit: Visit) -> None:
    found = visit.page.evaluate(PLOT_TEXT)
    assert len(found) > 250
    assert min(size for size, _, _ in found) >= 9
    for _, fill, card in found:
        if fill not in ("rgb(255, 255, 255)", "rgb(16, 21, 26)"):  # on the parts of stacked bars, see below
            assert contrast(fill, card) >= 4.5
    assert visit.page.evaluate(COLLISIONS) == []


def test_marks_stand_out_from_their_ground(visit: Visit) -> None:
    """Lines against the card by 3 to 1, words on the parts of stacked bars by 4.5."""
    colours = visit.page.evaluate(
        """() => Object.fromEntries(['card', 'on-part', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'part-correct',
        'part-subtype', 'part-wrong', 'part-critical'].map(name => {
          const probe = document.body.appendChild(document.createElement('i'));
          probe.style.color = `var(--${name})`;
          const colour = getComputedStyle(probe).color;
          probe.remove();
          return [name, colour];
        }))"""
    )
    for name, colour in colours.items():
        if name.startswith("c") and name != "card":
            assert contrast(colour, colours["card"]) >= 3, name
        if name.startswith("part-"):
            assert contrast(colours["on-part"], colour) >= 4.5, name


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((light(one), light(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_hostile_text_is_seen_and_not_run(visit: Visit) -> None:
    text = visit.page.inner_text("main")
    for words in (
        "<script>alert('x')</script>",
        "</style><img src=x onerror=alert(1)>",
        "{{ 7 * 7 }} {% raw %}",
        "lone \ufffd surrogate",
        "[U+202E]gnisrever[U+202C]",
        "$\\frac{1}{2}$ & &lt;b&gt; ]]> -->",
    ):
        assert words in text
    assert visit.page.locator("script, main style, [onerror], [onload]").count() == 0


def test_the_colours_can_be_chosen(visit: Visit) -> None:
    def ground() -> str:
        return str(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    before = ground()
    seen = {}
    for scheme in ("light", "dark", "auto"):
        visit.page.locator(f"label:has(#scheme-{scheme})").click()
        seen[scheme] = ground()
    assert seen["auto"] == before == seen[visit.name.partition("-")[2]]
    assert seen["light"] != seen["dark"]


def test_the_contents_lead_to_the_sections(visit: Visit) -> None:
    links = visit.page.locator("nav.contents a")
    assert links.count() == SECTIONS
    for at in (3, SECTIONS - 1, 0):
        target = links.nth(at).get_attribute("href")
        visit.page.goto(visit.page.url.partition("#")[0] + str(target))
        assert visit.page.evaluate("document.querySelector(':target').tagName") == "SECTION"
    shown = visit.page.locator("nav.contents").bounding_box()
    first = visit.page.locator("main").bounding_box()
    beside = shown["x"] + shown["width"] <= first["x"]
    assert beside == visit.name.startswith("1400")


def test_wide_tables_scroll_inside_their_box(visit: Visit) -> None:
    boxes = visit.page.evaluate(
        "[...document.querySelectorAll('#confusion .heat-map')].map(box => [box.scrollWidth, "
        "box.clientWidth])"
    )
    assert len(boxes) == 3
    if visit.name.startswith("400"):
        assert all(inside > outside for inside, outside in boxes)
    else:
        assert all(inside <= outside for inside, outside in boxes)


def test_a_bare_report_and_a_killed_run(browser: Any, tmp_path: Path, write_run: Callable[..., Path]) -> None:
    killed = read_run(write_run(tmp_path / "run", killed=True))
    for file in (
        write_page({"name": "bare"}, tmp_path / "a.html"),
        write_page(None, tmp_path / "b.html", run=killed),
    ):
        visit = Visit(browser, file, 400, "light")
        assert visit.said == []
        widths = visit.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths[0] <= widths[1]
        visit.context.close()


def test_print_is_light_and_complete(browser: Any, file: Path) -> None:
    visit = Visit(browser, file, 1400, "dark")
    visit.page.emulate_media(media="print")
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not visit.page.locator("nav.contents").is_visible()
    assert visit.page.locator("#labels .box").evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    visit.context.close()
