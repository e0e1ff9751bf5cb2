"""`skinflow serve`: what is refused, what vLLM is told, merged adapters, templates, and a real server."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from skinflow_plugins.bridge import serve
from skinflow_plugins.bridge.checkpoint_source import find, open_source
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli import serve as verb
from skinflow_plugins.cli.parser import parse
from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.models import FAMILIES, build_tiny, graft, load

QUESTION = "What is shown?"
NAMES = [family.name for family in FAMILIES]
Skinflow = Callable[..., Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny(family)`: a base, made once."""
    root = tmp_path_factory.mktemp("tiny")

    def get(name: str) -> Path:
        if not (root / name).exists():
            build_tiny(name, root / name, vocabulary=[QUESTION, *serve.QUESTION.split()], width=64, depth=3)
        return root / name

    return get


@pytest.fixture(scope="module")
def dve(tiny: Callable[[str], Path]) -> Path:
    """A dynamic model whose routers do something."""
    out = tiny("qwen2_5_vl").with_name("dve")
    graft(tiny("qwen2_5_vl"), out)
    file, generator = out / "dve.safetensors", torch.Generator().manual_seed(0)
    tensors = load_file(file)
    for name, value in tensors.items():
        if "dve_router" in name and not name.endswith(("reduce_weight", "norm_weight")):
            tensors[name] = 0.5 * torch.randn(value.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})
    return out


