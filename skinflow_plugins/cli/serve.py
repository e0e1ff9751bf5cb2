"""`skinflow serve`: an OpenAI-compatible server of a checkpoint, and how to ask it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.cli.parser import Parser, add_verb

if TYPE_CHECKING:
    from skinflow_plugins.bridge.serving.subject import Order, Subject
    from skinflow_plugins.cli.parser import Verbs

DESCRIPTION = """\
CHECKPOINT is a run (its last finished stage), a checkpoint, an adapter, which is merged first, or any other
model that vLLM knows, as a folder or a hub id: that is how a judge for rewards is started. What stands behind
a lone -- goes to vLLM as it is.

A model that was trained here answers the question of its run, which is printed, about an image that stands in
front of it; it never saw an image alone. Before anything starts, the checkpoint's chat template is compared
with the template of the training."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _WithMore(Parser):
    """Keeps what stands behind a lone `--` for another program."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words: Sequence[str] = list(args or ())
        cut = words.index("--") if "--" in words else len(words)
        found, rest = super().parse_known_args(words[:cut], namespace)
        found.further = tuple(words[cut + 1 :])
        return found, rest


def add(verbs: Verbs) -> None:
    """Add `serve` to the verbs."""
    summary = "an OpenAI-compatible server of a checkpoint, with vLLM"
    parser = add_verb(verbs, "serve", summary, do, DESCRIPTION)
    parser.__class__ = _WithMore  # argparse lets a verb choose its own kind of parser only this way
    parser.usage = "skinflow serve CHECKPOINT [options] [-- VLLM_ARGUMENT ...]"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder or a hub id")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", metavar="N", type=_port, default=8000, help="0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--name", default="", help="what clients call the model (default: recipe and stage, or the folder)"
    )
    parser.add_argument("--api-key", metavar="KEY", default="", help="what clients must send")
    parser.add_argument(
        "--any-template",
        action="store_true",
        help="serve it even if its chat template is not the one of the training",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a number from 0 to 65535")
    return int(text)


def do(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; `WorkFailed` when vLLM dies."""
    from skinflow_plugins.bridge.child import stoppable
    from skinflow_plugins.bridge.serving import checks
    from skinflow_plugins.bridge.serving.subject import Order
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.quiet import hush

    order = Order(
        arguments.checkpoint,
        arguments.host,
        arguments.port,
        arguments.name,
        arguments.api_key,
        arguments.any_template,
        arguments.further,
    )
    hush(Path(order.checkpoint))
    with stoppable():
        return _serve(order, checks.check(order, catalogue()))


def _serve(order: Order, subject: Subject) -> int:
    from skinflow_plugins.bridge.serving import memory, template
    from skinflow_plugins.bridge.serving.arguments import arguments_of, environment_of
    from skinflow_plugins.bridge.serving.merged import merged
    from skinflow_plugins.bridge.serving.process import Server, free_port
    from skinflow_plugins.catalogue import catalogue

    chat, note = template.compare_templates(subject, order, catalogue())
    if note:
        say(f"note: {note}")
    model = subject.model
    if subject.source is not None and subject.source.base:
        model = str(merged(subject.source, catalogue(), say))
    environment = environment_of(order)
    if memory.on_cpu():
        space = environment["VLLM_CPU_KVCACHE_SPACE"]
        say(f"no accelerator: eager mode, {space} GiB of key-value cache (VLLM_CPU_KVCACHE_SPACE)")
    keyed = "VLLM_API_KEY" in environment
    if order.host not in LOOPBACK and not keyed:
        say(f"note: whoever reaches {order.host} can ask this server; --api-key KEY restricts that")
    port = order.port or free_port(order.host)
    argv = arguments_of(subject, model, order, port)
    with Server(argv, environment, order.host, port) as server:
        say(f"starting vLLM; its log is {server.log}")
        server.wait_ready()
        name = order.name or subject.name
        if chat is not None:
            template.confirm(server, chat, name)
        say(f"\n{greeting(subject, name, server.url, keyed=keyed)}\n\nready; Ctrl-C ends it")
        try:
            server.wait()
        except KeyboardInterrupt:
            say("\nending vLLM")
    server.log.unlink(missing_ok=True)  # nobody needs it after a good end
    return 0


def say(text: str) -> None:
    """Print at once: somebody may be waiting behind a pipe for the line that says ready."""
    print(text, flush=True)


def greeting(subject: Subject, name: str, url: str, *, keyed: bool) -> str:
    """Where the server is, what it is called, what it was trained to be asked, and how."""
    head = [("URL", f"{url}/v1"), ("model", name)]
    if subject.family is not None:
        head.append(("question", f"{subject.question}   (behind the image)"))
    if subject.system:
        head.append(("system", subject.system))
    lines = [f"{label:<9} {text}" for label, text in head]
    examples = (make(subject, name, url, keyed=keyed) for make in (curl, python))
    return "\n\n".join(["\n".join(lines), *examples])


def curl(subject: Subject, name: str, url: str, *, keyed: bool) -> str:
    """A request for a shell; BASE64 stands for the image, $OPENAI_API_KEY for the key."""
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,BASE64"}}
    body = shlex.quote(json.dumps(request(subject, name, image), ensure_ascii=False))
    key = ' -H "Authorization: Bearer $OPENAI_API_KEY"' if keyed else ""
    return f"curl {url}/v1/chat/completions -H 'Content-Type: application/json'{key} -d {body}"


def python(subject: Subject, name: str, url: str, *, keyed: bool) -> str:
    """The same with the package `openai`."""
    body = request(subject, name, {"type": "image_url", "image_url": {"url": "IMAGE"}})
    # A literal of the image's URL becomes the variable that holds it.
    messages = repr(body["messages"]).replace("'IMAGE'", "url")
    key = "" if keyed else ', api_key="none"'
    lines = ["import base64, openai", f'client = openai.OpenAI(base_url="{url}/v1"{key})']
    if subject.family is not None:
        encoded = 'base64.b64encode(open("lesion.jpg", "rb").read()).decode()'
        lines.append(f'url = "data:image/jpeg;base64," + {encoded}')
    rest = f"model={name!r}, messages=messages, temperature=0, max_tokens={body['max_tokens']}"
    return "\n".join(
        [
            *lines,
            f"messages = {messages}",
            f"print(client.chat.completions.create({rest}).choices[0].message.content)",
        ]
    )


def request(subject: Subject, name: str, image: dict[str, Any]) -> dict[str, Any]:
    """A chat completion as the run's evaluation asks: the image, its question, greedy decoding."""
    content: Any = [image, {"type": "text", "text": subject.question}]
    if subject.family is None:
        content = "Which is worse, a false alarm or a missed melanoma?"
    system = [{"role": "system", "content": subject.system}] if subject.system else []
    return {
        "model": name,
        "temperature": 0,
        "max_tokens": subject.longest_answer,
        "messages": [*system, {"role": "user", "content": content}],
    }
