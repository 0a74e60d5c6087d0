"""Kill a busy chat at random moments and check that nothing it saved is lost.

    python -m benchmarks.history_kills [--kills 50]

Each chat asks, answers, renames, forks, deletes and undeletes as fast as it can on the same
database, and prints what the store has saved. After each kill the database must open, pass
SQLite's integrity check, and contain every saved question and answer in the tables and in the
search. Exits 1 at the first loss.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from engine.core.types import Answer, Conversation, Hit, Mode, Product, Status, StopReason, Turn
from engine.store.conversations import ConversationStore

ROOT = Path(__file__).resolve().parent.parent
_LONGEST = 0.6
"""Seconds after the first answer within which a chat is killed."""


def chat(file: Path, name: str, turns: int, number: int | None) -> None:
    """Ask and answer as fast as possible and print what is saved."""
    with closing(ConversationStore(file)) as store:
        conversation = store.open(number) if number else Conversation()
        for place in range(turns):
            words = f"{name}x{place}"
            turn = Turn(f"question {words}")
            answer = store.begin(conversation, turn.question, _answer(turn.question, ""), turn)
            print("asked", words, flush=True)
            turn.answer = _answer(turn.question, f"part {words}")
            conversation.turns.append(turn)
            store.update(answer, turn.answer, finished=False)
            if place % 7 == 3 and conversation.id:
                store.rename(conversation.id, f"title {words}")
                store.delete(store.fork(conversation.id, 2))
                store.undelete()
            turn.answer = _answer(turn.question, f"answer {words}")
            store.update(answer, turn.answer, finished=True)
            print("answered", words, flush=True)


def _answer(question: str, text: str) -> Answer:
    hit = Hit(Product("0123456789", "A title", "Its description. " * 20), 1.0)
    return Answer(
        question,
        "catalogue",
        Mode.GROUNDED,
        Status.EXACT,
        text,
        StopReason.COMPLETE,
        sources=(hit,),
    )


def busy(file: Path, name: str, turns: int, number: int = 0) -> subprocess.Popen[str]:
    """Start such a chat in a process, in a new conversation or in number `number`."""
    command = [sys.executable, "-m", "benchmarks.history_kills", "--chat", name]
    command += ["--file", str(file), "--turns", str(turns), "--number", str(number)]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)


def sound(file: Path) -> None:
    """Raise AssertionError unless database and search index are consistent."""
    with closing(sqlite3.connect(file)) as database:
        intact = database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        intact &= database.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("said", "titled"):
            # Raises sqlite3.DatabaseError if the index differs from its table.
            database.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")  # noqa: S608 - named above
        intact &= database.execute(
            "SELECT (SELECT count(*) FROM turn) = (SELECT count(*) FROM said)"
        ).fetchone() == (1,)
    if not intact:
        raise AssertionError(f"{file} is damaged")


def lost(file: Path, lines: Sequence[str]) -> list[str]:
    """Return the printed lines that the database does not contain."""
    with closing(ConversationStore(file)) as store:
        turns = {turn.question: turn for number in store.ids() for turn in store.open(number).turns}
        return [line for line in lines if not _is_saved(store, turns, *line.split())]


def _is_saved(store: ConversationStore, turns: dict[str, Turn], what: str, words: str) -> bool:
    turn = turns.get(f"question {words}")
    text = turn.answer.text if turn and turn.answer else ""
    if turn is None or (what == "answered" and text != f"answer {words}"):
        return False
    return bool(store.search(words if what == "asked" else f"answer {words}", 1))


def kill(file: Path, name: str, draw: random.Random) -> list[str]:
    """Let a chat work for a moment, kill it, and return what it printed."""
    with busy(file, name, 1_000_000) as process:
        if process.stdout is None:
            raise AssertionError("the output is a pipe")
        lines = [process.stdout.readline()]
        time.sleep(draw.uniform(0, _LONGEST))
        process.send_signal(signal.SIGKILL)
        lines += [line for line in process.stdout if line.endswith("\n")]
    return lines


def make_parser() -> argparse.ArgumentParser:
    """Define the command's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    for name in ("--chat", "--file"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--turns", "--number"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the kills, or a chat to be killed."""
    options = make_parser().parse_args(argv)
    if options.chat:
        chat(Path(options.file), options.chat, options.turns, options.number)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file, draw = Path(folder) / "conversations.db", random.Random(1)
        saved = 0
        for number in range(options.kills):
            lines = kill(file, f"k{number}", draw)
            missing = lost(file, lines)
            sound(file)
            if missing:
                print(f"lost after kill {number + 1}: {missing}")
                return 1
            saved += len(lines)
        with closing(ConversationStore(file)) as store:
            count = len(store.ids())
    print(f"{options.kills} kills: {saved:,} saved, nothing lost; {count} conversations.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
