"""A judge of diagnoses that a test can kill: an OpenAI-compatible server of its own process.

    python judge_server.py PORT LOG

It calls an item correct when it is the reference, letter by letter, and writes a line into LOG for each call.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Judge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log = ""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"seed": request.get("seed")}) + "\n")
        body = json.dumps(completion(verdicts(request))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def verdicts(request: dict[str, Any]) -> str:
    """One verdict for each listed text of the data block; of one word where nobody asks about diagnoses."""
    text = request["messages"][-1]["content"]
    found = re.search(r"<data>\n(.*)\n</data>", text)
    if found is None:
        return "yes"
    data = json.loads(found[1])
    given = [
        {"item": each["item"], "verdict": "correct" if each["text"] == data["reference"] else "wrong"}
        for each in data["listed"]
    ]
    return json.dumps({"verdicts": given})


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "letters",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


if __name__ == "__main__":
    Judge.log = sys.argv[2]
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Judge)
    server.daemon_threads = True
    server.serve_forever()
