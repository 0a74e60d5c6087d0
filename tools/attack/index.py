"""Damage the files of the sample catalogue; see that it is refused in words, then repaired.

python -m tools.attack.index --rounds 400 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from engine.catalogue.catalogue import Catalogue
from engine.config import paths
from engine.core.errors import CatalogueError

_TIMEOUT = 60
_QUESTIONS = (
    "Saffron and Smoke",
    "do you have the striped apron?",
    "Qual é a descrição de “Nether Wimpling Worm Farm for Terrariums”?",
    "safron adn smoke",
    "terrarium worm frm",
    "an archivist who tallies lighthouses swallowed by fog and careless rulers",
    "a stew that is cooked over an open fire for the whole night",
    "B0",
    "nothing of the kind zzyzx",
)
_TYPED = ("Neth", "nether wim", "do you have the str", "saffro", "the", "qual é o sa", "wrom far")
Damage = Callable[[bytes, random.Random], bytes | None]
"""Make the damaged content of a file, or None to delete it."""


def _flip(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 8, 64)) if data else 0):
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _overwrite(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data) + 1)
    size = draw.choice((1, 4, 64, 4096))
    filling = draw.choice((b"\0" * size, b"\xff" * size, draw.randbytes(size)))
    return (data[:start] + filling + data[start + size :])[: len(data)]


DAMAGES: dict[str, Damage] = {
    "flip": _flip,
    "overwrite": _overwrite,
    "truncate": lambda data, draw: data[: draw.randrange(len(data) + 1)],
    "empty": lambda _data, _draw: b"",
    "delete": lambda _data, _draw: None,
    "append": lambda data, draw: data + draw.randbytes(draw.choice((1, 100))),
}
_WEIGHTS = (8, 4, 3, 1, 1, 1)


def index_files(folder: Path) -> list[Path]:
    """List the files of an index in an order that does not depend on their random names."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(files, key=lambda path: (path.parent.name, path.suffix, path.name))


def damage(folder: Path, draw: random.Random) -> str:
    """Damage one file of the index in `folder`; describe how."""
    file = draw.choice(index_files(folder))
    (how,) = draw.choices(list(DAMAGES), _WEIGHTS)
    damaged = DAMAGES[how](file.read_bytes(), draw)
    if damaged is None:
        file.unlink()
    else:
        file.write_bytes(damaged)
    return f"{how} {file.parent.name}/{file.suffix or file.name}"


def probe(folder: Path, uids: Sequence[str]) -> Iterator[str]:
    """Open the catalogue and ask everything of it; yield each answer, or the error's words."""
    try:
        opened = Catalogue.open(folder)
    except CatalogueError as error:
        yield f"refused: {error}"
        return
    with closing(opened):
        asked: list[Callable[[], object]] = [opened.__len__]
        asked += [partial(opened.find, text) for text in _QUESTIONS]
        asked += [partial(opened.complete, text) for text in _TYPED]
        asked += [partial(ask, uid) for uid in uids for ask in (opened.get, opened.related)]
        for ask in asked:
            try:
                yield f"answered: {ask()}"
            except CatalogueError as error:
                yield f"refused: {error}"


class _Result(msgspec.Struct):
    """What a catalogue answered before and after the repair, and how that ended."""

    found: list[str]
    status: int
    after: list[str]


def _uids() -> list[str]:
    lines = paths.sample_source().read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["uid"]) for line in lines[::9]]


def examine() -> _Result:
    """Probe the damaged sample, repair it with the command, and probe it again."""
    from scripts.index import main as index

    folder = paths.sample_catalogue_dir()
    found = list(probe(folder, _uids()))
    status = index(["--sample", "--json"])
    return _Result(found, status, list(probe(folder, _uids())))


def _round(number: int, seed: int, home: Path, whole: list[str]) -> tuple[str, str]:
    """Return what became of one damage, and what went wrong."""
    draw = random.Random(seed * 1_000_003 + number)  # noqa: S311 - not for security
    how = damage(home / "data" / "sample-catalogue", draw)
    command = [sys.executable, "-m", "tools.attack.index", "--examine"]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return "hang", f"{how}: no end within {_TIMEOUT} s"
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or [""]
        return "crash", f"{how}: exit status {ended.returncode}: {last[0]}"
    result = msgspec.json.decode(ended.stdout.splitlines()[-1], type=_Result)
    return _judge(how, result, whole, ended.stderr)


def _judge(how: str, result: _Result, whole: list[str], noise: str) -> tuple[str, str]:
    found = result.found
    refused = [text for text in found if text.startswith("refused")]
    kind = (
        "refused when opened"
        if len(found) == 1
        else "refused when asked"
        if refused
        else "answered as before"
        if found == whole
        else "answered otherwise"
    )
    if "panicked" in noise:
        kind += ", panicked"
    if [text for text in refused if "balcao index --sample" not in text]:
        return kind, f"{how}: no remedy: {refused[0][:300]}"
    if result.status or result.after != whole:
        return kind, f"{how}: not repaired: exit status {result.status}"
    return kind, ""


def _new_home(home: Path) -> list[str]:
    from engine.catalogue.index import ensure_sample

    os.environ["BALCAO_HOME"] = str(home)
    return list(probe(ensure_sample(), _uids()))


def attack(rounds: int, seed: int, home: Path) -> tuple[Counter[str], int]:
    """Run `rounds` damages; print each failure. Return the outcomes and the failures."""
    whole = _new_home(home)
    outcomes: Counter[str] = Counter()
    failures = 0
    for number in range(rounds):
        outcome, wrong = _round(number, seed, home, whole)
        outcomes[outcome] += 1
        if wrong:
            failures += 1
            print(f"seed {seed} round {number}: {outcome}: {wrong}", flush=True)
            shutil.rmtree(home)
            whole = _new_home(home)
    return outcomes, failures


def main(argv: Sequence[str] | None = None) -> int:
    """Run the attack; return 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="tools.attack.index", description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examine", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.examine:
        print(msgspec.json.encode(examine()).decode())
        return 0
    with tempfile.TemporaryDirectory() as home:
        outcomes, failures = attack(options.rounds, options.seed, Path(home))
    print(f"{options.rounds} damages, {failures} failures: {dict(outcomes.most_common())}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
