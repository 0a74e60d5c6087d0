"""Attack `balcao serve --api` as a web page, a stranger and a careless client would.

python -m tools.attack.api --rounds 300
python -m tools.attack.api --rounds 1 --seed 17    # repeat one random request

Starts the real server with a new home. A reply that is not in OpenAI's form, a question that
is not answered afterwards, a token in what the server writes, a traceback, a file that others can
read, and more than 150 MB above the idle server are failures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import stat
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tools.attack.server import any_json

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "canary-of-the-api-5b1f2c"  # noqa: S105 - it opens nothing
MOST_MB = 150
PATIENCE = 120.0
"""Seconds for a good answer on a busy machine; the server cuts slow clients off after 30."""
_MB = 1_000_000
_QUESTION = "the competition yo-yo"
_PATHS = (
    *("models", "models/{}", "chat/completions", "files", "files/{}", "files/{}/content"),
    *("fine_tuning/jobs", "fine_tuning/jobs/{}", "fine_tuning/jobs/{}/cancel"),
    *("fine_tuning/jobs/{}/events", "fine_tuning/jobs/{}/checkpoints", "nothing", "../files"),
)
_IDS = (
    *("file-" + "0" * 24, "ftjob-" + "0" * 24, "..%2f..%2fkeys.toml", "%00", "%ff", "%1b%5b2J"),
    *("catalogue", "catalogue:memory", "x" * 1000, "%e2%80%ae", "file-../../data"),
)
_FIELDS = (
    *("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "n"),
    *("training_file", "method", "hyperparameters", "suffix", "seed", "metadata", "colour"),
)
_ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


class Target:
    """The server under attack."""

    def __init__(
        self, address: str, process: psutil.Process, session: aiohttp.ClientSession
    ) -> None:
        self.address = address
        self.port = int(address.rpartition(":")[2].partition("/")[0])
        self.process = process
        self.session = session
        self.problems: list[str] = []

    async def send(
        self,
        method: str,
        path: str,
        expected: Sequence[int] = (),
        **given: Any,  # noqa: ANN401 - aiohttp's
    ) -> tuple[int, bytes]:
        """Send a request; note a reply of another status or form."""
        url = f"{self.address}/{path}"
        async with self.session.request(method, url, **given) as reply:
            body = await reply.read()
        if expected and reply.status not in expected:
            self.problems.append(f"{method} {path[:60]}: {reply.status}, not {expected}")
        if reply.status >= 400 and not _is_error(body):  # noqa: PLR2004 - HTTP's
            self.problems.append(f"{method} {path[:60]}: {reply.status} {body[:200]!r}")
        if TOKEN.encode() in body:
            self.problems.append(f"{method} {path[:60]}: the token comes back")
        return reply.status, body

    async def ask(self) -> tuple[int, bytes]:
        """Ask the catalogue."""
        return await self.send("POST", "chat/completions", json=_asking(_QUESTION))

    async def raw(self, *parts: bytes) -> bytes:
        """Write to the bare socket; return what comes until the server closes it."""
        async with self.connection() as (reader, writer):
            with suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                return await reader.read()
        return b""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a bare connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def head(self, length: int, **more: str) -> bytes:
        """Return the head of a request with the right token."""
        fields = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {TOKEN}"}
        fields |= {"Content-Length": str(length), "Connection": "close"} | more
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n".encode()

    def megabytes(self) -> float:
        """Return the resident memory."""
        return float(self.process.memory_info().rss / _MB)


def _asking(question: str) -> dict[str, Any]:
    return {"model": "catalogue", "messages": [{"role": "user", "content": question}]}


def _is_error(body: bytes) -> bool:
    with suppress(ValueError, TypeError, KeyError):
        return set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    return False


async def strangers(target: Target, _chance: random.Random) -> None:
    """Ask without the token, with others, from a page, and by another name."""
    right = {"Authorization": f"Bearer {TOKEN}"}
    for wrong in (
        "",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        "Bearer é",
    ):
        for method, path in (("GET", "models"), ("POST", "chat/completions"), ("POST", "files")):
            await target.send(method, path, (401,), headers={"Authorization": wrong})
    for header in (
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": target.address},
        {"Host": "evil.example"}, {"Host": f"evil.example:{target.port}"}, {"Host": "127.0.0.1"},
    ):  # fmt: skip
        await target.send("GET", "models", (403,), headers=right | header)
    line = f"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    if b" 403 " not in (await target.raw(line.encode())).splitlines()[0]:
        target.problems.append("a request without a host is answered")


async def crowd(target: Target, _chance: random.Random) -> None:
    """Hold 200 idle connections, then ask 200 times at once."""
    async with AsyncExitStack() as idle:
        for _ in range(200):
            await idle.enter_async_context(target.connection())
        if (await target.ask())[0] != 200:  # noqa: PLR2004
            target.problems.append("not answered among 200 idle connections")
    found = [status for status, _ in await asyncio.gather(*(target.ask() for _ in range(200)))]
    if set(found) - {200, 429}:
        target.problems.append(f"200 at once: {sorted(set(found))}")


async def sizes(target: Target, _chance: random.Random) -> None:
    """Send 100 MB, plain, in chunks, packed, in a form, with and without the token."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(_MB)

    for path in ("chat/completions", "fine_tuning/jobs"):
        with suppress(aiohttp.ClientConnectionError):
            await target.send("POST", path, (413,), data=bytes(100 * _MB))
        with suppress(aiohttp.ClientConnectionError):
            await target.send("POST", path, (413,), data=chunks())
        with suppress(aiohttp.ClientConnectionError):
            await target.send("POST", path, (401,), data=chunks(), headers={"Authorization": "x"})
        packed = {"Content-Encoding": "deflate"}
        await target.send(
            "POST", path, (413,), data=zlib.compress(bytes(200 * _MB)), headers=packed
        )
    form = aiohttp.FormData({"purpose": "x" * _MB})
    await target.send("POST", "files", (400, 413), data=form)
    form = aiohttp.FormData({"purpose": "fine-tune"})
    form.add_field("file", bytes(100 * _MB), filename="zeros")
    _, body = await target.send("POST", "files", (200,), data=form)
    job = {"model": "base", "training_file": json.loads(body)["id"]}
    await target.send("POST", "fine_tuning/jobs", (200,), json=job)
    form = aiohttp.FormData({str(number): "x" for number in range(5000)})
    await target.send("POST", "files", (400,), data=form)


