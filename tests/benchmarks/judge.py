"""What asking a judge costs: calls per second, kept answers, and a judge that is out of order.

    OMP_NUM_THREADS=1 python tests/benchmarks/judge.py [--calls 1280] [--delay 0.3] [--concurrency 64]

The judge is a small server in a process of its own on this machine, which answers every call after the delay.

- calls: questions that are all new, as many at a time as the concurrency; the best of three rounds. At most
  concurrency / delay can be reached.
- the same again: the same questions in a new process's memory, from the file.
- a hit: one question by itself, its key and the reading of its reply included, from memory and from the file.
- out of order: steps of 64 new questions, one after the other, with a server that refuses connections and
  with one that takes them and never answers. The deadline of these steps is a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

from skinflow_plugins.declare import NoVerdict
from skinflow_plugins.judging import Judge, Question, ask, load_prompt, service_of, usage_of
from skinflow_plugins.judging.asking import ranked_question
from skinflow_plugins.judging.cache import forget_caches
from skinflow_plugins.judging.verdicts import Verdict

STEP = 64
HITS = 5000
ITEMS = 6

SERVER = """
import asyncio, json, sys

verdicts = [{"item": n, "verdict": "wrong"} for n in range(1, int(sys.argv[2]) + 1)]
message = {"role": "assistant", "content": json.dumps({"verdicts": verdicts}), "refusal": None}
body = json.dumps({
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790},
}).encode()
head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)


async def serve(reader, writer):
    try:
        while True:
            request = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
            await reader.readexactly(int(request.split(b"content-length:")[1].split(b"\\r\\n")[0]))
            await asyncio.sleep(float(sys.argv[1]))
            writer.write(head + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
"""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1280)
    parser.add_argument("--delay", type=float, default=0.3, help="seconds until the judge answers")
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKINFLOW_CACHE"] = folder
        for name in ("OPENAI_API_KEY", "OPENAI_LOG"):
            os.environ.pop(name, None)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(options.delay), str(ITEMS)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
            judge = Judge(
                address, "mock", runs=1, concurrency=options.concurrency, cache=f"{folder}/a.sqlite3"
            )
            answers(judge, options)
            hits(judge)
        finally:
            server.terminate()
            server.wait()
        refused(folder)
        silent(folder)
        forget_caches()
    packages = ", ".join(f"{name} {version(name)}" for name in ("openai",))
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"Python {platform.python_version()}, {packages}, {os.cpu_count()} cores, load {load}")


def questions(count: int, first: int = 0) -> list[Question[list[Verdict]]]:
    """Ranked lists, no two alike."""
    prompt = load_prompt("ranked")
    return [
        ranked_question(
            prompt.messages("melanoma", [f"finding {number} of {rank}" for rank in range(ITEMS)]), ITEMS
        )
        for number in range(first, first + count)
    ]


def answers(judge: Judge, options: argparse.Namespace) -> None:
    """Calls per second, and the second epoch."""

    async def epoch(asked: list[Question[list[Verdict]]]) -> float:
        waiting = iter(asked)

        async def work() -> None:
            for question in waiting:
                await ask(judge, question)

        started = time.perf_counter()
        await asyncio.gather(*[work() for _ in range(options.concurrency)])
        return time.perf_counter() - started

    async def rounds() -> float:
        await epoch(questions(options.concurrency, -options.concurrency))  # connections, and the import
        return min([await epoch(questions(options.calls, n * options.calls)) for n in range(3)])

    cpu = time.process_time()
    seconds = asyncio.run(rounds())
    cpu = (time.process_time() - cpu) / (3 * options.calls)
    most = options.concurrency / options.delay
    print(
        f"{options.calls} calls at {options.concurrency} at a time, {options.delay:g} s each: "
        f"{options.calls / seconds:.0f} calls/s (at most {most:.0f}), {1e3 * cpu:.2f} ms of CPU for a call"
    )
    forget_caches()
    before = usage_of(judge)
    seconds = asyncio.run(epoch(questions(options.calls)))
    used = usage_of(judge) - before
    print(f"the same {options.calls} again: {used.calls} calls, {used.hits} hits, {seconds:.2f} s")


def hits(judge: Judge) -> None:
    """Microseconds of a kept answer."""

    async def timed(asked: list[Question[list[Verdict]]]) -> float:
        service = service_of(judge)
        found = []
        for question in asked:
            started = time.perf_counter()
            reply = await service.reply(question)
            found.append(time.perf_counter() - started)
            assert reply.free
        return 1e6 * statistics.median(found)

    known = questions(1000)
    forget_caches()
    cold = asyncio.run(timed(known))
    warm = asyncio.run(timed(known * (HITS // len(known))))
    print(f"a hit, key and reading included, median: {warm:.0f} µs from memory, {cold:.0f} µs from the file")


def steps(judge: Judge, count: int, pause: float) -> list[tuple[float, int]]:
    """Seconds and calls of each step."""

    async def step(number: int) -> tuple[float, int]:
        before = usage_of(judge)
        started = time.perf_counter()
        given = await asyncio.gather(
            *[ask(judge, question) for question in questions(STEP, number * STEP)], return_exceptions=True
        )
        seconds = time.perf_counter() - started
        assert all(isinstance(each, NoVerdict) for each in given), given[0]
        return seconds, (usage_of(judge) - before).calls

    async def run() -> list[tuple[float, int]]:
        found = []
        for number in range(count):
            found.append(await step(number))
            await asyncio.sleep(pause)
        return found

    return asyncio.run(run())


def show(what: str, judge: Judge, found: list[tuple[float, int]]) -> None:
    """The seconds and calls of the steps."""
    listed = ", ".join(f"{seconds:.2f} s ({calls} calls)" for seconds, calls in found)
    worst = max(seconds for seconds, _ in found) - judge.deadline
    print(
        f"{what}, deadline {judge.deadline:g} s, steps of {STEP}: {listed}; at most {worst:+.2f} s beyond it"
    )


def refused(folder: str) -> None:
    """A server that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        judge = Judge(
            f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "mock", runs=1, concurrency=64, timeout=1.0,
            deadline=1.0, cache=f"{folder}/b.sqlite3",
        )  # fmt: skip
        show("connections refused", judge, steps(judge, 6, 0.5))


def silent(folder: str) -> None:
    """A server that takes connections and says nothing."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(1024)
        judge = Judge(
            f"http://127.0.0.1:{mute.getsockname()[1]}/v1", "mock", runs=1, concurrency=64, timeout=1.0,
            deadline=1.0, cache=f"{folder}/b.sqlite3",
        )  # fmt: skip
        show("never an answer", judge, steps(judge, 6, 0.5))
        narrow = Judge(judge.endpoint, "mock", runs=1, concurrency=8, timeout=1.0, deadline=1.0, cache="off")
        show("never an answer, 8 at a time", narrow, steps(narrow, 6, 0.5))


if __name__ == "__main__":
    main()
