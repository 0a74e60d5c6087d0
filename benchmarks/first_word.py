"""Compare a question typed at the chat's start with bare xllamacpp: seconds to the first word.

    python -m benchmarks.first_word [--rounds N]

Both start as a new process with the model on disk, and take turns. The chat runs in a
pseudo-terminal of 80x24 with the engine `base`; the question is typed at once, and its first word
is timed until it is drawn. The bare program loads the same file with the engine's settings and
completes the same tokens; it is timed from its start to its first text.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from engine.backends.llama.tokens import read_tokenizer
from engine.backends.llama.weights import find_model, threads
from engine.config import paths
from engine.core.types import Mode
from engine.prompts import chat_messages

QUESTION = "What is the capital of France?"
WORD = "Paris"
ROWS, COLUMNS = 24, 80
LIMIT = 120.0
"""Seconds to wait for the word."""

BARE = """
import json, sys
import xllamacpp
given = json.loads(sys.argv[1])
values = xllamacpp.CommonParams()
values.model.path = given["file"]
values.n_ctx, values.n_parallel = 1024, 1
values.n_batch = values.n_ubatch = 64
values.cpuparams.n_threads = values.cpuparams_batch.n_threads = given["threads"]
values.cache_ram_mib, values.no_extra_bufts, values.warmup = 0, True, False
values.verbosity, values.ui = -1, False
server, said = xllamacpp.Server(values), []

def show(chunk):
    said.append(chunk["choices"][0]["text"])
    if given["word"] in "".join(said):
        print("said", flush=True)
        return True

asked = {"prompt": given["tokens"], "n_predict": 60, "temperature": 0, "stream": True}
server.handle_completions(asked, show)
"""


def bare(job: str) -> float:
    """Return the seconds from the start of the bare program to the word."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", BARE, job], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        line = process.stdout.readline() if process.stdout else b""
        took = time.perf_counter() - began
        process.kill()
    if line.strip() != b"said":
        raise SystemExit("The bare program did not say the word.")
    return took


def chat(environ: dict[str, str]) -> float:
    """Return the seconds from the start of the chat to the word on its screen."""
    process, terminal = pty.fork()
    if not process:
        os.execve(sys.executable, [sys.executable, "-m", "scripts.cli"], environ)  # noqa: S606
    termios.tcsetwinsize(terminal, (ROWS, COLUMNS))
    began, seen = time.perf_counter(), b""
    os.write(terminal, QUESTION.encode() + b"\r")
    try:
        # The question itself lacks the word.
        while WORD.encode() not in seen:
            if time.perf_counter() - began > LIMIT:
                raise SystemExit("The chat did not say the word.")
            if select.select([terminal], [], [], 0.05)[0]:
                seen += os.read(terminal, 65536)
        return time.perf_counter() - began
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def main() -> None:
    """Measure in turns and print the medians with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    model = find_model(paths.SMALL, "base")
    tokenizer = read_tokenizer(model.folder)
    tokens = tokenizer.encode_chat(chat_messages(QUESTION, None, Mode.MEMORY), ask=True)
    count = threads(model.weight_bytes)
    values = {"file": str(model.gguf), "tokens": tokens, "threads": count, "word": WORD}
    ours, theirs = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as home:
        models = Path(home) / "cache" / "models"
        models.mkdir(parents=True)
        (models / paths.SMALL).symlink_to(model.folder)
        environ = {
            **os.environ,
            "BALCAO_HOME": home,
            "BALCAO_ENGINE": "base",
            "BALCAO_MODE": "memory",
            "TERM": "xterm-256color",
        }
        chat(environ)  # makes the sample's index
        for _ in range(given.rounds):
            ours.append(chat(environ))
            theirs.append(bare(json.dumps(values)))
    one, other = statistics.median(ours), statistics.median(theirs)
    print(f"start to the word, s: chat {one:.2f}, bare xllamacpp {other:.2f}, {one / other:.2f}")


if __name__ == "__main__":
    main()
