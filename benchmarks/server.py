"""Measure an OpenAI-compatible server: chats and an evaluation, many at once and one at a time.

python -m benchmarks.server --url http://127.0.0.1:8000/v1 --models a,b,c [--rows 100]

Each model is an engine of its own; the questions are those of the sample catalogue. Prints tokens
per second, and exits with status 1 if an answer failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from engine.chat.open import open_resources
from engine.chat.session import Session
from engine.config import paths
from engine.config.settings import load
from engine.core.types import Answer, Mode
from engine.evaluation.ask import ANSWERS_FILE, SavedAnswer
from engine.evaluation.questions import sample_questions

BALCAO = [sys.executable, "-m", "scripts.cli"]
ENGINE = """
[engines.server-{model}]
kind = "openai"
title = "{model}"
model = "{model}"
base_url = "{url}"
api_key_env = ""
max_tokens = {tokens}
"""


async def chat(session: Session, asked: Sequence[str]) -> list[Answer]:
    """Ask in one chat, each question after the answer to the one before."""
    answers = []
    for question in asked:
        async with aclosing(session.ask(question)) as events:
            async for _ in events:
                pass
        if session.answer:
            answers.append(session.answer)
    return answers


async def chats(models: Sequence[str], questions: Sequence[Sequence[str]], at_once: int) -> bool:
    """Run a chat for each list of questions, `at_once` at a time; return whether all answered."""
    settings = load()
    resources = open_resources(settings)
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> list[Answer]:
        async with places:
            session = Session(settings, resources)
            session.engine, session.mode = f"server-{models[number % len(models)]}", Mode.MEMORY
            return await chat(session, questions[number])

    began = time.perf_counter()
    try:
        done = await asyncio.gather(*map(one, range(len(questions))))
    finally:
        await resources.close()
    answers = [answer for each in done for answer in each]
    problems = [answer.problem.message for answer in answers if answer.problem]
    firsts = sorted(answer.timing.first_token / 1000 for answer in answers)
    waits = f"first token {statistics.median(firsts):.1f} s (slowest {firsts[-1]:.1f} s)"
    show(
        f"{len(questions)} chats, {at_once} at once",
        sum(answer.tokens.completion for answer in answers if answer.tokens),
        time.perf_counter() - began,
        f"{len(answers) - len(problems)} of {sum(map(len, questions))} answered, {waits}",
    )
    return report_problems(problems)


def evaluate(models: Sequence[str], rows: Path, limit: int, at_once: int) -> bool:
    """Run `balcao evaluate` and return whether all questions were answered."""
    out = rows.with_name(f"report-{at_once}")
    command = [
        *BALCAO, "evaluate", "--data", str(rows), "--out", str(out), "--yes", "--invented", "0",
        "--engines", ",".join(f"server-{model}:memory" for model in models),
        "--limit", str(limit), "--concurrency", str(at_once),
    ]  # fmt: skip
    whole = timed(command)
    # The second time nothing is left to ask: what it takes is not the server's.
    seconds = max(whole - timed(command), 0.001)
    lines = (out / ANSWERS_FILE).read_bytes().splitlines()
    answers = [msgspec.json.decode(line, type=SavedAnswer) for line in lines]
    problems = [answer.error for answer in answers if answer.error]
    show(
        f"evaluation, {at_once} at once",
        sum(answer.tokens.completion for answer in answers if answer.tokens),
        seconds,
        f"{len(answers) - len(problems)} of {len(models) * limit} answered",
    )
    return report_problems(problems) and len(answers) == len(models) * limit


def timed(command: Sequence[str]) -> float:
    """Run a command and return its seconds; failures are counted from the answers."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def show(name: str, tokens: int, seconds: float, more: str) -> None:
    """Print a line of figures."""
    print(f"{name}: {tokens / seconds:.1f} tokens/s ({tokens:,} in {seconds:.1f} s), {more}")
    sys.stdout.flush()


def report_problems(problems: Iterable[str]) -> bool:
    """Print each kind of failure once, and return whether there was none."""
    found = sorted(set(problems))
    print("\n".join(f"  failed: {problem}" for problem in found), end="\n" if found else "")
    return not found


def prepare(folder: Path, options: argparse.Namespace) -> Path:
    """Write the settings and the rows to `folder`, and return the rows to ask."""
    os.environ["BALCAO_HOME"] = str(folder)
    tables = [
        ENGINE.format(model=model, url=options.url, tokens=options.max_tokens)
        for model in options.models
    ]
    settings = paths.settings_file()
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("".join(tables), encoding="utf-8")
    command = [*BALCAO, "prepare", str(paths.sample_source()), "--out", str(folder / "rows")]
    command += ["--valid", "0", "--test", "0.5"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Away from train.jsonl, whose rows would be a second group of questions.
    return (folder / "rows" / "test.jsonl").rename(folder / "test.jsonl")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="such as http://127.0.0.1:8000/v1")
    parser.add_argument("--models", type=lambda text: text.split(","), required=True)
    parser.add_argument("--chats", type=int, default=20, help="at once")
    parser.add_argument("--questions", type=int, default=3, help="of each chat")
    parser.add_argument("--rows", type=int, default=100, help="that each model is asked")
    parser.add_argument("--alone", type=int, default=4, help="chats and rows one at a time")
    parser.add_argument("--max-tokens", type=int, default=128)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the results."""
    options = make_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        rows = prepare(Path(name), options)
        questions, _ = sample_questions(rows, None, options.chats * options.questions, 0)
        asked = [
            [one.question for one in questions[at :: options.chats]] for at in range(options.chats)
        ]
        good = [
            asyncio.run(chats(options.models, asked[: options.alone], 1)),
            asyncio.run(chats(options.models, asked, options.chats)),
            evaluate(options.models, rows, options.alone, 1),
            evaluate(options.models, rows, options.rows, options.chats),
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
