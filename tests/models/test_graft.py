"""Grafts of every kind of base folder: links, names, moves, and whatever may be wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from skinflow_plugins.errors import InputError
from skinflow_plugins.models import FAMILIES, family_named, graft, load
from skinflow_plugins.models import graft_files as files_module

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LINKS = pytest.mark.parametrize("link", ["symlink", "hardlink", "copy"])


@pytest.fixture
def base(bases: Mapping[str, Path], tmp_path: Path) -> Path:
    """A tiny Qwen2.5-VL of this test's own."""
    return Path(shutil.copytree(bases["qwen2_5_vl"], tmp_path / "base"))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def shard(folder: Path, rename: Callable[[str], str] = str, shards: int = 3) -> Path:
    """The weights of `folder` anew: in shards with an index, or one file, and under other names."""
    tensors = {rename(key): value for key, value in load_file(folder / SINGLE).items()}
    (folder / SINGLE).unlink()
    if shards == 1:
        save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
        return folder
    names = {key: f"model-{1 + n % shards:05}-of-{shards:05}.safetensors" for n, key in enumerate(tensors)}
    for name in set(names.values()):
        part = {key: value for key, value in tensors.items() if names[key] == name}
        save_file(part, folder / name, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": names}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def new_names(key: str) -> str:
    """The names of the modules, which transformers writes when it is told to."""
    if key.startswith("visual."):
        return f"model.{key}"
    return key.replace("model.", "model.language_model.") if key.startswith("model.") else key


def stands_for(out: Path, base: Path) -> bool:
    """Whether a graft holds the very weights of its base, with routers that change nothing."""
    model, plain = load(out), AutoModelForImageTextToText.from_pretrained(base)
    state = model.state_dict()
    heads = [
        v for k, v in state.items() if "dve_router" in k and not k.endswith(("reduce_weight", "norm_weight"))
    ]
    assert heads
    return not any(head.any() for head in heads) and all(
        torch.equal(state[key], value) for key, value in plain.state_dict().items()
    )


def problem(*args: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        graft(*args, **options)
    return str(caught.value)


def nothing_left(folder: Path, *but: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(but)


# ------------------------------------------------------------------------------------------------------------
# Bases of every layout


@LINKS
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("names", [str, new_names], ids=["old names", "new names"])
def test_layouts(base: Path, link: Any, shards: int, names: Any, tmp_path: Path) -> None:
    assert all(key.startswith(("visual.", "model.", "lm_head.")) for key in load_file(base / SINGLE))
    shard(base, names, shards)
    before, out = digests(base), tmp_path / "out"
    report = graft(base, out, link=link)
    assert stands_for(out, base)
    assert digests(base) == before

    index = json.loads((out / INDEX).read_text())["weight_map"]
    weights = {path.name for path in out.glob("base-*.safetensors")}
    assert len(weights) == shards
    assert set(index.values()) == weights | {"dve.safetensors"}
    prefix = names("visual.blocks.2.mlp.")
    assert f"{prefix}down_proj.dve_router.band_weight" in index
    with safe_open(out / "dve.safetensors", "pt") as file:
        assert set(file.keys()) == {key for key, name in index.items() if name == "dve.safetensors"}
    for path in sorted(out.glob("base-*")):
        source = base / (SINGLE if shards == 1 else path.name.replace("base-", "model-"))
        assert path.is_symlink() == (link == "symlink")
        assert path.samefile(source) == (link != "copy")
        if link == "symlink":
            assert not os.path.isabs(os.readlink(path))
    size = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    assert report.linked_bytes == size
    own = [path for path in out.iterdir() if not path.name.startswith("base-")]
    assert report.new_bytes == sum(path.stat().st_size for path in own)


def test_small_files_come_along_and_weights_and_traces_do_not(base: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "training_args.bin", "args.json", "trainer_state.json", "optimizer.pt"):
        (base / name).write_text("{}")
    (base / "README.md").write_text("of the base")
    graft(base, tmp_path / "out")
    small = {path.name for path in base.iterdir()} - {SINGLE}
    traces = {"pytorch_model.bin", "training_args.bin", "args.json", "trainer_state.json", "optimizer.pt"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == (small - traces) | {
        "base-00001-of-00001.safetensors",
        "dve.safetensors",
        "graft.json",
        INDEX,
    }
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    original = json.loads((base / "config.json").read_text())
    assert {key for key in config if config[key] != original.get(key)} == {
        "model_type",
        "architectures",
        "dve",
    }
    mode = (tmp_path / "out").stat().st_mode & 0o777
    (tmp_path / "plain").mkdir()
    assert mode == (tmp_path / "plain").stat().st_mode & 0o777


def cached(base: Path, cache: Path) -> Path:
    """`base` as the hub's cache holds it: a snapshot of links to blobs."""
    root = cache / "models--someone--tiny-vl"
    snapshot = root / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    for folder in (snapshot, root / "blobs", root / "refs"):
        folder.mkdir(parents=True)
    (root / "refs" / "main").write_text(snapshot.name)
    for path in base.iterdir():
        blob = root / "blobs" / hashlib.sha256(path.name.encode()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@LINKS
def test_a_snapshot_of_the_hubs_cache(base: Path, link: Any, tmp_path: Path) -> None:
    snapshot = cached(base, tmp_path / "cache")
    out = tmp_path / "out"
    graft(snapshot, out, link=link)
    assert not (out / "config.json").is_symlink()
    # To the contents, not to the name: the snapshot may go while the blob stays.
    weights = out / "base-00001-of-00001.safetensors"
    assert "snapshots" not in str(weights.resolve())
    if link == "hardlink":
        assert not weights.is_symlink()
    assert stands_for(out, base)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache in an empty folder, without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_hub_id_found_in_the_cache(base: Path, offline: Path, tmp_path: Path) -> None:
    cached(base, offline)
    report = graft("someone/tiny-vl", tmp_path / "out")
    assert "models--someone--tiny-vl" in report.base
    assert stands_for(tmp_path / "out", base)


@pytest.mark.usefixtures("offline")
def test_a_hub_id_that_cannot_be_had(tmp_path: Path) -> None:
    found = problem("someone/else", tmp_path / "out")
    assert "someone/else: is no folder here, and cannot be had from the hub: " in found
    assert nothing_left(tmp_path)


def test_a_folder_before_a_hub_id_of_the_same_name(
    base: Path, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    assert graft(f"{tmp_path.name}/base", tmp_path / "out").base == str(base)


# ------------------------------------------------------------------------------------------------------------
# Folders that were moved, cut or written to


def test_moved_alone(base: Path, tmp_path: Path) -> None:
    graft(base, tmp_path / "out")
    (tmp_path / "far").mkdir()
    shutil.move(tmp_path / "out", tmp_path / "far" / "away")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "far" / "away")
    assert f"base-00001-of-00001.safetensors is missing; it was linked from {base}/{SINGLE}" in str(
        caught.value
    )
    assert "--link copy" in str(caught.value)


@pytest.mark.parametrize("link", ["hardlink", "copy"])
def test_moved_alone_without_symbolic_links(base: Path, link: Any, tmp_path: Path) -> None:
    graft(base, tmp_path / "out", link=link)
    (tmp_path / "far").mkdir()
    shutil.move(tmp_path / "out", tmp_path / "far" / "away")
    assert stands_for(tmp_path / "far" / "away", base)


def test_moved_together(base: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    shutil.move(base, tmp_path / "here" / "base")
    graft(tmp_path / "here" / "base", tmp_path / "here" / "out")
    (tmp_path / "here").rename(tmp_path / "there")
    assert stands_for(tmp_path / "there" / "out", tmp_path / "there" / "base")


def test_into_a_folder_behind_a_link(base: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "short").symlink_to("deep/er")
    graft(base, tmp_path / "short" / "out")
    assert stands_for(tmp_path / "deep" / "er" / "out", base)


def test_a_shard_is_gone_or_another(base: Path, tmp_path: Path) -> None:
    shard(base)
    graft(base, tmp_path / "out")
    (base / "model-00002-of-00003.safetensors").unlink()
    with (base / "model-00003-of-00003.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "out")
    assert "base-00002-of-00003.safetensors is missing" in str(caught.value)
    assert "base-00003-of-00003.safetensors is not what it was when it was grafted" in str(caught.value)
    assert len(caught.value.problems) == 2


def test_the_base_was_trained_since(base: Path, tmp_path: Path) -> None:
    graft(base, tmp_path / "out")
    file = base / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        tensors = {key: 1.5 * opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    save_file(tensors, file, metadata={"format": "pt"})  # of the same size
    with pytest.raises(InputError, match="the base has changed"):
        load(tmp_path / "out")


@LINKS
def test_saving_into_the_graft(
    link: Any, bases: Mapping[str, Path], asked: Callable[..., Any], tmp_path: Path, base: Path
) -> None:
    """The base keeps its bytes; links, index and manifest go; what loads are the new weights."""
    shard(base)
    out = tmp_path / "out"
    graft(base, out, link=link)
    before, model = digests(base), load(out)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.01)
    model.save_pretrained(out)
    assert digests(base) == before
    assert {path.name for path in out.glob("*.safetensors*")} == {SINGLE}
    assert not (out / "graft.json").exists()
    again = load(out).state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())

    model.save_pretrained(out, max_shard_size="300KB")  # and once more, in shards
    assert not (out / SINGLE).exists()
    again = load(out).state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_two_sets_of_weights(base: Path, tmp_path: Path) -> None:
    """Some other program saved into a graft, and left the index to the old weights."""
    graft(base, tmp_path / "out")
    shutil.copy(base / SINGLE, tmp_path / "out" / SINGLE)
    with pytest.raises(
        InputError, match=r"holds two sets of weights: model.safetensors, and the 2 files that"
    ):
        load(tmp_path / "out")
    shard(base)
    shutil.copy(tmp_path / "out" / SINGLE, base / SINGLE)
    assert "holds two sets of weights" in problem(base, tmp_path / "other")


# ------------------------------------------------------------------------------------------------------------
# Bases that cannot be grafted


def test_a_base_without_weights_or_without_a_config(base: Path, tmp_path: Path) -> None:
    (base / SINGLE).unlink()
    assert f"{base}: holds neither {SINGLE} nor {INDEX}" in problem(base, tmp_path / "out")
    (base / "config.json").unlink()
    assert f"{base}: holds no config.json" in problem(base, tmp_path / "out")
    assert "there is no such folder" in problem(tmp_path / "nowhere", tmp_path / "out")
    assert nothing_left(tmp_path, "base")


def test_a_base_in_an_old_format(base: Path, tmp_path: Path) -> None:
    (base / SINGLE).unlink()
    (base / "pytorch_model.bin").write_bytes(b"")
    found = problem(base, tmp_path / "out")
    assert "holds weights as pytorch_model.bin and none as safetensors" in found
    assert "load it in transformers and save it again" in found


@pytest.mark.parametrize("config", [True, False])
def test_an_adapter(base: Path, config: bool, tmp_path: Path) -> None:
    (base / SINGLE).rename(base / "adapter_model.safetensors")
    (base / "adapter_config.json").write_text("{}")
    if not config:  # as PEFT writes it
        (base / "config.json").unlink()
    found = problem(base, tmp_path / "out")
    assert f"{base}: is an adapter, not a model" in found
    assert "swift export --adapters" in found


def test_an_incomplete_base(base: Path, tmp_path: Path) -> None:
    shard(base)
    for number in (2, 3):
        (base / f"model-0000{number}-of-00003.safetensors").write_bytes(b"cut")
    found = problem(base, tmp_path / "out")
    assert "model-00002-of-00003.safetensors: cannot be read: " in found
    assert "model-00003-of-00003.safetensors: cannot be read: " in found
    (base / "model-00002-of-00003.safetensors").unlink()
    found = problem(base, tmp_path / "out")
    assert f"{base}: model-00002-of-00003.safetensors is missing" in found
    assert "download the checkpoint again" in found
    assert nothing_left(tmp_path, "base")


def test_an_index_of_other_shards(base: Path, tmp_path: Path) -> None:
    shard(base)
    index = json.loads((base / INDEX).read_text())
    index["weight_map"]["model.visual.unheard_of"] = "model-00001-of-00003.safetensors"
    (base / INDEX).write_text(json.dumps(index))
    found = problem(base, tmp_path / "out")
    assert "names 1 tensors that are not there, such as 'model.visual.unheard_of' in model-00001" in found


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_an_index_that_is_none(base: Path, text: str, tmp_path: Path) -> None:
    shard(base)
    (base / INDEX).write_text(text)
    assert INDEX in problem(base, tmp_path / "out")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_none(base: Path, text: str, tmp_path: Path) -> None:
    (base / "config.json").write_text(text)
    assert "config.json" in problem(base, tmp_path / "out")


def test_a_quantised_projection(base: Path, tmp_path: Path) -> None:
    tensors = load_file(base / SINGLE)
    key = "visual.blocks.2.mlp.up_proj.weight"
    tensors[key] = tensors[key].to(torch.int8)
    save_file(tensors, base / SINGLE)
    found = problem(base, tmp_path / "out")
    assert f"{key} is I8 of shape [128, 64]; expected a floating-point matrix" in found
    assert "graft first, quantise the rest afterwards" in found


def test_quantised_elsewhere_is_no_matter(base: Path, tmp_path: Path) -> None:
    tensors = load_file(base / SINGLE)
    key = "model.layers.0.self_attn.q_proj.weight"
    tensors[key] = tensors[key].to(torch.int8)
    save_file(tensors, base / SINGLE)
    assert len(graft(base, tmp_path / "out").projections) == 3


def test_a_projection_is_not_there(base: Path, tmp_path: Path) -> None:
    tensors = load_file(base / SINGLE)
    del tensors["visual.blocks.2.mlp.down_proj.weight"]
    save_file(tensors, base / SINGLE)
    found = problem(base, tmp_path / "out")
    assert "no tensor is called ...blocks.2.mlp.down_proj.weight in the vision tower; expected one" in found
    assert "is this a checkpoint of the family qwen2_5_vl" in found


def test_a_dynamic_base(base: Path, tmp_path: Path) -> None:
    graft(base, tmp_path / "out")
    found = problem(tmp_path / "out", tmp_path / "again")
    assert "has a dynamic vision encoder already" in found


def test_an_unknown_family(base: Path, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    found = problem(base, tmp_path / "out")
    assert "is of no known family: its model_type is 'bert'" in found
    assert all(family.name in found for family in FAMILIES)
    assert "is not of the family llava" in problem(base, tmp_path / "out", family=family_named("llava"))


# ------------------------------------------------------------------------------------------------------------
# Outputs that cannot be written


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_an_output_that_exists(base: Path, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    elif kind == "file":
        out.write_text("mine")
    else:
        out.symlink_to("nowhere")
    assert f"{out}: exists already" in problem(base, out)
    assert nothing_left(tmp_path, "base", "out")
    assert kind != "file" or out.read_text() == "mine"


def test_below_a_file(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'}: cannot be written to" in problem(base, tmp_path / "file" / "out")


def test_an_unknown_link(base: Path, tmp_path: Path) -> None:
    found = problem(base, tmp_path / "out", link="reflink")
    assert "link: found 'reflink', expected one of symlink, hardlink, copy" in found


def test_hard_links_across_file_systems_are_seen_before(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Path.stat

    def stat(self: Path, **options: Any) -> Any:
        found = usual(self, **options)
        if self == tmp_path:
            return SimpleNamespace(st_dev=found.st_dev + 1, st_mode=found.st_mode)
        return found

    monkeypatch.setattr(Path, "stat", stat)
    found = problem(base, tmp_path / "out", link="hardlink")
    assert "is on another file system" in found
    assert "use --link symlink" in found


def test_hard_links_across_file_systems_are_seen_at_the_link(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    found = problem(base, tmp_path / "out", link="hardlink")
    assert "a hardlink to" in found
    assert "cannot be made: Invalid cross-device link" in found
    assert nothing_left(tmp_path, "base")


@pytest.mark.parametrize("error", [RuntimeError("full"), KeyboardInterrupt()])
def test_stopped_in_the_middle_it_leaves_nothing(
    base: Path, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    before = digests(base)
    monkeypatch.setattr(files_module, "save_file", fail)
    with pytest.raises(type(error)):
        graft(base, tmp_path / "out", link="copy")
    assert nothing_left(tmp_path, "base")
    assert digests(base) == before


def test_killed_in_the_middle_there_is_no_such_checkpoint(base: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from skinflow_plugins.models.graft import graft, write_folder\n"
        "write_folder.__globals__['save_file'] = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "graft(*sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, str(base), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "out").exists()
    graft(base, tmp_path / "out")  # what is left behind is in nobody's way
    assert stands_for(tmp_path / "out", base)


def test_two_at_once_make_one(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = files_module.save_file

    def meanwhile(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(files_module, "save_file", usual)
        graft(base, tmp_path / "out")
        usual(*args, **options)

    monkeypatch.setattr(files_module, "save_file", meanwhile)
    assert "exists already" in problem(base, tmp_path / "out", bands=2)
    assert nothing_left(tmp_path, "base", "out")
    assert load(tmp_path / "out").config.dve["bands"] == 4


# ------------------------------------------------------------------------------------------------------------
# Choices


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qwen2_5_vl", {"layers": [3]}, "layers: there is no layer 3; the vision tower has 0 to 2"),
        ("qwen2_5_vl", {"layers": [0, 2]}, "layers: layer 0 attends within windows"),
        ("qwen2_5_vl", {"layers": [2, 2]}, "layers: found one layer twice: [2, 2]"),
        ("qwen2_5_vl", {"layers": "all"}, "layers: found 'all'; expected 'full_attention' or 'quarters', or"),
        ("qwen2_5_vl", {"layers": []}, "layers: found []; expected"),
        ("qwen2_5_vl", {"layers": ["2"]}, "layers: "),
        ("llava", {"layers": [2]}, "nobody reads what layer 2 gives: the language model is shown the output"),
        ("llava", {"projections": ["gate"]}, "projections: found 'gate'; this vision tower has up, down"),
        ("llava", {"projections": []}, "projections: found none; this vision tower has up, down"),
        ("llava", {"bands": 100_000}, "bands=100000 for a 128 x 64 weight: its frequency plane has"),
        ("llava", {"bands": 0}, "bands=0 for a 128 x 64 weight"),
        ("llava", {"gates": ["input"]}, "gates: found ['input']; expected 'band' and any of"),
        ("llava", {"router": "layer"}, "router: found 'layer', expected projection or block"),
        ("llava", {"reduction": 0}, "reduction: found 0, expected 1 or more"),
    ],
    ids=str,
)
def test_choices_that_do_not_fit(
    name: str, options: dict[str, Any], message: str, bases: Mapping[str, Path], tmp_path: Path
) -> None:
    assert message in problem(bases[name], tmp_path / "out", **options)
    assert nothing_left(tmp_path)


def test_all_problems_at_once(bases: Mapping[str, Path], tmp_path: Path) -> None:
    wrong = {"layers": [9], "projections": ["gate"], "gates": [], "router": "no", "reduction": 0}
    with pytest.raises(InputError) as caught:
        graft(bases["llava"], tmp_path / "out", **wrong)
    assert {each.path for each in caught.value.problems} == {
        *("layers", "projections", "gates", "router", "reduction")
    }
    with pytest.raises(InputError) as caught:
        graft(bases["llava"], tmp_path / "out", bands=100_000, gates=[])
    assert [each.path for each in caught.value.problems] == ["gates", "bands", "bands"]  # up and down differ


def test_nothing_random_is_disturbed_and_seeds_matter(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        graft(base, tmp_path / name, seed=seed)
    assert torch.equal(torch.rand(1), expected)
    a, b, c = ((tmp_path / name / "dve.safetensors").read_bytes() for name in "abc")
    assert a == b != c


# ------------------------------------------------------------------------------------------------------------
# The report


def test_the_report_counted_by_hand(base: Path, tmp_path: Path) -> None:
    report = graft(base, tmp_path / "out")
    assert (report.family, report.link, report.bands) == ("qwen2_5_vl", "symlink", 4)
    assert (report.base, report.out) == (str(base), str(tmp_path / "out"))
    # 64 -> 128, hidden width 16: the first layer and its norm, then heads with biases for 64 + 128 + 4 gates
    up = 64 * 16 + 16 + (64 + 128 + 4) * 16 + (64 + 128 + 4)
    down = 128 * 16 + 16 + (128 + 64 + 4) * 16 + (128 + 64 + 4)
    found = [
        (each.layer, each.projection, each.in_features, each.out_features) for each in report.projections
    ]
    assert found == [(2, "gate", 64, 128), (2, "up", 64, 128), (2, "down", 128, 64)]
    assert [each.router_parameters for each in report.projections] == [up, up, down]
    assert [each.parameters for each in report.projections] == [64 * 128 + 128, 64 * 128 + 128, 64 * 128 + 64]
    assert [round(each.overhead, 2) for each in report.projections] == [52.55, 52.55, 65.36]
    assert report.added == 2 * up + down == 14_140
    assert report.shared_parameters == 0

    model = AutoModelForImageTextToText.from_pretrained(base)
    tower = sum(each.numel() for each in model.model.visual.parameters())
    assert report.tower_parameters == tower
    assert report.model_parameters == sum(each.numel() for each in model.parameters())
    assert report.tower_overhead == pytest.approx(100 * 14_140 / tower)
    dynamic = load(tmp_path / "out")
    assert sum(each.numel() for each in dynamic.parameters()) == report.model_parameters + report.added

    heads, cells = report.table()
    assert cells[0] == ["2", "gate", "64 -> 128", "8,320", "4,372", "52.55 %"]
    assert len(heads) == len(cells[0])
    assert f"3 projections with 4 bands each; 14,140 parameters added: {report.tower_overhead:.2f} %" in (
        report.summary()
    )
    assert json.loads(json.dumps(report.to_dict()))["projections"][2]["projection"] == "down"


def test_the_report_of_block_routers_and_copies(base: Path, tmp_path: Path) -> None:
    report = graft(base, tmp_path / "out", router="block", gates=["band"], link="copy")
    assert report.shared_parameters == report.added == 64 * 16 + 16 + 3 * (4 * 16 + 4)
    assert [each.router_parameters for each in report.projections] == [0, 0, 0]
    assert report.table()[1][-1] == ["all", "block routers", "", "", "1,244", ""]
    assert report.table()[1][0][-2:] == ["of the block", ""]
    assert "MB copied in" in report.summary()


# ------------------------------------------------------------------------------------------------------------
# A base of real size


def sparse(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of bf16 tensors that takes no room on the disk: its header, and a hole."""
    header, offset = {}, 0
    for key, shape in shapes.items():
        end = offset + 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


def test_a_base_of_16_gb(base: Path, tmp_path: Path) -> None:
    """The tower of Qwen2.5-VL-7B, and a language model of one large matrix in each of eight shards."""
    config = json.loads((base / "config.json").read_text())
    full = [7, 15, 23, 31]
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    config["vision_config"] |= {**vision, "fullatt_block_indexes": full}
    (base / "config.json").write_text(json.dumps(config))
    (base / SINGLE).unlink()
    index = {}
    for number in range(8):
        name = f"model-{number + 1:05}-of-00008.safetensors"
        shapes: dict[str, tuple[int, ...]] = {f"model.layers.{number}.mlp.up_proj.weight": (1_000_000, 960)}
        for block in range(4 * number, 4 * number + 4):
            for linear, (rows, columns) in {
                "gate_proj": (3420, 1280),
                "up_proj": (3420, 1280),
                "down_proj": (1280, 3420),
            }.items():
                shapes[f"visual.blocks.{block}.mlp.{linear}.weight"] = (rows, columns)
                shapes[f"visual.blocks.{block}.mlp.{linear}.bias"] = (rows,)
        sparse(base / name, shapes)
        index |= dict.fromkeys(shapes, name)
    (base / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (base / "vocab.json").write_bytes(bytes(11_500_000))  # as large as the real tokenizer's files together
    assert sum(path.stat().st_size for path in base.glob("*.safetensors")) > 16e9

    started = time.process_time()
    report = graft(base, tmp_path / "out")
    assert time.process_time() - started < 10  # of the processor, whatever else the machine does
    assert report.linked_bytes > 16e9
    assert report.new_bytes < 50e6
    assert [each.layer for each in report.projections] == sorted(full * 3)
    real = sum(path.stat().st_blocks * 512 for path in (tmp_path / "out").iterdir() if not path.is_symlink())
    assert real < 50e6
