"""What the tests of the bridge share: a recipe that really trains in seconds, and one run of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from skinflow_plugins.bridge import results
from skinflow_plugins.catalogue import Catalogue, catalogue
from skinflow_plugins.recipe.check import checked
from skinflow_plugins.recipe.load import Loaded, load
from skinflow_plugins.recipe.plan import Plan, StagePlan

TINY = Path(__file__).with_name("tiny.yaml")
"""A recipe of three stages with few records, few steps and a small model."""


@dataclass(frozen=True)
class Finished:
    """A whole run inside this process: its folder, its table, and what it said."""

    root: Path
    rows: Sequence[results.Row]
    said: Sequence[str]


@pytest.fixture(scope="session")
def tiny() -> Path:
    return TINY


@pytest.fixture(scope="session")
def read() -> Callable[..., tuple[Loaded, Catalogue]]:
    """The tiny recipe with these overrides, checked."""

    def read_recipe(*overrides: str) -> tuple[Loaded, Catalogue]:
        loaded = load(TINY, overrides)
        checked(loaded, catalogue())
        return loaded, catalogue()

    return read_recipe


@pytest.fixture(scope="session")
def swift() -> Iterator[None]:
    """swift in this process, offline, with as many threads as the child processes of the tests have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, read: Callable[..., tuple[Loaded, Catalogue]], swift: None
) -> Finished:
    """The tiny recipe, run to its end inside this process."""
    from skinflow_plugins.bridge.run import run

    root = tmp_path_factory.mktemp("finished") / "run"
    said: list[str] = []
    return Finished(root, run(*read(), root, said.append), said)


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start `skinflow ARGUMENTS` as a process group of its own; its output goes to the file `log`."""

    def start_process(*arguments: object, log: Path, **options: Any) -> subprocess.Popen[str]:
        with log.open("w") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "skinflow_plugins.cli", *map(str, arguments)],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                **options,
            )

    return start_process


# --- the dynamic vision encoder ---------------------------------------------------------------------------

DYNAMIC = Path(__file__).with_name("dynamic.yaml")
"""A recipe with a dynamic vision encoder; `Lab` trains its stages one by one."""

Start = Literal["zero", "random", "plain", "fresh"]
"""A graft as it is made, whose routers are the identity; one whose routers are not; the base of both; and one
that the recipe makes for itself."""

TELL_APART = '''
from skinflow_plugins.declare import reward
from skinflow_plugins.hookspecs import hookimpl


@reward("tell_apart", low=0.0, high=1.0)
def tell_apart(answer: str, **sample: object) -> float:
    """Differs between any two completions, so that an untrained model gets advantages and gradients."""
    return sum((place + 1) * ord(letter) for place, letter in enumerate(answer)) % 97 / 96


@hookimpl
def skinflow_rewards() -> list:
    return [tell_apart]
'''


@dataclass(frozen=True)
class Trained:
    """One stage, trained by `Lab.train`, with a checkpoint after every step."""

    plan: Plan
    stage: StagePlan
    forwards: Sequence[tuple[Mapping[str, Any], Any]] = field(repr=False)
    """Of each step of a GRPO stage: what went through the model, and the mask of the completions."""
    model: Any = field(repr=False)
    """The trainer's model as it was at the end, in the memory of this process."""

    @property
    def folder(self) -> Path:
        return Path(self.plan.folder(self.stage))

    @property
    def base(self) -> Path:
        """The full checkpoint that the stage, or the adapter, started from."""
        return Path(str(self.stage.arguments["model"].value))

    def checkpoint(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}"

    def steps(self) -> list[dict[str, Any]]:
        """What swift logged of each step."""
        rows = [json.loads(line) for line in (self.folder / "logging.jsonl").read_text().splitlines()]
        return [row for row in rows if "grad_norm" in row]

    def load(self, step: int) -> Any:
        """The model after a step, by transformers, PEFT and our package alone; 0 is before the first one."""
        from peft import PeftModel

        from skinflow_plugins.models import load as load_model

        if self.stage.arguments["tuner_type"].value == "full":
            return load_model(self.checkpoint(step) if step else self.base)
        earlier = self.stage.arguments.get("adapters")
        adapter = self.checkpoint(step) if step else (Path(earlier.value[0]) if earlier else None)
        model = load_model(self.base)
        return model if adapter is None else PeftModel.from_pretrained(model, str(adapter)).eval()


