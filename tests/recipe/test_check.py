import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import skinflow_plugins.diagnosis
from skinflow_plugins.catalogue import KINDS, Catalogue, Entry
from skinflow_plugins.data.record import Head
from skinflow_plugins.declare import dataset, metric, reward, vision_encoder
from skinflow_plugins.errors import InputError
from skinflow_plugins.models.families import FAMILIES
from skinflow_plugins.recipe import check, checked, load

DEMO_TAXONOMY = Path(skinflow_plugins.diagnosis.__file__).parent / "tables" / "demo.yaml"

# --- a small catalogue -----------------------------------------------------------------------------------


@reward("format")
def form(answer: str, **sample: Any) -> float:
    """Form."""
    return 1.0


@reward("caption_fields", needs=("caption",))
def caption_fields(answer: str, *, fields: Mapping[str, list[str]], **sample: Any) -> float:
    """Fields."""
    return 1.0


@reward("ranked_diagnosis", needs=("diagnosis",))
def ranked(answer: str, *, taxonomy: str, list_length: int = 6, **sample: Any) -> float:
    """Ranks."""
    return 1.0


@reward("tone_fair", needs=("skin_tone",))
def tone(answer: str, **sample: Any) -> float:
    """Tone."""
    return 1.0


@metric("top1")
def top1(predictions: Any, *, taxonomy: str = "demo") -> float:
    """Top-1."""
    return 1.0


def _head(options: Mapping[str, Any]) -> Head:
    if options["train"] == 13:
        raise RuntimeError("unlucky")
    problems = ("train: found 0 records", "nothing to read") if options["train"] == 0 else ()
    return Head(frozenset({"diagnosis", "caption"}), problems)


@dataset("drawn", head=_head)
def drawn(work: Path, *, train: int, size: float = 56.0) -> Any:
    """Drawn."""


@vision_encoder("base")
def base(base: Path, out: Path) -> None:
    """Base."""


@vision_encoder("dve")
def dve(base: Path, out: Path, *, bands: int = 4) -> None:
    """Dynamic."""


def _catalogue() -> Catalogue:
    def table(*values: Any) -> dict[str, Entry]:
        return {value.name: Entry(value.name, value, "tests") for value in values}

    tables: dict[str, Mapping[str, Entry]] = {kind: {} for kind in KINDS}
    tables |= {
        "rewards": table(form, caption_fields, ranked, tone),
        "metrics": table(top1),
        "base_models": table(*FAMILIES),
        "vision_encoders": table(base, dve),
        "datasets": table(drawn),
        "taxonomies": {"demo": Entry("demo", DEMO_TAXONOMY, "skinflow-plugins")},
    }
    return Catalogue(tables, ())


CATALOGUE = _catalogue()