async def slow(target: Target, _chance: random.Random) -> None:
    """Send heads and bodies too slowly, and read nothing."""
    head, body = target.head(100), b"{" * 100
    form = target.head(10_000, **{"Content-Type": "multipart/form-data; boundary=x"})
    form = form.replace(b"/chat/completions", b"/files")
    async with asyncio.timeout(PATIENCE):
        ended = await asyncio.gather(
            target.raw(head[:40]),
            target.raw(head, body[:50]),
            target.raw(form, b"--x\r\nContent-"),
            target.raw(form, b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc'),
            *(target.raw(head + body[:50]) for _ in range(100)),
        )
    if sum(b" 408 " in one for one in ended) < 103:  # noqa: PLR2004 - all but the first
        target.problems.append(f"slow clients got {set(ended)}")


async def fields(target: Target, chance: random.Random) -> None:
    """Send one request with random fields, path, query and method."""
    values = {name: any_json(chance) for name in chance.sample(_FIELDS, chance.randrange(6))}
    shape = chance.choice([values, _asking("a yo-yo") | values, any_json(chance)])
    body = bytearray(json.dumps(shape).encode())
    if chance.random() < 0.2:  # noqa: PLR2004
        for _ in range(4):
            body[chance.randrange(len(body))] = chance.randrange(256)
    method = chance.choice(["GET", "POST", "POST", "POST", "DELETE", "PUT", "OPTIONS"])
    path = chance.choice(_PATHS).format(chance.choice(_IDS))
    limit = chance.choice(["-1", "9" * 4400, "x", "1e9", "%00", "10"])
    query = chance.choice(["", f"?limit={limit}&after={chance.choice(_IDS)}&order=asc&purpose=x"])
    status, _ = await target.send(method, path + query, data=bytes(body))
    if status >= 500:  # noqa: PLR2004
        target.problems.append(f"{status} for {method} {path[:60]} {bytes(body)[:300]!r}")


async def bytes_of_http(target: Target, chance: random.Random) -> None:
    """Flip and cut bytes of a good request."""
    body = json.dumps(
        {"model": "catalogue", "messages": [{"role": "user", "content": "x"}]}
    ).encode()
    data = bytearray(target.head(len(body)) + body)
    for _ in range(chance.randrange(6)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    async with target.connection() as (reader, writer):
        with suppress(ConnectionError, TimeoutError):
            writer.write(bytes(data[: chance.randrange(len(data))]))
            writer.write_eof()
            async with asyncio.timeout(0.2):
                if b"Traceback" in (got := await reader.read()):
                    target.problems.append(f"{bytes(data)!r}: {got[:300]!r}")


async def files(target: Target, _chance: random.Random) -> None:
    """Train on files that are no rows; every job must say why it fails."""
    rows = (
        b"", b"\xff\xfe" + _ROW, b"[" * 100_000 + b"\n", _ROW * 3,
        _ROW.replace(b'"a"', b'"\\ud83d"') * 10,
        _ROW * 10 + b"{" + b"x" * 20 * _MB, _ROW * 9 + b'{"messages": NaN}\n', bytes(1000),
        b"PK\x05\x06" + _ROW * 10, _ROW.replace(b'"user"', b'"system"') * 10,
    )  # fmt: skip
    made = []
    for data in rows:
        form = aiohttp.FormData({"purpose": "fine-tune"})
        form.add_field("file", data, filename="\u202e/../a\u200e.jsonl")
        _, body = await target.send("POST", "files", (200,), data=form)
        if any(bad in json.loads(body)["filename"] for bad in "\u202e\u200e"):
            target.problems.append(f"the name of a file: {body!r}")
        job = {"model": "base", "training_file": json.loads(body)["id"], "suffix": "\x1b[2J../é"}
        made.append(
            json.loads((await target.send("POST", "fine_tuning/jobs", (200,), json=job))[1])
        )
    async with asyncio.timeout(PATIENCE):
        for one in made:
            while (found := await _job(target, one["id"]))["finished_at"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            if found["status"] != "failed" or not found["error"]["message"]:
                target.problems.append(f"a job on no rows: {found}")


async def _job(target: Target, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await target.send("GET", f"fine_tuning/jobs/{job_id}"))[1])
    return found


Attack = Callable[[Target, random.Random], Awaitable[None]]
ATTACKS: tuple[Attack, ...] = (strangers, crowd, sizes, slow, files)
RANDOM: tuple[Attack, ...] = (fields, fields, bytes_of_http)


@asynccontextmanager
async def serving(home: Path, log: Path) -> AsyncIterator[Target]:
    """Run the server."""
    environ = os.environ | {
        "BALCAO_HOME": str(home),
        "BALCAO_API_TOKEN": TOKEN,
        "BALCAO_ENGINES__BASE__MODEL": str(home / "no-model"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-P", "-m", "scripts.cli", "serve", "--api", "--port", "0"]
    with log.open("wb") as errors:
        server = await asyncio.create_subprocess_exec(
            *command, env=environ, stdout=subprocess.PIPE, stderr=errors
        )
    address = (await server.stdout.readline()).decode().strip() if server.stdout else ""
    timeout = aiohttp.ClientTimeout(PATIENCE)
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=allowed, timeout=timeout, connector=connector) as one:
        yield Target(address, psutil.Process(server.pid), one)
    server.terminate()
    await server.wait()


async def _attack(target: Target, attack: Attack, chance: random.Random, idle: float) -> None:
    await attack(target, chance)
    status, body = await target.ask()
    if status != 200 or json.loads(body)["balcao"]["status"] == "none":  # noqa: PLR2004
        target.problems.append(f"not answered afterwards: {status} {body[:200]!r}")
    if target.megabytes() - idle > MOST_MB:
        target.problems.append(f"{target.megabytes() - idle:.0f} MB above {idle:.0f}")


async def run(attacks: Sequence[Attack], rounds: int, seed: int) -> int:
    """Attack, then send so many random requests; return the number of failures."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        home, log = Path(folder) / "home", Path(folder) / "log"
        async with serving(home, log) as target:
            await target.ask()
            idle = target.megabytes()
            plan = [(one.__name__, one, seed) for one in attacks]
            for number in range(seed, seed + rounds):
                attack = random.Random(number).choice(RANDOM)  # noqa: S311 - requests
                plan.append((f"{attack.__name__} --seed {number}", attack, number))
            for name, attack, number in plan:
                target.problems.clear()
                await _attack(target, attack, random.Random(number), idle)  # noqa: S311 - as above
                failures += bool(target.problems)
                for problem in target.problems:
                    print(f"FAILED  {name}: {problem}")
                if attack in ATTACKS:
                    print(f"{name}: {target.megabytes() - idle:+.0f} MB", flush=True)
        for problem in _left_behind(home, log):
            print(f"FAILED  {problem}")
            failures += 1
    print(f"{len(plan)} attacks, {failures} failures")
    return failures


def _left_behind(home: Path, log: Path) -> list[str]:
    """Return what the server should not have written, or written for all to read."""
    said = log.read_text(encoding="utf-8", errors="replace")
    found = ["a traceback in the log: " + said[-2000:]] if "Traceback" in said else []
    files = [log, *(file for file in (home / "data").rglob("*") if file.is_file())]
    found += [f"the token is in {file}" for file in files if TOKEN.encode() in file.read_bytes()]
    others = stat.S_IRWXG | stat.S_IRWXO
    private = (home / "data" / "api").glob("*")
    return found + [f"others can read {one}" for one in private if one.stat().st_mode & others]


def main(argv: Sequence[str] | None = None) -> int:
    """Attack; return 1 after a failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="random requests")
    parser.add_argument("--seed", type=int, help="of the first of them; leaves the others out")
    options = parser.parse_args(argv)
    attacks = ATTACKS if options.seed is None else ()
    return min(1, asyncio.run(run(attacks, options.rounds, options.seed or 0)))


if __name__ == "__main__":
    sys.exit(main())
