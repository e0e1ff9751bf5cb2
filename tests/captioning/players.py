"""Two chat servers on this machine: a captioner that sees drawn lesions and sometimes lies, and a judge.

Run as a program, `players.py DATA.jsonl` serves both until it is killed and prints their addresses as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from skinflow_plugins.data.lesion_fields import CAPTION_FIELDS, DIAGNOSES, SHARES, posterior


@dataclass(frozen=True)
class Reply:
    """A status and a body; `text` makes the body a chat completion."""

    text: str = ""
    status: int = 200
    body: Any = None
    refusal: str | None = None

    def content(self) -> bytes:
        if self.body is not None:
            return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
        return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


Script = Callable[[dict[str, Any]], Reply]


class _Quiet(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class ChatServer:
    """Answers by `script`; `requests` is what it was asked, `pause` how long it thinks."""

    def __init__(self, script: Script) -> None:
        self.script, self.requests, self.pause = script, [], 0.0
        self.requests: list[dict[str, Any]] = []
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 20

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                if not raw:
                    self.close_connection = True  # the client was stopped in the middle of its request
                    return
                request = json.loads(raw)
                with lock:
                    outer.requests.append(request)
                time.sleep(outer.pause)
                reply = outer.script(request)
                content = reply.content()
                try:
                    self.send_response(reply.status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def image_of(request: Mapping[str, Any]) -> bytes:
    """The bytes of the image in a request."""
    parts = request["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert len(urls) == 1
    return base64.b64decode(urls[0].partition("base64,")[2])


def data_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The block of data in a request."""
    content = request["messages"][-1]["content"]
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    found = re.search(r"<data>\n(.*)\n</data>", content)
    assert found is not None
    block: dict[str, Any] = json.loads(found[1])
    return block


@dataclass
class Captioner:
    """Knows the drawn lesions by their files. With the chance `lies` it describes another diagnosis.

    What it says depends on image and seed alone, as with a server that keeps its word about seeds.
    """

    truth: Mapping[str, Mapping[str, str]]
    lies: float = 0.4

    @staticmethod
    def of(rows: list[dict[str, Any]], folder: Path, lies: float = 0.4) -> Captioner:
        """A captioner of the images of these rows."""
        digest = {
            str(r["image"]): hashlib.sha256((folder / r["image"]).read_bytes()).hexdigest() for r in rows
        }
        return Captioner({digest[str(r["image"])]: r["seen"] for r in rows}, lies)

    def values(self, image: bytes, seed: int) -> dict[str, str]:
        """The fields as this seed describes them."""
        digest = hashlib.sha256(image).hexdigest()
        chance = random.Random(f"{digest}/{seed}")
        if chance.random() >= self.lies:
            return dict(self.truth[digest])
        other = chance.choice(DIAGNOSES)
        return {
            name: chance.choices(values, SHARES[other][name])[0] for name, values in CAPTION_FIELDS.items()
        }

    def __call__(self, request: dict[str, Any]) -> Reply:
        values = self.values(image_of(request), request["seed"])
        return Reply(json.dumps({name: [value] for name, value in values.items()}))


def recovered(caption: str) -> list[str]:
    """The diagnoses that a caption fits, the likeliest first: Bayes, on how lesions are drawn."""
    values = dict(part.split(": ") for part in caption.split("; "))
    chances = posterior({name: value for name, value in values.items() if name in CAPTION_FIELDS})
    return sorted(chances, key=lambda name: -chances[name])


def judge(request: dict[str, Any]) -> Reply:
    """Sees the caption and nothing else, and knows how lesions are drawn."""
    caption = data_of(request)["caption"]
    most = int(re.findall(r"up to (\d+)", request["messages"][-1]["content"])[0])
    return Reply(json.dumps({"diagnoses": recovered(caption)[:most]}))


@dataclass
class Players:
    """Both servers and the rows that they are about."""

    captioner: ChatServer
    judge: ChatServer
    file: Path
    rows: list[dict[str, Any]]
    folder: Path = field(default_factory=Path)

    def close(self) -> None:
        self.captioner.close()
        self.judge.close()


def play(file: Path, lies: float = 0.4) -> Players:
    """Servers for the rows of a file, whose column `seen` holds what is to be seen on the image."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    known = [row for row in rows if "seen" in row]
    return Players(ChatServer(Captioner.of(known, file.parent, lies)), ChatServer(judge), file, rows)


def write_rows(folder: Path, count: int = 24) -> Path:
    """Drawn lesions as a user's file: no captions; what is to be seen stands in the column `seen`."""
    from skinflow_plugins.data.synthetic import synthetic

    lines = []
    for record in synthetic(folder, train=count, validation=0, test=0):
        seen = {name: values[0] for name, values in record.caption.items()}
        row = {
            "id": record.id,
            "image": str(Path(record.image).relative_to(folder)),
            "diagnosis": record.diagnosis,
            "group": record.group,
            "skin_tone": record.skin_tone,
            "seen": seen,
        }
        lines.append(json.dumps(row))
    file = folder / "data.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


if __name__ == "__main__":
    both = play(Path(sys.argv[1]))
    print(json.dumps({"captioner": both.captioner.url, "judge": both.judge.url}), flush=True)
    threading.Event().wait()
