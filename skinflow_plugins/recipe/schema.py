"""What a recipe is: frozen dataclasses, one per block of the YAML document.

Field names are the YAML keys. Blocks with options of a plug-in (`data`, `model.vision`, each reward) keep
those in a mapping, because the plug-in's signature is their schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from skinflow_plugins.rewards.schedule import Schedule

OTHER_KEYS = MappingProxyType({"other keys": True})
"""Marks the field that takes all keys of its block that are no fields themselves: a plug-in's options."""


@dataclass(frozen=True)
class Vision:
    """`model.vision`: an encoder of the catalogue and its options (all other keys of the block)."""

    encoder: str = "base"
    options: Mapping[str, Any] = field(default_factory=dict, metadata=OTHER_KEYS)

    @property
    def dynamic(self) -> bool:
        """Whether the encoder is the dynamic one, with routers to train."""
        return self.encoder == "dve"


@dataclass(frozen=True)
class Model:
    """`model`: a hub id, a local folder, or `tiny:FAMILY` for a small random model that we build.

    `family` is only needed where the base's own name or config does not tell it. `options` belong to the
    tiny builder (width, depth, seed).
    """

    base: str
    family: str | None = None
    vision: Vision = Vision()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """`data`: a source of the catalogue and its options (all other keys of the block)."""

    source: str
    options: Mapping[str, Any] = field(default_factory=dict, metadata=OTHER_KEYS)


@dataclass(frozen=True)
class Task:
    """`tasks.NAME`: the question asked about an image, and the form of its reference answer.

    `target` is `caption` (the caption fields, `field: value` joined by semicolons) or `ranked_list` (names
    joined by semicolons, the right one first, `length` of them).
    """

    prompt: str
    target: Literal["caption", "ranked_list"]
    length: int = 6


DEFAULT_TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "caption": Task(
            "Describe the skin lesion in this image. Answer with `field: value` pairs, joined by semicolons.",
            "caption",
        ),
        "diagnosis": Task(
            "Which diagnoses are most likely for the skin lesion in this image? Answer with their names, "
            "joined by semicolons, the most likely one first.",
            "ranked_list",
        ),
    }
)
"""Tasks that a recipe can use without defining them; `tasks.NAME` replaces what it gives of one."""


@dataclass(frozen=True)
class Teach:
    """`stages[i].teach.TASK`: what an SFT stage shows of a task.

    `limit` caps the number of training records (None: all). `random` replaces the truth, so that only the
    form is taught: True for the whole answer, or a list of caption fields. A caption value is then that of
    another record drawn at random, with the chance `share`; below 1 a part of the truth is left.
    """

    limit: int | None = None
    random: bool | tuple[str, ...] = False
    share: float = 1.0


@dataclass(frozen=True)
class RewardGate:
    """`gate` of a reward: it counts only where another reward of the stage reaches `at_least`.

    Elsewhere it has its lowest value. Where the other one has no score, this one has none either.
    """

    reward: str
    at_least: float


@dataclass(frozen=True)
class RewardUse:
    """One item of `stages[i].rewards`: a reward of the catalogue, its weight and its options.

    `schedule` changes the weight over the steps of the stage; `deadline` are the seconds that a batch may
    take, by default those that the reward declares.
    """

    name: str
    weight: float = 1.0
    gate: RewardGate | None = None
    schedule: Schedule | None = None
    deadline: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict, metadata=OTHER_KEYS)


@dataclass(frozen=True)
class Gate:
    """`stages[i].gate`: the stage must reach `at_least` in a metric on the validation split."""

    metric: str
    at_least: float
    options: Mapping[str, Any] = field(default_factory=dict, metadata=OTHER_KEYS)


@dataclass(frozen=True)
class Evaluate:
    """`stages[i].evaluate`: the model in training answers questions, greedily, and its figures are logged.

    It does so every `every` steps and after the last one, about `limit` validation records (None: all), drawn
    once for the whole run. Never about test records: a checkpoint that is chosen on them would make the
    table look better than the model. `best` names the figure by which a checkpoint is chosen, kept and linked
    as `best`; with `use_best` it, and not the last one, goes to later stages, to the gate and to the table.
    """

    every: int
    limit: int | None = None
    best: str | None = None
    use_best: bool = False


@dataclass(frozen=True)
class Replay:
    """`stages[i].replay`: a share of each batch asks an earlier stage's task, under that stage's rewards."""

    stage: str
    share: float


@dataclass(frozen=True)
class Tuning:
    """`tuning`: what is trained; `stages[i].tuning` wins over it key by key. None: not given.

    `tuner` is `full`, `lora`, or `routers` (of the dynamic encoder; the language model is frozen), by default
    `full`. `encoder`, the vision encoder, is `trained` or `frozen`, by default trained, and frozen under
    `routers`. The routers of a dynamic encoder are trained in any case. `router_learning_rate` is theirs
    alone, by default that of everything else. `router_weight_decay` pulls their heads to zero, where they do
    nothing; once either of the two is given, it is 0 unless it is given itself.
    """

    tuner: Literal["full", "lora", "routers"] | None = None
    encoder: Literal["trained", "frozen"] | None = None
    router_learning_rate: float | None = None
    router_weight_decay: float | None = None