@pytest.fixture
def with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if vLLM were installed, on a machine without an accelerator."""
    monkeypatch.setattr(serve, "_without_vllm", lambda: iter(()))
    monkeypatch.setattr(serve, "on_cpu", lambda: True)


def trained(folder: Path, to: Path, **arguments: Any) -> Path:
    """A copy of a checkpoint as swift leaves it."""
    shutil.copytree(folder, to)
    (to / "args.json").write_text(json.dumps({"model_type": "known", **arguments}))
    return to


def subject_of(folder: Path) -> serve.Subject:
    return serve.look_up(str(folder), catalogue())


# --- the command line ---------------------------------------------------------------------------------------


def test_what_stands_behind_the_dashes_is_for_vllm() -> None:
    words = ["serve", "x", "--port", "9", "--", "--max-num-seqs", "4", "--", "-y"]
    arguments = parse(words)
    assert (arguments.checkpoint, arguments.port) == ("x", 9)
    assert arguments.further == ("--max-num-seqs", "4", "--", "-y")
    assert parse(["serve", "x"]).further == ()


def test_an_unknown_option_is_ours_to_refuse(skinflow: Skinflow) -> None:
    done = skinflow("serve", "x", "--prot", "9")
    assert (done.code, done.out) == (2, "")
    assert "unknown option '--prot'; did you mean '--port'" in done.err
    assert "expected a number from 0 to 65535" in skinflow("serve", "x", "--port", "70000").err


def test_a_run_names_model_and_question(dve: Path, tmp_path: Path) -> None:
    recipe = {
        "name": "try",
        "eval": {"max_new_tokens": 48},
        "tasks": {"diagnosis": {"prompt": "name it's kind"}},
        "stages": [{"name": "warmup"}, {"name": "diagnosis", "task": "diagnosis"}],
    }
    checkpoint = trained(dve, tmp_path / "run/stages/2-diagnosis/checkpoint-8", system="Be brief.")
    (tmp_path / "run/run.json").write_text(json.dumps({"recipe": recipe}))
    (checkpoint.parent / "final").symlink_to("checkpoint-8")
    (checkpoint.parent / "done.json").write_text("{}")
    subject = subject_of(tmp_path / "run")
    assert (subject.name, subject.model) == ("try-diagnosis", str(checkpoint))
    text = verb.greeting(subject, subject.name, "http://127.0.0.1:8000", keyed=True)
    for expected in ("http://127.0.0.1:8000/v1\n", "name it's kind", "Be brief.", "$OPENAI_API_KEY"):
        assert expected in text
    # The shell gives curl what was meant, and Python's lines are Python.
    line = next(line for line in text.splitlines() if line.startswith("curl"))
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    body = json.loads(words[-1])
    assert body["max_tokens"] == 48
    assert [each["role"] for each in body["messages"]] == ["system", "user"]
    assert [each["type"] for each in body["messages"][1]["content"]] == ["image_url", "text"]
    code = text[text.index("import base64") :]
    assert len(code.splitlines()) == 5
    compile(code, "example", "exec")


# --- refusals -----------------------------------------------------------------------------------------------


def test_every_mistake_at_once_before_anything_starts(
    skinflow: Skinflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    real = serve.importlib.util.find_spec
    monkeypatch.setattr(
        serve.importlib.util, "find_spec", lambda name: None if name == "vllm" else real(name)
    )
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = skinflow(
            "serve", "nobody/nothing", "--port", port, "--", "--model", "x", "--served_model_name=y"
        )
    assert (done.code, done.out) == (2, "")
    assert "5 problems" in done.err
    for text in (
        "vLLM is not installed",
        f"127.0.0.1:{port} cannot be listened on: Address already in use",
        "--model stands among vLLM's own arguments",
        "--served-model-name stands among vLLM's own arguments",
        "nobody/nothing: is no folder here, and cannot be had from the hub",
    ):
        assert text in done.err


@pytest.mark.usefixtures("with_vllm")
def test_a_folder_that_is_no_checkpoint(skinflow: Skinflow, tmp_path: Path) -> None:
    done = skinflow("serve", tmp_path, "--port", "0")
    assert done.code == 2
    assert "holds neither config.json nor adapter_config.json" in done.err


@pytest.mark.usefixtures("with_vllm")
def test_more_than_the_memory_holds(dve: Path, skinflow: Skinflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "free_memory", lambda: 6 * 2**30)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    assert serve.check(serve.Order(str(dve), port=0), catalogue()).family is not None
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "30")
    done = skinflow("serve", dve, "--port", "0")
    assert done.code == 2
    assert "needs about 32.0 GiB" in done.err
    assert "and this machine has 6.0 GiB" in done.err


@pytest.mark.usefixtures("with_vllm")
def test_other_logits_processors_only_beside_ours(dve: Path) -> None:
    with pytest.raises(InputError, match="lets image tokens into answers"):
        serve.check(serve.Order(str(dve), port=0, further=("--logits-processors", "a:B")), catalogue())
    both = ("--logits-processors", "a:B", serve.NO_PLACEHOLDERS)
    serve.check(serve.Order(str(dve), port=0, further=both), catalogue())


@pytest.mark.usefixtures("with_vllm")
def test_a_dynamic_family_that_vllm_does_not_know(dve: Path, tmp_path: Path) -> None:
    folder = trained(dve, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "skinflow_other"}))
    with pytest.raises(InputError, match="a skinflow_other cannot run in vLLM"):
        serve.check(serve.Order(str(folder), port=0), catalogue())


# --- what vLLM is told --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_vllm")
def test_arguments_of_a_family_that_we_know(dve: Path) -> None:
    order = serve.Order(str(dve), name="judge", further=("--dtype=bfloat16", "--max-num-seqs", "2"))
    argv = serve.arguments_of(subject_of(dve), str(dve), order, 8001)
    assert argv[:8] == [
        *("--model", str(dve), "--served-model-name", "judge"),
        *("--host", "127.0.0.1", "--port", "8001"),
    ]
    assert argv[argv.index("--limit-mm-per-prompt") + 1] == '{"image": 4, "video": 0}'
    assert argv[argv.index("--logits-processors") + 1] == serve.NO_PLACEHOLDERS
    assert "--enforce-eager" in argv
    assert "--dtype" not in argv
    assert argv[-3:] == ["--dtype=bfloat16", "--max-num-seqs", "2"]


@pytest.mark.usefixtures("with_vllm")
def test_arguments_of_any_other_model(tmp_path: Path) -> None:
    config = {"model_type": "llama", "text_config": {"dtype": "bfloat16"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    subject = subject_of(tmp_path)
    argv = serve.arguments_of(subject, subject.model, serve.Order(str(tmp_path)), 1)
    assert argv[argv.index("--dtype") + 1] == "bfloat16"
    assert "--logits-processors" not in argv
    assert "--limit-mm-per-prompt" not in argv
    assert serve.compare_templates(subject, serve.Order(str(tmp_path)), catalogue()) == (None, "")
    assert "image" not in verb.greeting(subject, "x", "http://x", keyed=False)


@pytest.mark.usefixtures("with_vllm")
def test_the_environment_holds_the_key_and_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    found = serve.environment_of(serve.Order("x", api_key="secret"))
    assert found["VLLM_API_KEY"] == "secret"
    assert (found["VLLM_NO_USAGE_STATS"], found["VLLM_CPU_KVCACHE_SPACE"]) == ("1", str(serve.CPU_CACHE))


# --- adapters -----------------------------------------------------------------------------------------------


def adapter(base: Path, out: Path, seed: int = 0) -> Path:
    """A LoRA adapter of a dynamic model that changes what it computes."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    get_peft_model(load(base), config).save_pretrained(out)
    told = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": str(base)}))
    return out