RECIPE = """\
name: right
model:
  base: tiny:qwen2_5_vl
  options: {width: 64, depth: 2}
  vision: {encoder: dve, bands: 2}
taxonomy: demo
captions:
  colour: [red, brown]
  itch: [yes, no]
data:
  source: drawn
  train: 30
swift: {learning_rate: .1, max_steps: 10, save_strategy: best, num_generations: 4, generation_batch_size: 16}
stages:
  - name: warm
    kind: sft
    teach: {caption: {limit: 10, random: [colour]}, diagnosis: {random: true}}
  - name: caption
    kind: grpo
    task: caption
    rewards: [caption_fields, {format: {weight: 0.2}}]
    gate: {metric: top1, at_least: 0.3}
  - name: diagnosis
    kind: grpo
    task: diagnosis
    balance: diagnosis
    replay: {stage: caption, share: 0.25}
    init: warm
    rewards:
      - ranked_diagnosis:
          weight: 1.0
          list_length: 3
    swift: {beta: 0.1}
eval: {top_k: 3, taxonomy: demo}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(text: str, *overrides: str) -> list[str]:
    Path("r.yaml").write_text(text, encoding="utf-8")
    return [str(problem) for problem in check(load("r.yaml", overrides), CATALOGUE)]


def test_a_right_recipe():
    assert problems(RECIPE) == []
    recipe = checked(load("r.yaml"), CATALOGUE)
    assert recipe.captions["itch"] == ("yes", "no")
    assert recipe.tasks["caption"].target == "caption"
    assert recipe.stages[2].rewards[0].options == {"list_length": 3}


# --- one mistake each: (what is replaced, by what, the problem's beginning, its hint) ----------------------

MISTAKES = [
    # keys and types
    ("name: right", "nmae: right", "r.yaml:1: nmae: unknown key 'nmae'; did you mean 'name'?", ""),
    ("name: right", "summary: x", "r.yaml: name: is missing; expected text", ""),
    ("name: right", "name: 7", "r.yaml:1: name: found 7, expected text", ""),
    ("name: right", "name: a/b", "r.yaml:1: name: 'a/b' cannot name a folder", "letters, digits"),
    ("  base: tiny:qwen2_5_vl\n", "", "r.yaml:2: model.base: is missing", ""),
    (
        "kind: grpo\n    task: caption",
        "kind: gprp\n    task: caption",
        "r.yaml:19: stages[1].kind: found 'gprp', expected one of 'sft', 'grpo'; did you mean 'grpo'?",
        "",
    ),
    ("    gate:", "    gaet:", "r.yaml:22: stages[1].gaet: unknown key 'gaet'; did you mean 'gate'?", ""),
    (
        "at_least: 0.3",
        "at_least: '0.3'",
        "r.yaml:22: stages[1].gate.at_least: found '0.3', expected a number",
        "write 0.3 without quotes; from an environment variable, ${oc.decode:${oc.env:NAME}}",
    ),
    (
        "{limit: 10, random",
        "{limit: 1.5, random",
        "r.yaml:17: stages[0].teach.caption.limit: found 1.5, expected a",
        "",
    ),
    ("random: true", "random: always", "found 'always', expected true or false or a list of text", ""),
    ("itch: [yes, no]", "itch: [true, no]", "r.yaml:9: captions.itch[0]: found true, expected text", ""),
    (
        "itch: [yes, no]",
        "itch: [yes, yes]",
        "r.yaml:9: captions.itch: found ['yes', 'yes'], expected values",
        "",
    ),
    (
        "taxonomy: demo\ncap",
        "taxonomy: demmo\ncap",
        "r.yaml:6: taxonomy: unknown taxonomy 'demmo'; did you mean 'demo'?",
        "",
    ),
    ("top_k: 3", "top_k: 0", "r.yaml:34: eval.top_k: found 0, expected 1 or more", ""),
    # model
    (
        "tiny:qwen2_5_vl",
        "tiny:qwen3_5_vl",
        "r.yaml:3: model.base: unknown base model 'qwen3_5_vl'; did you mean",
        "",
    ),
    (
        "width: 64",
        "width: 50",
        "r.yaml:4: model.options.width: found 50, expected a whole number from 32 on and a",
        "",
    ),
    (
        "width: 64",
        "wdth: 64",
        "r.yaml:4: model.options.wdth: unknown option 'wdth'; did you mean 'width'",
        "",
    ),
    (
        "tiny:qwen2_5_vl\n  options: {width: 64, depth: 2}",
        "someone/odd-model",
        "r.yaml:3: model.base: cannot tell which family 'someone/odd-model' belongs to",
        "set model.family to one of",
    ),
    (
        "tiny:qwen2_5_vl\n  options: {width: 64, depth: 2}",
        "./missing",
        "r.yaml:3: model.base: there is no folder",
        "",
    ),
    (
        "tiny:qwen2_5_vl\n  options: {width: 64, depth: 2}",
        "qwen",
        "'qwen' is no hub id, and there is no such",
        "",
    ),
    (
        "encoder: dve",
        "encoder: dvee",
        "r.yaml:5: model.vision.encoder: unknown vision encoder 'dvee'; did you",
        "",
    ),
    ("bands: 2", "band: 2", "r.yaml:5: model.vision.band: unknown option 'band'; did you mean 'bands'?", ""),
    # data
    (
        "source: drawn",
        "source: drawm",
        "r.yaml:11: data.source: unknown dataset 'drawm'; did you mean 'drawn'?",
        "",
    ),
    (
        "  train: 30",
        "  trian: 30",
        "r.yaml:12: data.trian: unknown option 'trian'; did you mean 'train'?",
        "",
    ),
    ("  train: 30\n", "", "r.yaml:10: data.train: option 'train' is required (train: int)", ""),
    ("  train: 30", "  train: 0", "r.yaml:12: data.train: found 0 records", ""),
    ("  train: 30", "  train: 0", "r.yaml:10: data: nothing to read", ""),
    (
        "  train: 30",
        "  train: 13",
        "r.yaml:10: data: the source 'drawn' failed: RuntimeError: unlucky",
        "comes from tests",
    ),
    # stages
    ("name: caption\n", "name: warm\n", "r.yaml:18: stages[1].name: a second stage named 'warm'", ""),
    ("name: warm", "name: a/b", "r.yaml:15: stages[0].name: 'a/b' cannot name a stage's folder", ""),
    ("name: warm", "name: base", "r.yaml:15: stages[0].name: 'base' is what `init` calls the base model", ""),
    (
        "init: warm",
        "init: wram",
        "r.yaml:28: stages[2].init: 'wram' is no earlier stage; did you mean 'warm'?",
        "",
    ),
    (
        "task: diagnosis\n    bal",
        "task: diagnose\n    bal",
        "r.yaml:25: stages[2].task: unknown task 'diagnose'; did",
        "",
    ),
    ("    task: diagnosis\n", "", "r.yaml:23: stages[2].task: is missing; a grpo stage asks one task", ""),
    (
        "    teach: {caption: {limit: 10, random: [colour]}, diagnosis: {random: true}}\n",
        "",
        "r.yaml:15: stages[0].teach: is missing; an sft stage says what it teaches",
        "for example teach:",
    ),
    (
        "kind: sft",
        "kind: sft\n    task: caption",
        "r.yaml:17: stages[0].task: only grpo stages have 'task'",
        "",
    ),
    (
        "random: [colour]",
        "random: [color]",
        "teach.caption.random[0]: 'color' is no field of `captions:`; did you",
        "",
    ),
    (
        "captions:\n  colour: [red, brown]\n  itch: [yes, no]\n",
        "",
        "r.yaml: captions: is missing; the task 'caption' asks for captions",
        "",
    ),
    (
        "stage: caption, share",
        "stage: warm, share",
        "stages[2].replay.stage: 'warm' is no earlier grpo stage",
        "",
    ),
    (
        "share: 0.25",
        "share: 1.0",
        "r.yaml:27: stages[2].replay.share: found 1.0, expected a share between",
        "",
    ),
    (
        "metric: top1",
        "metric: top2",
        "r.yaml:22: stages[1].gate.metric: unknown metric 'top2'; did you mean 'top1'?",
        "",
    ),
    (
        "balance: diagnosis",
        "balance: skin_tone",
        "stages[2].balance: batches are balanced over the column 'skin_tone', which the source",
        "it has: caption, diagnosis, id",
    ),
    # rewards
    (
        "          list_length: 3",
        "          list_lenght: 3",
        "r.yaml:32: stages[2].rewards[0].ranked_diagnosis.list_lenght: unknown option 'list_lenght'; did "
        "you mean "
        "'list_length'?",
        "",
    ),
    (
        "          weight: 1.0",
        "          wieght: 1.0",
        "ranked_diagnosis.wieght: unknown option 'wieght'; did you mean 'weight'?",
        "",
    ),
    (
        "          list_length: 3",
        "          list_length: '3'",
        "'3' does not fit `list_length: int = 6`",
        "write 3 without",
    ),
    (
        "          weight: 1.0",
        "          weight: .nan",
        "ranked_diagnosis.weight: found nan, expected a finite number",
        "",
    ),
    ("          weight: 1.0", "          weight: 0", "r.yaml:29: stages[2].rewards: every weight is 0", ""),
    (
        "      - ranked_diagnosis:",
        "      - ranked_diagnose:",
        "unknown reward 'ranked_diagnose'; did you mean",
        "",
    ),
    (
        "[caption_fields, {",
        "[format, {",
        "r.yaml:21: stages[1].rewards[1].format: the reward 'format' stands twice",
        "",
    ),
    (
        "[caption_fields, {",
        "[tone_fair, {",
        "r.yaml:21: stages[1].rewards[0]: the reward 'tone_fair' needs the column 'skin_tone'",
        "it has:",
    ),
    (
        "{format: {weight: 0.2}}",
        "{format: 0.2}",
        "rewards[1].format: found 0.2, expected a mapping of weight and",
        "write format: {weight: 0.2}",
    ),
    (
        "{format: {weight: 0.2}}",
        "{format: {}, weight: 2}",
        "rewards[1]: found {'format': {}, 'weight': 2}, expected one",
        "indent the options below the name",
    ),
    (
        "    rewards: [caption_fields, {format: {weight: 0.2}}]\n",
        "",
        "r.yaml:18: stages[1].rewards: is missing; a grpo stage has at least one reward",
        "",
    ),
    (
        "taxonomy: demo\ncap",
        "cap",
        "ranked_diagnosis.taxonomy: option 'taxonomy' is required",
        "give it here, or give the recipe a `taxonomy:` for all",
    ),
    # swift
    (
        "{beta: 0.1}",
        "{beta: 0.1, lr: 1}",
        "r.yaml:33: stages[2].swift.lr: swift has no argument 'lr'",
        "written out",
    ),
    (
        "{beta: 0.1}",
        "{beta: null}",
        "r.yaml:33: stages[2].swift.beta: 'beta' is null, which swift would read as",
        "leave",
    ),
    (
        "{beta: 0.1}",
        "{output_dir: x}",
        "stages[2].swift.output_dir: 'output_dir' is set by skinflow itself",
        "use the",
    ),
    (
        "swift: {learning_rate: .1, ",
        "swift: {learning_rate: fast, ",
        "r.yaml:13: swift.learning_rate: found 'fast', but swift's 'learning_rate' is a number",
        "",
    ),
    (
        "    teach: {",
        "    swift: {beta: 0.1}\n    teach: {",
        "r.yaml:17: stages[0].swift.beta: 'beta' is an argument of grpo stages, not of sft stages",
        "move it to",
    ),
    (
        "max_steps: 10, ",
        "",
        "r.yaml:15: stages[0].swift.max_steps: is missing; give max_steps or num_train_epochs",
        "",
    ),
    (
        "max_steps: 10",
        "max_steps: 0",
        "r.yaml:13: swift.max_steps: max_steps or num_train_epochs must be above 0",
        "",
    ),
    (
        "num_generations: 4",
        "num_generations: 5",
        "r.yaml:13: swift.num_generations: 16 completions per generation batch cannot be cut",
        "",
    ),
    # rollouts, launch
    (
        "eval:",
        "launch: {mode: inline, processes: 2}\neval:",
        "r.yaml:34: launch.processes: inline runs in one",
        "",
    ),
    (
        "eval:",
        "launch: {processes: 0}\neval:",
        "r.yaml:34: launch.processes: found 0, expected 1 or more",
        "",
    ),
    (
        "eval:",
        "rollouts: {engine: vlm}\neval:",
        "r.yaml:34: rollouts.engine: found 'vlm', expected one of",
        "",
    ),
    (
        "eval:",
        "rollouts: {mode: server}\neval:",
        "r.yaml:34: rollouts.mode: 'mode' belongs to vLLM",
        "engine: vllm",
    ),
    (
        "eval:",
        "rollouts: {engine: vllm, options: {vllm_max_model_length: 9}}\neval:",
        "rollouts.options.vllm_max_model_length: swift has no argument 'vllm_max_model_length'; did you mean",
        "",
    ),
]


@pytest.mark.parametrize(("old", "new", "beginning", "hint"), MISTAKES, ids=lambda text: text[:30].strip())
def test_mistakes(old: str, new: str, beginning: str, hint: str):
    assert old in RECIPE
    found = problems(RECIPE.replace(old, new, 1))
    match = [problem for problem in found if beginning in problem]
    assert len(match) == 1, found
    assert hint in match[0].partition("\n")[2]


def test_one_mistake_is_one_problem():
    """A value that is faulty in shape draws no second complaint."""
    for old, new in [
        ("kind: grpo\n    task: caption", "kind: gprp\n    task: caption"),
        ("    gate:", "    gaet:"),
        ("    rewards: [cap", "    rewrads: [cap"),
        ("  base: tiny", "  bsae: tiny"),
        ("source: drawn", "source: 7"),
        ("at_least: 0.3", "at_least: high"),
        ("stages:", "stages: 3\nsummary: |"),
    ]:
        expected = 2 if "gprp" in new else 1  # the replayed stage is then no grpo stage either
        assert len(problems(RECIPE.replace(old, new, 1))) == expected, new


def test_ten_mistakes_in_one_go_in_the_order_of_the_file():
    text = RECIPE
    for old, new in [
        ("name: right", "name: right\nsede: 3"),
        ("tiny:qwen2_5_vl", "tiny:qwen"),
        ("bands: 2", "bands: two"),
        ("taxonomy: demo\ncap", "taxonomy: dmo\ncap"),
        ("size", "size"),
        ("  train: 30", "  train: many"),
        ("save_strategy: best", "save_strategy: maybe"),
        ("[caption_fields, {", "[caption_feilds, {"),
        ("metric: top1", "metric: best"),
        ("share: 0.25", "share: 2"),
        ("list_length: 3", "list_lenght: 3"),
    ]:
        text = text.replace(old, new, 1)
    found = problems(text, "eval.top_k=none")
    assert [problem.partition(": ")[2].partition(": ")[0] for problem in found] == [
        "sede",
        "model.base",
        "model.vision.bands",
        "taxonomy",
        "data.train",
        "swift.save_strategy",
        "stages[1].rewards[0]",
        "stages[1].gate.metric",
        "stages[2].replay.share",
        "stages[2].rewards[0].ranked_diagnosis.list_lenght",
        "eval.top_k",
    ]
    assert found[0].startswith("r.yaml:2: ")
    assert found[-1].startswith("command line: ")
    with pytest.raises(InputError) as caught:
        checked(load("r.yaml", ["eval.top_k=none"]), CATALOGUE)
    assert len(caught.value.problems) == 11


def test_a_mistake_in_the_parent_names_the_parent():
    Path("parent.yaml").write_text(RECIPE.replace("list_length: 3", "list_lenght: 3"))
    found = problems("extends: parent\nname: c\nstages:\n  diagnosis:\n    swift:\n      beta: high\n")
    assert [problem.partition(": found")[0].partition(": unknown")[0] for problem in found] == [
        "r.yaml:6: stages[2].swift.beta",
        "parent.yaml:32: stages[2].rewards[0].ranked_diagnosis.list_lenght",
    ]


def test_local_base_models(here: Path):
    text = RECIPE.replace("tiny:qwen2_5_vl\n  options: {width: 64, depth: 2}", "./ckpt")
    folder = here / "ckpt"
    folder.mkdir()
    assert "model.base: the folder './ckpt' holds no config.json" in problems(text)[0]
    (folder / "config.json").write_text("{")
    found = problems(text)
    assert "model.base: the folder './ckpt' holds no weights" in found[0]
    assert "model.base: cannot read the config.json" in found[1]
    (folder / "model.safetensors").touch()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "model.base: cannot tell which family './ckpt' belongs to" in problems(text)[0]
    assert problems(text, "model.family=llava") == []
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    assert problems(text) == []


def test_taxonomies_may_be_files(here: Path):
    (here / "own.yaml").write_text(DEMO_TAXONOMY.read_text())
    assert problems(RECIPE, "taxonomy=own.yaml") == []
    (here / "own.yaml").write_text("concepts: [")
    assert "own.yaml:2: this is not YAML" in problems(RECIPE, "taxonomy=own.yaml")[0]


def test_checkpoints_must_be_kept_and_whole() -> None:
    assert (
        "swift.save_strategy: found 'no'" in problems(RECIPE.replace("_strategy: best", "_strategy: no"))[0]
    )
    assert "swift.save_only_model: is true" in problems(RECIPE, "swift.save_only_model=true")[0]


def test_tuners_must_hand_over() -> None:
    found = problems(RECIPE, "stages.warm.tuning.tuner=lora")
    assert "full tuning cannot start from the adapter of 'warm'" in found[0]
    assert problems(RECIPE, "tuning.tuner=lora") == []
    assert "found 'adalora'" in problems(RECIPE, "swift.tuner_type=adalora")[0]


def test_columns_are_not_judged_while_the_data_is_wrong():
    found = problems(RECIPE.replace("[caption_fields", "[tone_fair"), "data.train=0")
    assert not any("skin_tone" in problem for problem in found)


def test_reading_and_checking_import_nothing_heavy():
    code = """if True:
        import sys
        from skinflow_plugins.catalogue import KINDS, Catalogue
        from skinflow_plugins.recipe import check, load
        loaded = load("r.yaml", ["seed=${eval.top_k}"])
        assert len(check(loaded, Catalogue({kind: {} for kind in KINDS}, ()))) > 5
        print([name for name in ("torch", "swift", "transformers", "trl", "numpy") if name in sys.modules])
    """
    Path("r.yaml").write_text(RECIPE)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[]", run.stderr


ODD = [None, -1, "3", {"a": None}, [None, {}, {"a": 3}, ["a"]]]


def test_no_value_anywhere_makes_the_check_fail():
    """Whatever stands at whatever place, the answer is a list of problems."""
    import yaml

    from skinflow_plugins.recipe.lines import leaves, parse, plain

    tree, _ = parse(RECIPE, "r.yaml")
    for odd in ODD:
        paths = {path[:length] for path, _ in leaves(tree) for length in range(1, len(path) + 1)}
        for path in sorted(paths, key=str):
            document = plain(parse(RECIPE, "r.yaml")[0])
            inner = document
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = odd
            Path("r.yaml").write_text(yaml.safe_dump(document))
            for problem in check(load("r.yaml"), CATALOGUE):
                assert problem.message