class Lab:
    """Trains stages of the dynamic recipe inside this process, each but once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self._trained: dict[tuple[object, ...], Trained] = {}
        self._models: dict[Start, Path] = {}
        about = self.site / "skinflow_tell_apart-1.0.dist-info"
        about.mkdir(parents=True)
        (self.site / "skinflow_tell_apart.py").write_text(TELL_APART)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: skinflow-tell-apart\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[skinflow]\ntell_apart = skinflow_tell_apart\n")

    @contextlib.contextmanager
    def reward(self) -> Iterator[None]:
        """This process with the third party's reward; nobody else's tests shall find it in the catalogue."""
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(self.site))
            catalogue.cache_clear()
            yield
        catalogue.cache_clear()

    def model(self, start: Start) -> Path:
        """The folder of a model to start from."""
        if not self._models:
            self._models = self._build()
        return self._models[start]

    def _build(self) -> dict[Start, Path]:
        import torch
        from safetensors.torch import load_file, save_file

        from skinflow_plugins.bridge.run import prepare_run

        root = self.folder / "models"
        with self.reward():
            loaded = load(DYNAMIC)
            checked(loaded, catalogue())
            prepare_run(loaded, catalogue(), root, lambda _: None)
        made: dict[Start, Path] = {
            "plain": root / "plain",
            "zero": root / "base",
            "random": root / "random",
        }
        shutil.copytree(made["zero"], made["random"], symlinks=True)
        file = made["random"] / "dve.safetensors"
        generator = torch.Generator().manual_seed(1)
        heads = {
            name: value if value.any() else 0.3 * torch.randn(value.shape, generator=generator)
            for name, value in load_file(file).items()
        }
        save_file(heads, file, metadata={"format": "pt"})
        return made

    def plan(self, *overrides: str, start: Start = "zero", root: Path | None = None) -> Plan:
        """The recipe with these changes, planned and prepared in a folder of its own."""
        from skinflow_plugins.bridge.run import prepare_run

        root = root or self.folder / f"run-{len(list(self.folder.glob('run-*')))}"
        given = overrides
        if start == "plain":
            given = ("model.vision.encoder=base", *overrides)
        with self.reward():
            loaded = load(DYNAMIC, given)
            checked(loaded, catalogue())
            root.mkdir()
            if start != "fresh":  # `run` leaves a base alone that is there already
                (root / "plain").symlink_to(self.model("plain"))
                (root / "base").symlink_to(self.model(start))
            return prepare_run(loaded, catalogue(), root, lambda _: None)[0]

    def train(self, *overrides: str, start: Start = "zero", stage: str = "first") -> Trained:
        """A stage under the recipe with these changes; the same request is trained once.

        `second` starts from what `first` left, under the same changes.
        """
        request = (*overrides, start, stage)
        if request not in self._trained:
            if stage == "second":
                plan = self.train(*overrides, start=start).plan
            else:
                plan = self.plan(*overrides, start=start)
            self._trained[request] = self.run(plan, stage)
        return self._trained[request]

    def run(self, plan: Plan, stage: str, *more: str) -> Trained:
        """A stage of a plan, with `more` arguments of swift; it goes on where a checkpoint says so."""
        from swift.rlhf_trainers.grpo_trainer import GRPOTrainer
        from swift.trainers.mixin import SwiftMixin

        from skinflow_plugins.bridge.launch import launch
        from skinflow_plugins.bridge.swift_yaml import arguments_of

        planned = next(each for each in plan.stages if each.stage.name == stage)
        forwards: list[tuple[Mapping[str, Any], Any]] = []
        models: list[Any] = []

        def loss(trainer: Any, model: Any, inputs: Any, batch: Any) -> Any:
            kept = dict(inputs) | {"logits_to_keep": batch.logits_to_keep + 1}
            forwards.append((kept, batch.completion_mask.clone()))
            return original_loss(trainer, model, inputs, batch)

        def train(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
            models.append(trainer.model)
            return original_train(trainer, *arguments, **keywords)

        original_loss, original_train = GRPOTrainer._compute_loss_and_metrics, SwiftMixin.train
        with self.reward(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(GRPOTrainer, "_compute_loss_and_metrics", loss)
            patch.setattr(SwiftMixin, "train", train)
            argv = [*arguments_of(planned), *more]
            launch(plan.recipe.launch, planned.command, argv, planned.environment, what=stage)
        return Trained(plan, planned, forwards, models[-1].eval())

    def in_two_processes(self, worker: str, work: object, folder: Path) -> None:
        """Two processes of torchrun (gloo, CPU) run a program; its argument is a file with `work` as JSON."""
        (folder / "worker.py").write_text(worker)
        (folder / "work.json").write_text(json.dumps(work))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
                *("--master_port", str(port), str(folder / "worker.py"), str(folder / "work.json")),
            ],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "PYTHONPATH": os.pathsep.join([str(self.site), os.environ.get("PYTHONPATH", "")]),
            },
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, swift: None) -> Lab:
    """Stages of the dynamic recipe, trained inside this process when a test asks for them."""
    return Lab(tmp_path_factory.mktemp("dynamic"))


@pytest.fixture(scope="session")
def log_probabilities() -> Callable[..., Any]:
    """Of the completions in one of `Trained.forwards`, under a model: (rows, tokens)."""

    def compute(model: Any, forward: tuple[Mapping[str, Any], Any]) -> Any:
        import torch

        inputs, mask = forward
        width = mask.shape[1]
        with torch.no_grad():
            logits = model(**inputs).logits[:, -width - 1 : -1].float()
        spoken = inputs["input_ids"][:, -width:, None]
        return logits.log_softmax(-1).gather(-1, spoken)[..., 0]

    return compute