def logits(model: Any, processor: Any) -> torch.Tensor:
    text = "<|vision_start|><|image_pad|><|vision_end|>What is shown?"
    batch = processor(text=[text], images=[picture()], return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits


def test_an_adapter_is_merged_once(dve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source, said = find(adapter(dve, tmp_path / "adapter")), []
    out = serve.merged(source, catalogue(), said.append)
    assert out.parent == tmp_path / "cache/skinflow/merged"
    model, processor = open_source(source, catalogue())
    expected = logits(model, processor)
    assert (logits(load(out), processor) - expected).abs().max() < 1e-5
    assert (logits(load(dve), processor) - expected).abs().max() > 1e-3  # there was something to merge
    assert (out / "tokenizer.json").is_file()

    before = (out / "merged.json").stat().st_mtime_ns
    assert serve.merged(source, catalogue(), said.append) == out
    assert (out / "merged.json").stat().st_mtime_ns == before
    assert [line.partition(" /")[0] for line in said] == [
        "merging the adapter into",
        "the adapter was merged before:",
    ]
    # Other weights are another model; a folder that is none stays as it is.
    adapter(dve, tmp_path / "adapter", seed=1)
    other = serve._merged_root(source) / f"adapter-{serve.fingerprint(source)[:12]}"
    assert other != out
    other.mkdir()
    (other / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="nothing was touched"):
        serve.merged(source, catalogue(), said.append)
    assert sorted(out.parent.iterdir()) == sorted([out, other])


def test_the_merged_model_of_a_run_stands_in_it(dve: Path, tmp_path: Path) -> None:
    recipe = {"name": "try", "stages": [{"name": "diagnosis"}]}
    found = adapter(dve, tmp_path / "run/stages/1-diagnosis/checkpoint-8")
    (tmp_path / "run/run.json").write_text(json.dumps({"recipe": recipe}))
    out = serve.merged(find(found), catalogue(), lambda _: None)
    assert out.parent == tmp_path / "run/merged"
    assert out.name.startswith("1-diagnosis-checkpoint-8-")
    assert not list((tmp_path / "run/stages/1-diagnosis").glob("checkpoint-8?*"))


def test_a_merge_that_fails_leaves_nothing(
    dve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(serve, "open_source", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        serve.merged(find(adapter(dve, tmp_path / "adapter")), catalogue(), lambda _: None)
    assert not list((tmp_path / "cache/skinflow/merged").iterdir())


# --- templates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", NAMES)
def test_a_chat_is_what_the_training_saw(family: str, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    subject = subject_of(trained(tiny(family), tmp_path / "trained"))
    chat, note = serve.compare_templates(subject, serve.Order(subject.model), catalogue())
    assert note == ""
    assert chat is not None
    images = [subject.config.get(key) for key in ("image_token_id", "image_token_index")]
    assert max(chat.ids.count(each) for each in images) >= 16


def test_a_system_message_and_a_smaller_image(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = trained(tiny("qwen2_5_vl"), tmp_path / "trained", system="Be brief.")
    subject = subject_of(folder)
    chat, _ = serve.compare_templates(subject, serve.Order(str(folder)), catalogue())
    assert chat is not None
    assert "Be brief." in chat.tokenizer.decode(chat.ids)
    (folder / "args.json").write_text(json.dumps({"max_pixels": 56 * 56}))
    with pytest.raises(InputError, match="is the first that differs"):
        serve.compare_templates(subject, serve.Order(str(folder)), catalogue())


def test_another_template_is_refused_with_both_texts(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = trained(tiny("internvl"), tmp_path / "trained")
    file = folder / "chat_template.jinja"
    right = file.read_text()
    assert "<IMG_CONTEXT>\\n" in right
    file.write_text(right.replace("<IMG_CONTEXT>\\n", "<IMG_CONTEXT>\\n\\n"))
    (tmp_path / "right.jinja").write_text(right)
    subject = subject_of(folder)
    with pytest.raises(InputError) as caught:
        serve.compare_templates(subject, serve.Order(str(folder)), catalogue())
    text = str(caught.value)
    assert "is the first that differs" in text
    assert "chat:     " in text
    assert "training: " in text
    assert "--any-template" in text

    chat, note = serve.compare_templates(subject, serve.Order(str(folder), any_template=True), catalogue())
    assert chat is None
    assert note.startswith("the chat template is not the one of the training")
    cured = serve.Order(str(folder), further=("--chat-template", str(tmp_path / "right.jinja")))
    assert serve.compare_templates(subject, cured, catalogue())[1] == ""
    # Nobody trained this one with swift, so it keeps its own template.
    (folder / "args.json").unlink()
    chat, note = serve.compare_templates(subject_of(folder), serve.Order(str(folder)), catalogue())
    assert chat is None
    assert note.startswith("swift would train it with another template")


# --- the process, with a stand-in for vLLM ------------------------------------------------------------------

STAND_IN = """
import http.server, os, signal, subprocess, sys, time
kind, port = sys.argv[1], int(sys.argv[2])
if kind == "dies":
    print("(EngineCore pid=7) ERROR 11-22 08:00:00 [core.py:1] ValueError: no room")
    print("RuntimeError: Engine core initialization failed.")
    sys.exit(3)
# An engine that heeds no signal but the last.
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], serve.Server]]:
    """`stand_in(kind)`: a server whose process is the script above."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(serve, "MODULE", "stand_in")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    logs = []

    def make(kind: str) -> serve.Server:
        port = serve.free_port("127.0.0.1")
        server = serve.Server([kind, str(port)], environment, "127.0.0.1", port)
        logs.append(server.log)
        return server

    yield make
    for log in logs:
        log.unlink(missing_ok=True)


def process_of(server: serve.Server) -> psutil.Process:
    """The engine of a stand-in."""
    return psutil.Process(int(server.log.read_text().split()[1]))


def ends(process: psutil.Process, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_no_process_outlives_the_server(stand_in: Callable[[str], serve.Server]) -> None:
    with stand_in("serves") as server:
        server.wait_ready()
        engine = process_of(server)
        assert server.url.startswith("http://127.0.0.1:")
    assert ends(engine)
    assert server.child is not None
    assert server.child.returncode == -signal.SIGTERM


def test_a_server_that_dies_is_reported(stand_in: Callable[[str], serve.Server]) -> None:
    with stand_in("dies") as server, pytest.raises(WorkFailed) as caught:
        server.wait_ready()
    text = str(caught.value)
    assert "ended with exit code 3 before it was ready" in text
    assert text.splitlines()[1:] == [
        "    ValueError: no room",
        "    RuntimeError: Engine core initialization failed.",
    ]


def test_a_killed_server_is_reported(stand_in: Callable[[str], serve.Server]) -> None:
    with stand_in("serves") as server:
        server.wait_ready()
        engine = process_of(server)
        assert server.child is not None
        os.kill(server.child.pid, signal.SIGKILL)
        with pytest.raises(WorkFailed, match=r"was killed by SIGKILL while it was serving(.|\n)*child \d"):
            server.wait()
    assert ends(engine)


def test_the_verb_ends_with_sigterm(
    stand_in: Callable[[str], serve.Server], dve: Path, skinflow: Skinflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand_in("serves")
    monkeypatch.setattr(serve, "_without_vllm", lambda: iter(()))
    monkeypatch.setattr(serve, "Server", lambda *_: made)
    monkeypatch.setattr(serve, "confirm", lambda *_: None)
    monkeypatch.setattr(made, "wait", lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(10))
    before = signal.getsignal(signal.SIGTERM)
    done = skinflow("serve", dve, "--port", "0")
    assert done.code == 0, done.err
    assert "question  What is the diagnosis?" in done.out
    assert done.out.endswith("ready; Ctrl-C ends it\n\nending vLLM\n")
    assert signal.getsignal(signal.SIGTERM) is before
    assert made.child is not None
    assert made.child.returncode is not None
    assert not made.log.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of it")
def test_a_starter_that_is_killed_takes_the_server_along(tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    port = serve.free_port("127.0.0.1")
    code = (
        "import os\nfrom skinflow_plugins.bridge import serve\nserve.MODULE = 'stand_in'\n"
        f"with serve.Server(['serves', '{port}'], os.environ, '127.0.0.1', {port}) as server:\n"
        "    server.wait_ready()\n    print(server.child.pid, server.log, flush=True)\n    server.wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as starter:
        assert starter.stdout is not None
        number, log = starter.stdout.readline().decode().split()
        server, engine = psutil.Process(int(number)), Path(log).read_text().split()[1]
        starter.kill()
        assert ends(server)
    Path(log).unlink()
    psutil.Process(int(engine)).kill()  # vLLM's own ends with its parent; this one heeds nothing


# --- a real server ------------------------------------------------------------------------------------------


def picture() -> Image.Image:
    """Noise, always the same."""
    noise = torch.randint(0, 255, (84, 112, 3), generator=torch.Generator().manual_seed(0))
    return Image.fromarray(noise.numpy().astype("uint8"))


SAMPLED = {
    "n": 6,
    "max_tokens": 24,
    "temperature": 2.0,
    "seed": 0,
    "ignore_eos": True,
    "logprobs": True,
    "return_token_ids": True,
}
"""Many tokens, nearly evenly drawn."""


def ask(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with serve._straight().open(request, timeout=300) as answer:
        return json.load(answer)


@pytest.fixture
def served(dve: Path, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """`skinflow serve` of the dynamic model, as a user starts it, once it says that it is ready."""
    words = [sys.executable, "-m", "skinflow_plugins.cli", "serve", str(dve), "--port", "0"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [*words, "--", "--max-num-seqs", "8"], stdout=out, stderr=out, env=environment, cwd=tmp_path
        )
    try:
        until = time.monotonic() + 540
        while "\nready" not in (text := (tmp_path / "out").read_text()):
            assert process.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.5)
        url = next(line.split()[1] for line in text.splitlines() if line.startswith("URL"))
        yield SimpleNamespace(process=process, url=url, text=lambda: (tmp_path / "out").read_text())
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


@pytest.mark.vllm
@pytest.mark.slow
def test_a_real_server(served: SimpleNamespace, dve: Path) -> None:
    from transformers import AutoProcessor

    from skinflow_plugins.engine.placeholders import NAME

    assert NAME == serve.NO_PLACEHOLDERS
    processor, model = AutoProcessor.from_pretrained(dve), load(dve)
    file = io.BytesIO()
    picture().save(file, "PNG")
    image = {"url": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()}
    content = [{"type": "image_url", "image_url": image}, {"type": "text", "text": QUESTION}]
    body = {
        "model": "dve",
        "messages": [{"role": "user", "content": content}],
        **SAMPLED,
    }
    # A bias that decides by itself: it wins for any word, and for no placeholder.
    placeholders = processor.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    word = processor.tokenizer.convert_tokens_to_ids("user")
    biased = ask(served.url, body | {"logit_bias": {str(word): 100}})
    assert {token for choice in biased["choices"] for token in choice["token_ids"]} == {word}
    answer = ask(served.url, body | {"logit_bias": {str(token): 100 for token in placeholders}})
    prompt = answer["prompt_token_ids"]
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    batch = processor(text=[text], images=[picture()], return_tensors="pt")
    assert prompt == batch["input_ids"][0].tolist()
    images = {name: batch[name] for name in ("pixel_values", "image_grid_thw")}
    sampled: set[int] = set()
    for choice in answer["choices"]:
        tokens = choice["token_ids"]
        sampled |= set(tokens)
        ids = torch.tensor([[*prompt, *tokens]])
        kinds = (ids == model.config.image_token_id).int()
        with torch.no_grad():
            scores = model(input_ids=ids, mm_token_type_ids=kinds, **images).logits[0, len(prompt) - 1 : -1]
        expected = scores.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
        given = torch.tensor([each["logprob"] for each in choice["logprobs"]["content"]])
        assert (given - expected).abs().max() < 1e-4
    assert not sampled & set(placeholders)
    assert len(sampled) > 20

    family = [served.process.pid, *psutil.Process(served.process.pid).children(recursive=True)]
    assert len(family) > 2
    served.process.terminate()
    assert served.process.wait(60) == 0, served.text()
    assert all(ends(process) for process in family[1:])
    assert served.text().endswith("ending vLLM\n")
