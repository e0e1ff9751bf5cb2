"""`skinflow serve`: the command line, what is refused and said, its end, and a real server."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
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

from skinflow_plugins.bridge.checkpoint_source import find
from skinflow_plugins.bridge.serving import checks, memory, process
from skinflow_plugins.bridge.serving.process import Server
from skinflow_plugins.bridge.serving.subject import look_up
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli import serve as verb
from skinflow_plugins.cli.parser import parse
from skinflow_plugins.models import build_tiny, graft, load

QUESTION = "What is shown?"
Skinflow = Callable[..., Any]


@pytest.fixture(scope="module")
def dve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dynamic model whose routers do something."""
    base = tmp_path_factory.mktemp("tiny") / "base"
    vocabulary = [*QUESTION.split(), "the", "diagnosis?"]
    build_tiny("qwen2_5_vl", base, vocabulary=vocabulary, width=64, depth=3)
    out = base.with_name("dve")
    graft(base, out)
    file, generator = out / "dve.safetensors", torch.Generator().manual_seed(0)
    tensors = load_file(file)
    for name, value in tensors.items():
        if "dve_router" in name and not name.endswith(("reduce_weight", "norm_weight")):
            tensors[name] = 0.5 * torch.randn(value.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})
    return out


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


def test_a_run_names_model_and_question(tmp_path: Path) -> None:
    recipe = {
        "name": "try",
        "eval": {"max_new_tokens": 48},
        "tasks": {"diagnosis": {"prompt": "name it's kind"}},
        "stages": [{"name": "warmup"}, {"name": "diagnosis", "task": "diagnosis"}],
    }
    checkpoint = tmp_path / "run/stages/2-diagnosis/checkpoint-8"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (checkpoint / "args.json").write_text('{"system": "Be brief."}')
    (tmp_path / "run/run.json").write_text(json.dumps({"recipe": recipe}))
    (checkpoint.parent / "final").symlink_to("checkpoint-8")
    (checkpoint.parent / "done.json").write_text("{}")
    subject = look_up(str(tmp_path / "run"), catalogue())
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


@pytest.mark.parametrize(
    ("done", "step"), [({"hands_over": "best"}, 4), ({"hands_over": "final"}, 8), ({"seconds": 1.0}, 8)]
)
def test_a_run_serves_what_its_last_stage_hands_over(tmp_path: Path, done: dict[str, Any], step: int) -> None:
    recipe = {"name": "try", "stages": [{"name": "warmup"}, {"name": "diagnosis"}]}
    for slug in ("1-warmup", "2-diagnosis"):
        stage = tmp_path / "run/stages" / slug
        for each, link in ((4, "best"), (8, "final")):
            (stage / f"checkpoint-{each}").mkdir(parents=True)
            (stage / f"checkpoint-{each}/config.json").write_text('{"model_type": "qwen2_5_vl"}')
            (stage / link).symlink_to(f"checkpoint-{each}")
        (stage / "done.json").write_text(json.dumps(done))
    (tmp_path / "run/run.json").write_text(json.dumps({"recipe": recipe}))
    source = find(tmp_path / "run")
    assert source.folder == tmp_path / f"run/stages/2-diagnosis/checkpoint-{step}"
    assert source.label() == "try, stage diagnosis"


def test_a_model_that_nobody_knows_is_asked_without_an_image(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    subject = look_up(str(tmp_path), catalogue())
    assert "image" not in verb.greeting(subject, "x", "http://x", keyed=False)


def test_every_mistake_at_once_before_anything_starts(
    skinflow: Skinflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vllm" else real(name))
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


# --- from the start to the end ------------------------------------------------------------------------------

STAND_IN = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET(); self.wfile.write(os.environ["ANSWER"].encode())
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    """Servers that were left; in place of vLLM runs the script above, and SIGTERM comes once it is ready."""
    found: list[Server] = []
    leave = Server.__exit__

    def wait(_: Server) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(checks, "_without_vllm", lambda: iter(()))
    monkeypatch.setattr(memory, "on_cpu", lambda: True)
    monkeypatch.setattr(process, "MODULE", "stand_in")
    monkeypatch.setattr(Server, "wait", wait)
    monkeypatch.setattr(Server, "__exit__", lambda server, *_: [leave(server), found.append(server)][0])
    return found


def test_the_verb_ends_with_sigterm(
    ended: list[Server], dve: Path, skinflow: Skinflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSWER", "{}")
    before = signal.getsignal(signal.SIGTERM)
    done = skinflow("serve", dve, "--port", "0")
    assert done.code == 0, done.err
    assert "question  What is the diagnosis?" in done.out
    assert done.out.endswith("ready; Ctrl-C ends it\n\nending vLLM\n")
    assert signal.getsignal(signal.SIGTERM) is before
    (server,) = ended
    assert server.child is not None
    assert server.child.returncode == -signal.SIGTERM
    assert not server.log.exists()


def test_a_server_that_writes_another_prompt_is_ended(
    ended: list[Server], dve: Path, skinflow: Skinflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSWER", '{"prompt_token_ids": [1]}')
    done = skinflow("serve", dve, "--port", "0")
    assert done.code == 1
    assert "vLLM does not make of a chat what the training did: token 0 is the first" in done.err
    (server,) = ended
    assert server.child is not None
    assert server.child.returncode is not None
    server.log.unlink()


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
    with process._straight().open(request, timeout=300) as answer:
        return json.load(answer)


@pytest.fixture
def served(dve: Path, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """`skinflow serve` of the dynamic model, as a user starts it, once it says that it is ready."""
    words = [sys.executable, "-m", "skinflow_plugins.cli", "serve", str(dve), "--port", "0"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with (tmp_path / "out").open("wb") as out:
        child = subprocess.Popen(
            [*words, "--", "--max-num-seqs", "8"], stdout=out, stderr=out, env=environment, cwd=tmp_path
        )
    try:
        until = time.monotonic() + 540
        while "\nready" not in (text := (tmp_path / "out").read_text()):
            assert child.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.5)
        url = next(line.split()[1] for line in text.splitlines() if line.startswith("URL"))
        yield SimpleNamespace(process=child, url=url, text=lambda: (tmp_path / "out").read_text())
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait(60)


@pytest.mark.vllm
@pytest.mark.slow
def test_a_real_server(served: SimpleNamespace, dve: Path) -> None:
    from transformers import AutoProcessor

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

    assert served.text().startswith("no accelerator: eager mode, 1 GiB"), served.text()
    started = psutil.Process(served.process.pid).children(recursive=True)
    assert len(started) > 1
    served.process.terminate()
    assert served.process.wait(60) == 0, served.text()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
    assert served.text().endswith("ending vLLM\n")
