"""Ask one Llama many questions; switch engines and cancel answers at random.

python -m benchmarks.llama_soak MODEL ADAPTER [--questions 200] [--runtime transformers]

Prints memory and threads of the worker and of this process after every quarter; they should stay
flat. Exits with status 1 if an answer failed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
from contextlib import aclosing
from pathlib import Path

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost, resolve_runtime
from engine.backends.llama.messages import Runtime
from engine.core.errors import EngineError
from engine.core.types import Decision, Message, Mode, Request, Role, Status
from engine.prompts import chat_messages

QUESTIONS = (
    "What is this?",
    "Tell me about the tin lighthouse.",
    "Qual é a descrição dele?",
    "hello",
)
CANCELLED_SHARE = 0.3
HISTORY = 6


def figures(pid: int | None) -> str:
    """Return a process's memory and threads."""
    status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii")
    found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return f"{int(found['VmRSS'].split()[0]) / 1024:.0f} MB, {found['Threads'].strip()} threads"


async def ask(engine: LlamaEngine, question: str, history: list[Message], limit: int) -> str:
    """Return the answer, cancelled after `limit` chunks."""
    messages = chat_messages(question, None, Mode.MEMORY, history)
    request = Request(question, Mode.MEMORY, messages, Decision(Status.NONE), max_tokens=60)
    said: list[str] = []
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            said.append(chunk.text)
            if len(said) > limit:
                break
    return "".join(said)


async def soak(model: str, adapter: str, runtime: Runtime, questions: int) -> int:
    """Ask, and return how many answers failed."""
    chance = random.Random(0)
    host = LlamaHost(model, "auto", runtime)
    rows = [LlamaConfig(model=model, adapter=one) for one in (None, adapter)]
    engines = [LlamaEngine("row", row, host) for row in rows]
    history: list[Message] = []
    failed = cancelled = 0
    for number in range(1, questions + 1):
        question = chance.choice(QUESTIONS)
        stop = chance.random() < CANCELLED_SHARE
        cancelled += stop
        try:
            said = await ask(
                chance.choice(engines), question, history, chance.randrange(5) if stop else 1000
            )
        except EngineError as error:
            print(f"{number}: {error}")
            failed += 1
            continue
        history = [*history, Message(Role.USER, question), Message(Role.ASSISTANT, said or "…")]
        history = history[-chance.randrange(0, HISTORY, 2) :] if chance.random() < 0.5 else history
        history = history[-HISTORY:]
        if number % (questions // 4) == 0:
            here = f"here {figures(None)}, {threading.active_count()} of Python's"
            print(f"{number:4} asked, {cancelled} cancelled · worker {figures(host.pid)} · {here}")
    await host.close()
    return failed


def main() -> int:
    """Run the model on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("adapter")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--runtime", choices=("llama.cpp", "transformers"))
    given = parser.parse_args()
    runtime = given.runtime or resolve_runtime("auto")
    failed = asyncio.run(soak(given.model, given.adapter, runtime, given.questions))
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
