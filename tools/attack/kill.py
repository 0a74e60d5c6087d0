"""Kill `balcao` at random moments, run it again, and compare with a run that was not killed.

python -m tools.attack.kill --what index --what chat --moments 20 --seed 1

Servers, models and rows are made on the spot; nothing but 127.0.0.1 is asked. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pexpect
import psutil

from engine.catalogue.catalogue import Catalogue
from engine.core.errors import BalcaoError
from engine.store.conversations import ConversationStore
from tests.conftest import write_rows
from tests.engine.backends.openai import server as chat_server
from tests.engine.evaluation.conftest import echo
from tests.engine.models.conftest import MEGABYTE, files_of
from tests.engine.models.hub import FakeHub
from tests.engine.models.hub import running as running_hub
from tests.engine.training.conftest import ANSWERS, quick, write_data, write_job
from tests.engine.training.openai import stand_in
from tests.engine.training.openai.conftest import write_rows as write_tuning_rows

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 300.0
"""Seconds until a command counts as stuck."""
_POLL = 0.002
_EARLY = 5
"""One kill in so many may come before the command has written anything."""
_TWICE = 4
"""One run in so many is killed again after its restart."""
_RANDOM_NAME = re.compile(r"[0-9a-f]{8,}")
_LOCK = re.compile(r"\.lock$")
_CREATED = re.compile(rb'"(created|started|updated|ended)": ?"[^"]*"')


@dataclass
class Process:
    """A started command."""

    pid: int
    wait: Callable[[], tuple[int, str]]
    """Wait for its end; return the exit status and what it printed."""

    def has_ended(self) -> bool:
        """Check whether it has ended, waited for or not."""
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True


class Victim:
    """A command. Each attempt has a folder `place`, which has all that it writes."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder = folder
        self.draw = draw
        self.stack = ExitStack()

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        """Return the arguments of `balcao`, `again` after a kill."""
        raise NotImplementedError

    def command(self, place: Path, *, again: bool) -> list[str]:
        """Return the whole command."""
        return [sys.executable, "-m", "scripts.cli", *self.arguments(place, again=again)]

    def environ(self, place: Path) -> dict[str, str]:
        """Return further variables."""
        return {}

    def set_up(self, place: Path) -> None:
        """Fill `place` before the first start."""

    def has_begun(self, place: Path) -> bool:
        """Check whether the command has begun its work, after its imports."""
        return any(".building-" in path.name for path in place.rglob(".*"))

    def acknowledged(self, place: Path) -> Any:
        """Return what a kill must not lose, as it is on disk."""
        return None

    def lost(self, place: Path, kept: Any) -> Iterator[str]:
        """Yield what of `acknowledged` is missing after the restart."""
        yield from ()

    def result(self, place: Path) -> object:
        """Return what has to equal that of a run without a kill."""
        return {self.name(file, place): _digest(file) for file in _files(place)}

    def names(self, place: Path) -> set[str]:
        """Return the files below `place`, so that drafts show."""
        return {self.name(file, place) for file in _files(place)}

    def name(self, file: Path, place: Path) -> str:
        """Return the name of a file in `place`; random names are made alike."""
        return _RANDOM_NAME.sub("*", file.relative_to(place).as_posix())

    def start(self, place: Path, *, again: bool) -> Process:
        """Start the command."""
        log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `wait`
        child = subprocess.Popen(
            self.command(place, again=again),
            cwd=ROOT,
            env=_environ(place) | self.environ(place),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

        def wait() -> tuple[int, str]:
            with log:
                code = child.wait(_PATIENCE)
                log.seek(0)
                return code, log.read()

        return Process(child.pid, wait)


def attack(victim: Victim, moments: int) -> Iterator[str]:
    """Kill `victim` at random moments. Yield each failure, and a summary last."""
    place = victim.folder / "whole"
    start, work, failed = _measure(victim, place)
    if failed:
        yield f"FAILED without a kill: {failed}"
        return
    expected, names = victim.result(place), victim.names(place)
    killed = 0
    for number in range(moments):
        place = victim.folder / f"moment{number}"
        early = victim.draw.randrange(_EARLY) == 0
        twice = victim.draw.randrange(_TWICE) == 0
        delays = [victim.draw.uniform(0, start if early else work) for _ in range(1 + twice)]
        hits, faults = _one_moment(victim, place, delays, early=early)
        killed += hits > 0
        if not faults and (more := victim.names(place) ^ names):
            faults = [f"other files: {sorted(more)[:5]}"]
        if not faults and (found := victim.result(place)) != expected:
            faults = [f"another result: {_difference(found, expected)}"]
        after = "its start" if early else "its first file"
        yield from (f"FAILED moment {number}, {delays} s after {after}: {one}" for one in faults)
        if not faults:
            shutil.rmtree(place)
    yield f"{moments} moments, {killed} killed at work, the others had ended first"


def _measure(victim: Victim, place: Path) -> tuple[float, float, str]:
    """Run without a kill; return the seconds until it begins and from there, and its failure."""
    place.mkdir(parents=True)
    victim.set_up(place)
    started = time.monotonic()
    process = victim.start(place, again=False)
    _wait_until(partial(_has_begun, victim, place, process))
    begun = time.monotonic()
    code, said = process.wait()
    return begun - started, time.monotonic() - begun, said if code else ""


def _one_moment(
    victim: Victim, place: Path, delays: Sequence[float], *, early: bool
) -> tuple[int, list[str]]:
    """Kill after each delay and restart; return the number of kills and the failures."""
    place.mkdir(parents=True)
    victim.set_up(place)
    hits, faults = 0, list[str]()
    for number, delay in enumerate(delays):
        process = victim.start(place, again=number > 0)
        if not early:
            _wait_until(partial(_has_begun, victim, place, process))
        _wait_until(process.has_ended, delay)
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        code, said = process.wait()
        hits += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            faults.append(f"exit {code} before the kill: {said[-500:]}")
    try:
        kept = victim.acknowledged(place)
    except BalcaoError as error:
        return hits, [*faults, f"after the kill: {error}"]
    code, said = victim.start(place, again=True).wait()
    if code:
        return hits, [*faults, f"exit {code} after the kill: {said[-500:]}"]
    if "Traceback" in said:
        faults.append(f"a traceback after the kill: {said[-500:]}")
    return hits, [*faults, *victim.lost(place, kept)]


def _has_begun(victim: Victim, place: Path, process: Process) -> bool:
    return process.has_ended() or victim.has_begun(place)


class Index(Victim):
    """`balcao index`, half of the time over an older index."""

    products = 12_000

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        self.source = _write_products(folder / "rows.jsonl", self.products)
        self.old = folder / "old" / "out"
        small = _write_products(folder / "small.jsonl", 100)
        self.old.parent.mkdir()
        _balcao(folder / "old", "index", str(small), "--out", str(self.old))

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        return ["index", str(self.source), "--out", str(place / "out")]

    def set_up(self, place: Path) -> None:
        if self.draw.random() < 1 / 2:
            shutil.copytree(self.old, place / "out")

    def acknowledged(self, place: Path) -> Any:
        out = place / "out"
        if not out.exists():
            return None
        with closing(Catalogue.open(out)) as catalogue:
            return len(catalogue)

    def lost(self, place: Path, kept: Any) -> Iterator[str]:
        if kept not in (None, 100, self.products):
            yield f"{kept} products could be opened after the kill"

    def result(self, place: Path) -> object:
        database = next((place / "out").glob("*.db"))
        with closing(sqlite3.connect(database)) as reading:
            rows = hashlib.sha256("\n".join(reading.iterdump()).encode()).hexdigest()
        with closing(Catalogue.open(place / "out")) as catalogue:
            titles = [f"Killed Title {number}" for number in range(0, self.products, 400)]
            found = [(d := catalogue.find(title)).status + str(d.product) for title in titles]
            return {"rows": rows, "count": len(catalogue), "found": found}

    def name(self, file: Path, place: Path) -> str:
        # tantivy may merge its segments or not, so only the folders are alike.
        return super().name(file, place).partition("/*")[0]


class Prepare(Victim):
    """`balcao prepare`."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        self.source = _write_products(folder / "rows.jsonl", 40_000)

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        return ["prepare", str(self.source), "--out", str(place / "out")]


class Train(Victim):
    """`balcao train` on a tiny Llama; each run is a fork of a process with the imports done."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        command = [sys.executable, "-m", "tests.engine.backends.llama.make_model", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        write_data(folder / "data", ANSWERS)
        write_data(folder / "data", {"Stool": "Step 3 of stone."}, "valid.jsonl")
        self.runner = self.stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.engine.training.runner"],
                cwd=ROOT,
                env=_environ(folder) | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        self.stack.callback(lambda: self.runner.stdin and self.runner.stdin.close())

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        given = ["--data", self.folder / "data", "--base", self.folder / "model"]
        # A run that was killed before it wrote its settings begins like a new one.
        resume = ["--resume"] if again and self.has_begun(place) else []
        return [*map(str, [*given, "--out", place / "out"]), *quick("score_rows=0"), *resume]

    def has_begun(self, place: Path) -> bool:
        return (place / "out" / "run.json").exists()

    def result(self, place: Path) -> object:
        lines = (place / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        logged = [json.loads(line) for line in lines]
        return {
            "adapter": _digest(place / "out" / "adapter_model.safetensors"),
            "losses": [(line["step"], line["loss"]) for line in logged if "loss" in line],
        }

    def start(self, place: Path, *, again: bool) -> Process:
        log = place.with_name(f"{place.name}.log")
        log.unlink(missing_ok=True)
        to, answers = self.runner.stdin, self.runner.stdout
        if to is None or answers is None:
            raise AssertionError("the runner was started with pipes")
        print(json.dumps([str(log), 1, *self.arguments(place, again=again)]), file=to, flush=True)
        pid = int(answers.readline())
        return Process(pid, lambda: (int(answers.readline()), log.read_text(encoding="utf-8")))


class Job(Train):
    """`balcao job run`, from the file of products to the report."""

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        return ["job", "run", str(place / "job.toml")]

    def set_up(self, place: Path) -> None:
        write_job(place, self.folder / "model", f"lora-{place.name}")

    def has_begun(self, place: Path) -> bool:
        return (place / "made").exists()

    def result(self, place: Path) -> object:
        made = place / "made"
        files = (made / f"lora-{place.name}/adapter_model.safetensors", made / "rows/train.jsonl")
        report = json.loads((made / "report/report.json").read_bytes())
        return [*map(_digest, files), report["figures"]]

    def name(self, file: Path, place: Path) -> str:
        # tantivy may merge its segments or not, so only the folders are alike.
        return super().name(file, place).partition("/*")[0].replace(place.name, "*")


class Evaluate(Victim):
    """`balcao evaluate`, of the catalogue and of a server that answers slowly."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        self.server = self.stack.enter_context(_serving(echo(0.1)))
        source = _write_products(folder / "rows.jsonl", 400)
        self.rows, self.index = folder / "rows", folder / "index"
        _balcao(folder, "prepare", str(source), "--out", str(self.rows), "--test", "0.4")
        _balcao(folder, "index", str(source), "--out", str(self.index))

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        return [
            "evaluate", "--data", str(self.rows / "test.jsonl"), "--catalogue", str(self.index),
            "--out", str(place / "out"), "--engines", "catalogue,openai:memory", "--limit", "30",
            "--concurrency", "4", "--yes",
        ]  # fmt: skip

    def environ(self, place: Path) -> dict[str, str]:
        return _remote(self.server.url)

    def has_begun(self, place: Path) -> bool:
        return bool(self._lines(place))

    def acknowledged(self, place: Path) -> Any:
        self.server.asked.clear()
        return self._lines(place)

    def lost(self, place: Path, kept: Any) -> Iterator[str]:
        lines = self._lines(place)
        if missing := [line for line in kept if line not in lines]:
            yield f"{len(missing)} of {len(kept)} saved answers are gone"
        remote = [b'"asked":"openai:memory"' in line for line in lines]
        old = [b'"asked":"openai:memory"' in line for line in kept]
        if len(self.server.asked) != sum(remote) - sum(old):
            yield f"{len(self.server.asked)} questions for {sum(remote) - sum(old)} new answers"

    def result(self, place: Path) -> object:
        report = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
        del report["speed"]
        return report

    def _lines(self, place: Path) -> list[bytes]:
        file = place / "out" / "answers.jsonl"
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        return [line for line in lines if line.endswith(b"\n")]


class FineTune(Victim):
    """`balcao finetune`, with a provider that counts uploads and jobs."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        self.providers: dict[Path, stand_in.StandIn] = {}

    def set_up(self, place: Path) -> None:
        provider = self.stack.enter_context(stand_in.running())
        provider.upload_seconds = 0.1
        provider.fate = ("validating_files", "queued", *["running"] * 4, "succeeded")
        self.providers[place] = provider
        write_tuning_rows(place / "rows" / "train.jsonl", 12)
        write_tuning_rows(place / "rows" / "valid.jsonl", 3, "Chair")

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        return [
            "finetune", "--data", str(place / "rows"), "--yes", "--every", "0.1", "--resume",
            "--base-url", self.providers[place].url, "--api-key-env", "SHOP_TEST_KEY",
        ]  # fmt: skip

    def environ(self, place: Path) -> dict[str, str]:
        return {"SHOP_TEST_KEY": "sk-of-a-stand-in"}

    def has_begun(self, place: Path) -> bool:
        return bool(self.providers[place].lines)

    def result(self, place: Path) -> object:
        provider = self.providers[place]
        job = json.loads((place / "rows" / "finetune.json").read_text(encoding="utf-8"))
        created = [provider.count("POST /files"), provider.count("POST /fine_tuning/jobs")]
        return {
            "stored": [len(provider.files), len(provider.jobs), len(provider.created)],
            "requests": created,
            "job": {name: job.get(name) for name in ("model", "status", "curve")},
        }


class Pull(Victim):
    """`balcao models pull`, from a slow hub."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        self.hubs: dict[Path, FakeHub] = {}
        self.files = files_of()

    def set_up(self, place: Path) -> None:
        hub = FakeHub(files=self.files, large={"model.safetensors"}, pace=0.1)
        self.hubs[place] = self.stack.enter_context(running_hub(hub))

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        return ["models", "pull", self.hubs[place].model]

    def environ(self, place: Path) -> dict[str, str]:
        return {"HF_ENDPOINT": self.hubs[place].url}

    def has_begun(self, place: Path) -> bool:
        return bool(self.hubs[place].asked)

    def acknowledged(self, place: Path) -> Any:
        self.hubs[place].asked.clear()
        partial = [file.stat().st_size for file in place.rglob("*.incomplete")]
        return max(partial, default=0)

    def lost(self, place: Path, kept: Any) -> Iterator[str]:
        asked = [one.range for one in self.hubs[place].downloads("model.safetensors")]
        if kept >= MEGABYTE and asked and asked[0] != f"bytes={kept}-":
            yield f"{kept} bytes were there, and the download began at {asked[0] or 0}"


class Convert(Victim):
    """`balcao models convert` to 4 bits."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        command = [sys.executable, "-m", "tests.engine.backends.llama.make_model", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        subprocess.run([sys.executable, "-c", _ENLARGE, str(folder / "model")], check=True)

    def arguments(self, place: Path, *, again: bool) -> list[str]:
        return ["models", "convert", str(self.folder / "model"), "--quantization", "nf4"]

    def result(self, place: Path) -> object:
        return sorted(_digest(file) for file in place.rglob("*.gguf"))


_ENLARGE = """
import sys, torch
from transformers import LlamaConfig, LlamaForCausalLM
config = LlamaConfig.from_pretrained(sys.argv[1])
config.update({"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8})
torch.manual_seed(7)
LlamaForCausalLM(config).to(torch.float16).save_pretrained(sys.argv[1])
"""


class Chat:
    """The chat at a terminal, while a server's answer streams."""

    words = 60
    pause = 9
    """Of twenty words, the one after which the server pauses."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        self.stack = ExitStack()
        self.seen = 0
        """Words that were shown a second before a kill."""
        self.server = self.stack.enter_context(_serving(self._answer))
        self.index, self.home = folder / "index", folder / "home"
        source = write_rows(folder / "rows.jsonl")
        _balcao(folder, "index", str(source), "--out", str(self.index))

    def attack(self, moments: int) -> Iterator[str]:
        """Kill it at random moments of an answer. Yield each failure, and a summary last."""
        earlier: dict[str, str] = {}
        for number in range(moments):
            delay, self.pause = self.draw.uniform(0, 6), self.draw.randrange(20)
            shown = self._kill(number, delay)
            for fault in self._look(number, shown, earlier):
                yield f"FAILED moment {number}, {delay:.3f} s into the answer: {fault}"
        if (code := self._leave()) != 0:
            yield f"FAILED: the chat ended with {code} after the last kill"
        more = [path.name for path in self.home.rglob("*") if "draft" in path.name]
        if more:
            yield f"FAILED: drafts are left: {more}"
        yield f"{moments} moments, all killed at work, {self.seen} words checked"

    async def _answer(self, exchange: chat_server.Exchange) -> None:
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        await exchange.head(200, headers)
        for number in range(self.words):
            await exchange.part(chat_server.words(f"w{number:03} "))
            # Some pauses are longer than the time between two writes of the chat.
            await asyncio.sleep(2.0 if number % 20 == self.pause else 0.03)
        for part in (chat_server.words("", "stop"), chat_server.DONE, b""):
            await exchange.part(part)

    def _spawn(self) -> Any:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "scripts.cli", "--catalogue", str(self.index), "--memory"],
            cwd=str(ROOT),
            dimensions=(24, 80),
            timeout=60,
            encoding="utf-8",
            env=_environ(self.folder) | _remote(self.server.url) | {"TERM": "xterm-256color"},
        )
        child.delaybeforesend = None
        child.expect("ready")
        return child

    def _kill(self, number: int, delay: float) -> int:
        """Ask, kill, and return how many words were shown a second before that."""
        child = self._spawn()
        child.send(f"Killed question {number}\r")
        early = number % _EARLY == 0
        begun = None if not early else time.monotonic()
        shown, drawn = list[tuple[float, int]](), ""
        while begun is None or time.monotonic() < begun + delay:
            with suppress(pexpect.TIMEOUT):
                drawn += child.read_nonblocking(4096, timeout=0.02)
            seen = [int(word) for word in re.findall(r"w(\d{3})", drawn)]
            shown.append((time.monotonic(), max(seen, default=-1) + 1))
            begun = begun or (shown[-1][0] if seen else None)
        os.kill(child.pid, signal.SIGKILL)
        ended = time.monotonic()
        child.close(force=True)
        return max((count for when, count in shown if when <= ended - 1), default=0)

    def _look(self, number: int, shown: int, earlier: dict[str, str]) -> Iterator[str]:
        store = ConversationStore(self.home / "data" / "conversations.db")
        found: dict[str, str] = {}
        for listed in store.latest():
            for turn in store.open(listed.id).turns:
                found[turn.question] = turn.answer.text if turn.answer else ""
        store.close()
        question = f"Killed question {number}"
        self.seen += shown
        if shown and question not in found:
            yield "the question is gone"
        text = found.get(question, "")
        expected = "".join(f"w{word:03} " for word in range(self.words)).rstrip()
        if not expected.startswith(text.rstrip()):
            yield f"other words: {text[-60:]!r}"
        if (kept := len(text.split())) < shown:
            yield f"{kept} words are kept, {shown} were shown a second before the kill"
        changed = [name for name, before in earlier.items() if found.get(name) != before]
        if changed:
            yield f"earlier answers have changed: {changed}"
        earlier.clear()
        earlier.update(found)

    def _leave(self) -> int | None:
        child = self._spawn()
        child.send("\x11")  # Ctrl+Q
        child.expect(pexpect.EOF)
        child.close()
        code: int | None = child.exitstatus
        return code


VICTIMS: dict[str, Any] = {
    "chat": Chat,
    "index": Index,
    "prepare": Prepare,
    "train": Train,
    "job": Job,
    "evaluate": Evaluate,
    "finetune": FineTune,
    "pull": Pull,
    "convert": Convert,
}


def _wait_until(holds: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not holds():
        time.sleep(_POLL)


def _files(place: Path) -> list[Path]:
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    return [file for file in files if not _LOCK.search(file.name)]


def _digest(file: Path) -> str:
    # Times differ from run to run.
    content = file.read_bytes()
    return hashlib.sha256(
        _CREATED.sub(b"", content) if file.suffix == ".json" else content
    ).hexdigest()


def _difference(found: object, expected: object) -> str:
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return f"{found!s:.300} instead of {expected!s:.300}"
    names = [name for name in found | expected if found.get(name) != expected.get(name)]
    return ", ".join(f"{n}: {found.get(n)!s:.200} not {expected.get(n)!s:.200}" for n in names[:3])


def _environ(place: Path) -> dict[str, str]:
    """Return the environment of a run that writes to `place` only and knows no key."""
    hidden = ("BALCAO_", "OPENAI_", "HF_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    own = {"BALCAO_HOME": str(place / "home"), "HF_HOME": str(place / "hub")}
    return environ | own | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def _remote(url: str) -> dict[str, str]:
    row = {"MODEL": "m", "BASE_URL": url, "API_KEY_ENV": "", "CONNECT_TIMEOUT": "20"}
    named = {f"BALCAO_ENGINES__OPENAI__{name}": value for name, value in row.items()}
    return named | {"BALCAO_ENGINE": "openai"}


def _balcao(place: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "scripts.cli", *arguments]
    subprocess.run(command, cwd=ROOT, env=_environ(place), check=True, capture_output=True)


def _write_products(file: Path, count: int) -> Path:
    rows = ((f"{n:010d}", f"Killed Title {n}", f"Text {n} of a stool. " * 8) for n in range(count))
    return write_rows(file, tuple(rows))


@contextmanager
def _serving(reply: chat_server.Reply) -> Iterator[chat_server.Server]:
    """Run a chat server in a thread."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), list[Any]()

    async def serve() -> None:
        ended = asyncio.Event()
        async with chat_server.running() as server:
            server.always = reply
            found.extend((server, ended))
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(found[1].set)
        thread.join()
        loop.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the attacks; return 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", action="append", choices=tuple(VICTIMS), help="default: all")
    parser.add_argument("--moments", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    options = parser.parse_args(argv)
    failures = 0
    for what in options.what or VICTIMS:
        began = time.monotonic()
        lines = list[str]()
        for line in _attack(what, options.moments, options.seed):
            lines.append(line)
            print(f"{what}: {line}", flush=True)
        failed = sum(line.startswith("FAILED") for line in lines)
        failures += failed
        took = time.monotonic() - began
        print(f"{what}: {failed} failures, seed {options.seed}, {took:.0f} s", flush=True)
    return 1 if failures else 0


def _attack(what: str, moments: int, seed: int) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix=f"balcao-kill-{what}-"))
    victim = VICTIMS[what](folder, random.Random(seed))  # noqa: S311 - not for security
    with victim.stack:
        if isinstance(victim, Victim):
            yield from attack(victim, moments)
        else:
            yield from victim.attack(moments)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
