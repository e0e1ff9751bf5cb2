import importlib
from pathlib import Path
from textwrap import dedent

import pytest

from skinflow_plugins.declare import reward
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe.load import Loaded, filled_options, load, shipped

PARENT = """\
name: parent
summary: the parent
model: {base: "tiny:qwen2_5_vl"}
data: {source: jsonl, root: /images, train: "${data.root}/train.jsonl"}
swift: {learning_rate: 1e-4, max_steps: 10}
stages:
  - name: caption
    kind: grpo
    task: caption
    rewards:
      - caption_fields: {weight: 1.0}
      - format
    swift: {learning_rate: 1e-6, beta: 0.1}
  - name: diagnosis
    kind: grpo
    task: diagnosis
    rewards: [format]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


def said(loaded: Loaded) -> str:
    return "\n".join(str(problem) for problem in loaded.problems)


def refused(name: str, **keywords: object) -> str:
    with pytest.raises(InputError) as caught:
        load(name, **keywords)  # type: ignore[arg-type]
    return str(caught.value)


# --- extends ---------------------------------------------------------------------------------------------


def test_extends_interpolation_and_overrides_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMAGES", "/from/env")
    write("parent.yaml", PARENT)
    write("middle.yaml", "extends: parent\nname: middle\ndata: {root: '${oc.env:IMAGES}'}\n")
    write(
        "child.yaml",
        """\
        extends: middle
        name: child
        stages:
          caption:
            swift: {learning_rate: "${swift.learning_rate}"}
        """,
    )
    loaded = load(
        "child.yaml", ["swift.learning_rate=3e-5", "stages.diagnosis.swift.beta=${stages[0].swift.beta}"]
    )
    assert loaded.problems == ()
    recipe = loaded.recipe
    assert [file.name for file in loaded.files] == ["child.yaml", "middle.yaml", "parent.yaml"]
    assert (recipe.name, recipe.summary) == ("child", "")
    assert recipe.data.options["train"] == "/from/env/train.jsonl"
    assert recipe.stage("caption").swift == {"learning_rate": 3e-5, "beta": 0.1}
    assert recipe.stage("diagnosis").swift == {"beta": 0.1}
    assert [use.name for use in recipe.stages[0].rewards] == ["caption_fields", "format"]


def test_differences_of_stages():
    write("parent.yaml", PARENT)
    write(
        "child.yaml",
        """\
        extends: ./parent.yaml
        name: child
        swift: {max_steps: null}
        stages:
          caption: null
          diagnosis: {rewards: [ranked]}
          polish: {kind: grpo, task: diagnosis, rewards: [format]}
        """,
    )
    recipe = load("child.yaml").recipe
    assert [stage.name for stage in recipe.stages] == ["diagnosis", "polish"]
    assert [use.name for use in recipe.stages[0].rewards] == ["ranked"]
    assert recipe.swift == {"learning_rate": 1e-4}


def test_a_list_of_stages_replaces():
    write("parent.yaml", PARENT)
    write(
        "child.yaml",
        "extends: parent\nname: c\nstages: [{name: only, kind: sft, teach: {diagnosis: null}}]\n",
    )
    recipe = load("child.yaml").recipe
    assert [stage.name for stage in recipe.stages] == ["only"]
    assert recipe.stages[0].teach["diagnosis"].limit is None


def test_stages_by_name_need_no_parent():
    write("r.yaml", PARENT.partition("stages:")[0] + "stages: {one: {kind: sft, teach: {diagnosis: {}}}}\n")
    assert load("r.yaml").recipe.stages[0].name == "one"


def test_another_source_starts_the_block_afresh():
    write("parent.yaml", PARENT)
    write("child.yaml", "extends: parent\nname: c\ndata: {source: synthetic, train: 10}\n")
    assert load("child.yaml").recipe.data.options == {"train": 10}
    options = load("parent.yaml", ["data.train=12", "data.source=synthetic"]).recipe.data.options
    assert options == {"train": 12}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            "captoin: {swift: {beta: 0.2}}",
            "child.yaml:4: stages.captoin: no stage 'captoin' to change; did you",
        ),
        (
            "caption: {name: other}",
            "child.yaml:4: stages.caption.name: the stage under the key 'caption' calls",
        ),
    ],
)
def test_wrong_differences(stages: str, message: str):
    write("parent.yaml", PARENT)
    write("child.yaml", f"extends: parent\nname: c\nstages:\n  {stages}\n")
    assert message in said(load("child.yaml"))


def test_a_name_is_not_inherited():
    write("parent.yaml", PARENT)
    write("child.yaml", "extends: parent\n")
    assert "child.yaml: name: is missing; expected text" in said(load("child.yaml"))


def test_cycles_are_shown():
    write("a.yaml", "extends: b\n")
    write("b.yaml", "extends: sub/c.yaml\n")
    write("sub/c.yaml", "extends: ../a.yaml\n")
    message = refused("a.yaml")
    assert "sub/c.yaml:1: extends: recipes extend each other in a circle" in message
    assert "a.yaml -> b.yaml -> sub/c.yaml -> a.yaml" in message
    write("self.yaml", "name: x\nextends: self\n")
    assert "self.yaml:2: extends: recipes extend each other in a circle: self.yaml -> self.yaml" in refused(
        "self.yaml"
    )


def test_a_recipe_may_extend_its_namesake_further_away():
    folder = write("lib/house.yaml", PARENT).parent
    write("house.yaml", "extends: house\nname: mine\n")
    assert load("house.yaml", recipe_dirs=[folder]).recipe.name == "mine"
    assert load("house", recipe_dirs=[folder]).recipe.name == "parent"


def test_unknown_parent_gets_the_nearest_name():
    write("quick_start.yaml", PARENT)
    write("child.yaml", "name: c\nextends: quickstart_\n")
    message = refused("child.yaml")
    assert "child.yaml:2: extends: there is no recipe 'quickstart_'" in message
    assert "'quick_start'" in message
    write("child.yaml", "extends: [a, b]\n")
    assert "child.yaml:1: extends: found ['a', 'b'], expected the name or the path of one recipe" in refused(
        "child.yaml"
    )


# --- files -----------------------------------------------------------------------------------------------


def test_unknown_recipes_get_the_nearest_name():
    folder = write("lib/flagship.yaml", PARENT).parent
    assert "there is no recipe 'flagshp'\n    did you mean 'flagship'?" in refused(
        "flagshp", recipe_dirs=[folder]
    )
    assert "lib/flagshp.yaml: there is no such file\n    did you mean 'flagship'?" in refused(
        "lib/flagshp.yaml"
    )


def test_without_shipped_recipes(monkeypatch: pytest.MonkeyPatch):
    module = importlib.import_module("skinflow_plugins.recipe.load")  # the package's `load` is the function
    monkeypatch.setattr(module, "SHIPPED", "no_such_skinflow_recipes")
    assert shipped() == ()
    assert "there is no recipe 'quickstart'\n    no recipes were found there" in refused("quickstart")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", "r.yaml:2: not YAML: "),
        ("a:\n\tb: 1\n", "r.yaml:2: not YAML: found character '\\t'"),
        ("name: x\nprompt: say: this\n", "r.yaml:2: not YAML: mapping values are not allowed here"),
        ("a: !python/object x\n", "r.yaml:1: not YAML: could not determine a constructor"),
        ("a: &x [*x]\n", "r.yaml:1: not YAML: an alias that holds itself"),
        ("a: 1\n---\nb: 2\n", "r.yaml:2: not YAML: but found another document"),
        ("a: 1\nb: \x07\n", "r.yaml:2: a character that YAML does not allow"),
        ("- a\n", "r.yaml: found a list, expected a mapping"),
        ("", "r.yaml: found nothing, expected a mapping"),
        ("? [a]\n: b\n", "r.yaml:1: not YAML: a key must be text"),
    ],
)
def test_what_is_no_recipe(text: str, message: str):
    write("r.yaml", text)
    assert message in refused("r.yaml")


def test_not_utf8_and_unreadable():
    Path("r.yaml").write_bytes(b"name: x\nsummary: \xe9\n")
    assert "r.yaml:2: not UTF-8 text" in refused("r.yaml")
    Path("d.yaml").mkdir()
    assert "d.yaml: is a folder, not a recipe" in refused("d.yaml")


def test_double_keys_are_found():
    write("r.yaml", PARENT.replace("    task: caption\n", "    task: caption\n    kind: sft\n"))
    loaded = load("r.yaml")
    assert "r.yaml:10: the key 'kind' stands twice in one mapping; first on line 8" in said(loaded)
    assert loaded.mapping["stages"][0]["kind"] == "grpo"


def test_yaml_1_2_scalars_and_merge_keys():
    write(
        "r.yaml",
        """\
        base: &base {a: 1e-6, b: no, c: 012, d: 1:30, e: 2024-01-01}
        more: {<<: *base, a: 1.5E+3, f: true, g: ~, h: -.5, i: 1_000, j: .inf, k: 0x10}
        """,
    )
    mapping = load("r.yaml").mapping
    assert mapping["base"] == {"a": 1e-6, "b": "no", "c": 12, "d": "1:30", "e": "2024-01-01"}
    more = {"a": 1500.0, "f": True, "g": None, "h": -0.5, "i": 1000, "j": float("inf"), "k": 16}
    assert mapping["more"] == mapping["base"] | more


# --- overrides -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "stages.caption.swift.beta",
        "stages.0.swift.beta",
        "stages[0].swift.beta",
        "--stages[caption].swift.beta",
    ],
)
def test_ways_to_address_a_stage(key: str):
    write("r.yaml", PARENT)
    recipe = load("r.yaml", [f"{key}=0.5"]).recipe
    assert recipe.stages[0].swift == {"learning_rate": 1e-6, "beta": 0.5}
    assert recipe.stages[1].swift == {}


def test_overrides_reach_rewards_new_blocks_and_all_stages():
    write("r.yaml", PARENT)
    recipe = load(
        "r.yaml",
        [
            "stages.caption.rewards.format.weight=0.3",
            "stages.caption.rewards.0.caption_fields.weight=2",
            "stages.diagnosis.gate={metric: top1, at_least: 0.2}",
            "stages.*.swift.max_steps=3",
            "eval.limit=7",
            "swift.learning_rate=null",
            "summary=a=b, c",
        ],
    ).recipe
    assert [use.weight for use in recipe.stages[0].rewards] == [2, 0.3]
    assert recipe.stages[1].gate is not None
    assert recipe.stages[1].gate.at_least == 0.2
    assert [stage.swift["max_steps"] for stage in recipe.stages] == [3, 3]
    assert (recipe.eval.limit, recipe.summary) == (7, "a=b, c")
    assert "learning_rate" not in recipe.swift


def test_an_override_can_drop_a_stage():
    write("r.yaml", PARENT)
    assert [stage.name for stage in load("r.yaml", ["stages.caption=null"]).recipe.stages] == ["diagnosis"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.caption", "command line: 'stages.caption' is not of the form key=value"),
        ("a..b=1", "command line: 'a..b=1' is not of the form key=value"),
        ("stages.captain.task=x", "command line: stages: no item 'captain' here; did you mean 'caption'?"),
        (
            "stages.7.task=x",
            "command line: stages: no item '7' here; known: caption, diagnosis, or a position below 2",
        ),
        ("name.x=1", "command line: name: cannot set 'x' inside it: it is 'parent'"),
        ("seed=[1", "command line: 'seed=[1': not YAML: "),
        ("sed=1", "command line: sed: unknown key 'sed'; did you mean 'seed' or 'speed'?"),
        ("seed='7'", "command line: seed: found '7', expected a whole number"),
        (
            "stages.caption.swfit.beta=1",
            "command line: stages[0].swfit: unknown key 'swfit'; did you mean 'swift'?",
        ),
        ("extends=other", "command line: extends: unknown key 'extends'"),
    ],
)
def test_wrong_overrides(override: str, message: str):
    write("r.yaml", PARENT)
    assert message in said(load("r.yaml", [override]))


# --- interpolation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "${data.rot}/x",
            "r.yaml:18: taxonomy: cannot resolve '${data.rot}/x': Interpolation key 'data.rot' not found",
        ),
        ("${oc.env:NO_SUCH_NAME}", "Environment variable 'NO_SUCH_NAME' not found"),
        ("${data.root", "r.yaml:18: taxonomy: cannot read the interpolation '${data.root'"),
        ("${taxonomy}", "r.yaml:18: taxonomy: cannot resolve '${taxonomy}'"),
        ("???", "r.yaml:18: taxonomy: no value is given\n    set it in a recipe that extends this one"),
    ],
)
def test_wrong_interpolations(line: str, message: str):
    write("r.yaml", PARENT + f"taxonomy: {line!r}\n")
    problems = load("r.yaml").problems
    assert len(problems) == 1
    assert message in str(problems[0])


def test_interpolation_of_numbers_and_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEPS", "20")
    text = PARENT.replace("max_steps: 10", "max_steps: '${oc.decode:${oc.env:STEPS}}'")
    write("r.yaml", text + "    swift: ${stages[0].swift}\n")
    recipe = load("r.yaml").recipe
    assert recipe.swift["max_steps"] == 20
    assert recipe.stages[1].swift == recipe.stages[0].swift


# --- filled options --------------------------------------------------------------------------------------


def test_filled_options():
    @reward("names")
    def names(answer: str, *, fields: list[str], taxonomy: str = "x", **sample: object) -> float:
        """Names."""
        return 0.0

    @reward("values")
    def values(answer: str, *, fields: dict[str, list[str]], **sample: object) -> float:
        """Values."""
        return 0.0

    write("r.yaml", PARENT + "taxonomy: demo\ncaptions: {colour: [red, blue]}\n")
    recipe = load("r.yaml").recipe
    assert filled_options(recipe, names, {}) == {"fields": ["colour"], "taxonomy": "demo"}
    assert filled_options(recipe, values, {}) == {"fields": {"colour": ["red", "blue"]}}
    assert filled_options(recipe, names, {"taxonomy": "own", "fields": ["a"]}) == {
        "taxonomy": "own",
        "fields": ["a"],
    }