@dataclass(frozen=True)
class Stage:
    """One stage: one run of `swift sft` or `swift rlhf`. `swift` are that program's own arguments.

    `balance` names a sample column (for instance `diagnosis`) over whose values each batch is balanced.
    `init` says where its model comes from: None for the stage before (or the base, for the first), else the
    name of an earlier stage, or `base`.
    """

    name: str
    kind: Literal["sft", "grpo"]
    task: str | None = None
    teach: Mapping[str, Teach] = field(default_factory=dict)
    rewards: tuple[RewardUse, ...] = ()
    tuning: Tuning = Tuning()
    swift: Mapping[str, Any] = field(default_factory=dict)
    gate: Gate | None = None
    evaluate: Evaluate | None = None
    replay: Replay | None = None
    balance: str | None = None
    init: str | None = None


@dataclass(frozen=True)
class Rollouts:
    """`rollouts`: who samples the completions. All but `engine` belongs to vLLM.

    `mode` is `colocate` (the engine lives in the trainer's processes) or `server` (`skinflow rollout` on
    other GPUs). Nobody waits longer than `timeout` seconds for an answer of a server. `tolerance` is how far
    the engine's log-probabilities (nats, on average over tokens) may be from the trainer's; None: 1e-4 in
    float32 and 0.05 in 16 bits. `options` are swift's own: memory share, sleep level, tensor parallelism.
    """

    engine: Literal["transformers", "vllm"] = "transformers"
    mode: Literal["colocate", "server"] = "colocate"
    timeout: float = 600.0
    tolerance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Speed:
    """`speed`: work that is not done twice, and faster kernels where the machine has them.

    Nothing here changes what is trained. `auto` is on wherever that is safe, and the run says what is off and
    why; `true` is an error where it is not safe; `false` is off.

    `distinct_images`: the vision tower runs once for each distinct image of a forward, not once for each
    completion. `pixel_cache` is the most memory, in MiB for each process, that keeps processed pixels; 0
    keeps none. `old_logprobs`: those of the policy that sampled are taken from the training forward itself
    where that is the same policy, and not computed beforehand. `attention` is the attention kernel
    (`auto`: flash_attn on a GPU that has it). `liger` is Liger's fused GRPO loss.
    """

    distinct_images: bool | Literal["auto"] = "auto"
    pixel_cache: int = 256
    old_logprobs: bool | Literal["auto"] = "auto"
    attention: Literal["auto", "flash_attn", "sdpa", "eager"] = "auto"
    liger: bool | Literal["auto"] = "auto"


@dataclass(frozen=True)
class Launch:
    """`launch`: how stages are started. `inline` runs swift inside our process (one process, no GPU memory
    to give back between stages); `process` starts the `swift` program; `processes` is its NPROC_PER_NODE.
    """

    mode: Literal["process", "inline"] = "process"
    processes: int = 1


@dataclass(frozen=True)
class Evaluation:
    """`eval`: what is measured, greedily, after each stage on a split that no gate looks at.

    `limit` caps the number of records (None: all); `top_k` is the length of the ranked lists that count;
    `permuted` adds a control in which the images are shuffled among the records after the last stage.
    """

    split: Literal["validation", "test"] = "test"
    limit: int | None = None
    top_k: int = 6
    taxonomy: str | None = None
    permuted: bool = True
    batch_size: int = 64
    max_new_tokens: int = 256


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. `captions` is the caption schema: each field with the values it may take.

    `vocabulary` is the name or the file of the words that captions may use for these values, for all rewards
    and metrics that read captions (by default each one's own: `dermatology`).
    `judge` are the settings of the language model that judge-based rewards ask (see
    `skinflow_plugins.judging.Judge`), and `alarms` the limits of what is watched during a run (see
    `skinflow_plugins.monitoring.AlarmSettings`).
    """

    name: str
    model: Model
    data: Data
    stages: tuple[Stage, ...]
    summary: str = ""
    seed: int = 0
    taxonomy: str | None = None
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vocabulary: str | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    tuning: Tuning = Tuning()
    rollouts: Rollouts = Rollouts()
    launch: Launch = Launch()
    speed: Speed = Speed()
    eval: Evaluation = Evaluation()
    judge: Mapping[str, Any] = field(default_factory=dict)
    alarms: Mapping[str, Any] = field(default_factory=dict)
    swift: Mapping[str, Any] = field(default_factory=dict)  # arguments for every stage; a stage's own win

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)
