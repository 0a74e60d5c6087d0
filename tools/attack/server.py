"""Answer the chat as a hostile server does, then as a good one.

python -m tools.attack.server --rounds 300
python -m tools.attack.server --rounds 1 --seed 17    # repeat one attack

An exception that is no sentence, a hang, a good question that is not answered after an attack, a
key that comes back, and a history that cannot be exported and imported are failures.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import json
import os
import random
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import quote

from engine.chat import export
from engine.chat.open import open_resources
from engine.chat.session import Session
from engine.config.settings import load
from engine.core.errors import BalcaoError
from engine.core.text import clip, one_line
from engine.core.types import Answered, Mode
from engine.store.conversations import ConversationStore

LIMIT = 30.0
"""Seconds for one question on a busy machine: all limits of the engine are below three."""
KEY = "sk-canary-3f9b2e77c1d04a58"
SETTINGS = """\
engine = "hostile"
mode = "memory"

[engines.hostile]
kind = "openai"
model = "m"
base_url = "http://user:pass-of-canary@127.0.0.1:{port}/v1"
api_key_env = "HOSTILE_API_KEY"
max_tokens = 64
connect_timeout = 2.0
stall_timeout = 0.5
first_token_timeout = 2.0
max_retries = 0
"""
Send = Callable[[bytes], Awaitable[None]]
Attack = Callable[[random.Random, Send], Awaitable[None]]
"""Sends its bytes, which raises ConnectionError once the client has gone."""


def event(content: str = "", finish: str | None = None, **fields: object) -> bytes:
    """Write an event with one choice, in ASCII: half characters as escapes."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish, **fields}
    return sse({"choices": [choice]})


def sse(value: object) -> bytes:
    """Write an event."""
    return f"data: {json.dumps(value)}\n\n".encode()


def head(status: int = 200, kind: str = "text/event-stream", **headers: str) -> bytes:
    """Write the head of an answer that ends with its connection."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


USAGE = {"prompt_tokens": 19, "completion_tokens": 2}
GOOD = (
    b"".join(
        [event("Hello"), event(" there"), event("", "stop"), sse({"choices": [], "usage": USAGE})]
    )
    + b"data: [DONE]\n\n"
)
NAMES = (
    *("choices", "delta", "content", "index", "finish_reason", "usage", "prompt_tokens", "error"),
    *("completion_tokens", "reasoning", "reasoning_content", "logprobs", "logprob", "refusal"),
    *("message", "detail", "loc", "msg", "code", "param", "type", "role", "tool_calls"),
)
LEAVES: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 2**53 + 1, 10**400, 1.5, float("nan"), float("inf"), "", "stop"),
    *("length", "\ud83d", "\ude00", "half \ud83d", "\x1b]0;x\x07", "\u202e", "\x00", "x" * 5000),
)


def any_json(chance: random.Random, depth: int = 4) -> object:
    """Return a JSON value with the names that answers have, at any place."""
    kind = chance.random()
    if depth and kind < 0.35:  # noqa: PLR2004
        return [any_json(chance, depth - 1) for _ in range(chance.randrange(4))]
    if depth and kind < 0.8:  # noqa: PLR2004
        names = chance.sample(NAMES, chance.randrange(5))
        return {name: any_json(chance, depth - 1) for name in names}
    return chance.choice(LEAVES)


async def forever(send: Send, part: bytes, pause: float = 0.0) -> None:
    """Send `part` until the client has gone."""
    while True:
        await send(part)
        await asyncio.sleep(pause)


async def cut(chance: random.Random, send: Send) -> None:
    """End a good stream anywhere, after any pieces."""
    whole = head() + GOOD
    at = 0
    stop = chance.randrange(len(whole))
    while at < stop:
        step = min(chance.randrange(1, 200), stop - at)
        await send(whole[at : at + step])
        at += step


async def flipped(chance: random.Random, send: Send) -> None:
    """Change some bytes of a good answer, its head included or not."""
    safe = chance.choice([b"", head()])
    data = bytearray((b"" if safe else head()) + GOOD)
    for _ in range(chance.randrange(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    await send(safe + bytes(data))


async def halves(chance: random.Random, send: Send) -> None:
    """Send a text cut into UTF-16 units, and other halves of characters."""
    text = "😀 half 🎉 of 🧵 all".encode("utf-16-le")
    units = [
        text[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(text), 2)
    ]
    if chance.random() < 0.7:  # noqa: PLR2004
        chance.shuffle(units)
    raw = [b'data: {"choices":[{"delta":{"content":"\xed\xa0\xbd"}}]}\n\n', b"data: \xff\xfe\n\n"]
    names = ("content", "reasoning", "refusal")
    parts = [event(delta={chance.choice(names): unit}) for unit in units]
    if chance.random() < 0.5:  # noqa: PLR2004
        parts.insert(chance.randrange(len(parts)), chance.choice(raw))
    await send(head() + b"".join(parts) + event("", "stop"))


async def counts(chance: random.Random, send: Send) -> None:
    """Finish an answer with token counts and logprobs of any kind."""
    usage = {name: any_json(chance, 1) for name in (*USAGE, "total_tokens")}
    logprobs = {"content": [{"logprob": any_json(chance, 0)} for _ in range(3)]}
    await send(head() + event("Hello", logprobs=logprobs) + event("", "stop"))
    await send(sse({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")


async def strange(chance: random.Random, send: Send) -> None:
    """Send events of any shape, perhaps with good ones between them."""
    parts = [sse(any_json(chance)) for _ in range(chance.randrange(1, 9))]
    if chance.random() < 0.5:  # noqa: PLR2004
        parts.insert(chance.randrange(len(parts)), event("Hello", "stop"))
    await send(head() + b"".join(parts))


async def deep(chance: random.Random, send: Send) -> None:
    """Nest an event, an error or a body as deeply as it fits."""
    depth = chance.choice([300, 900, 990, 5_000, 100_000])
    opening, closing_ = chance.choice([(b"[", b"]"), (b'{"error":', b"}"), (b'{"choices":', b"}")])
    body = opening * depth + b"1" + closing_ * chance.choice([0, depth])
    status = chance.choice([200, 400, 500])
    kind = chance.choice(["text/event-stream", "application/json"])
    await send(head(status, kind) + (b"data: " + body + b"\n\n" if "event" in kind else body))


async def endless(chance: random.Random, send: Send) -> None:
    """Never end: an answer, reasoning, a line, an event, comments, empty events."""
    part = chance.choice(
        [
            event("word " * chance.choice([10, 20, 2000])),
            event(delta={"reasoning": "hm " * 500}),
            event("", logprobs={"content": [{"logprob": -1.0}] * 5000}),
            b"x" * 65536,
            b"data: x\n" * 8192,
            b": ping\n\n" * chance.choice([1, 8192]),
            sse({"choices": []}) * chance.choice([1, 1000]),
            event("", "stop") * 1000,
        ]
    )
    await send(head() + chance.choice([b"data: ", b"", event("Hello")]))
    await forever(send, part, chance.choice([0.0, 0.0, 0.01]))


async def packed(chance: random.Random, send: Send) -> None:
    """Send an encoding that unpacks to much, or is broken, unknown or applied many times."""
    body = chance.choice([b"0" * 80_000_000, GOOD + b" " * 20_000_000, GOOD])
    data = gzip.compress(body, 1)
    name = chance.choice(
        ["gzip", "gzip", "deflate", "gzip, gzip", "br", "x", ",".join(["gzip"] * 9)]
    )
    if chance.random() < 0.3:  # noqa: PLR2004
        at = chance.randrange(len(data))
        data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    elif name == "deflate":
        data = zlib.compress(body, 1)
    status, kind = (
        chance.choice([200, 200, 429, 500]),
        chance.choice(["text/event-stream", "text/plain"]),
    )
    await send(head(status, kind, content_encoding=name) + data)


async def refused(chance: random.Random, send: Send) -> None:
    """Refuse with any status, headers and body."""
    status = chance.choice(
        [400, 401, 402, 403, 404, 409, 413, 418, 422, 429, 500, 503, 529, 999, 204]
    )
    charsets = ("utf-8", "zlib", "hex", "utf-16", "idna", "undefined", "no-such", "\xff")
    kind = chance.choice(["application/json", "text/html", "text/plain", "x"])
    long = "max_tokens " * 2000 + " maximum context length " + "\x1b[2J" * 3000
    body = chance.choice(
        [
            json.dumps(any_json(chance)).encode(),
            json.dumps(
                {"error": {"message": any_json(chance), "code": any_json(chance, 1)}}
            ).encode(),
            json.dumps({"error": {"message": long, "type": long, "param": long}}).encode(),
            json.dumps({"detail": [any_json(chance)] * 200}).encode(),
            b"<html>" + b"x" * 200_000,
            b" " * 300_000 + b"{}",
            chance.randbytes(3000),
        ]
    )
    waits = (
        "soon",
        "-1",
        "nan",
        "inf",
        "0",
        "0.1",
        "1e999",
        "9" * 400,
        "Fri, 31 Dec 1999 23:59:59 GMT",
    )
    extra = {
        "retry_after": chance.choice(waits),
        "x_should_retry": chance.choice(["true", "false", "x"]),
    }
    kind = f"{kind}; charset={chance.choice(charsets)}"
    await send(head(status, kind, **extra) + body)


async def redirected(chance: random.Random, send: Send) -> None:
    """Redirect to anywhere, to the server itself for ever included."""
    places = (
        "/v1/chat/completions",
        "http://127.0.0.1:9/v1",
        "http://[::1",
        "//",
        "javascript:1",
        "\x80",
    )
    target = chance.choice(
        [*places, "https://a:b@example.invalid/" + "x" * 5000, "ftp://x", "?a#b"]
    )
    await send(head(chance.choice([301, 302, 303, 307, 308]), location=target) + b"moved")


async def dripping(chance: random.Random, send: Send) -> None:
    """Send one byte or event at a time, without end, at any place of an answer."""
    start, part = chance.choice(
        [
            (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (head(500, "text/plain"), b"x"),
            (head(200, "application/json"), b" "),
            (head(), b": ping\n\n"),
            (head() + event("Hello"), b": ping\n\n"),
            (head() + event("Hello"), sse({"choices": []})),
            (head() + event("Hello", "stop"), sse({"choices": []})),
            (head() + event("Hello", "stop"), b"x"),
        ]
    )
    await send(start)
    await forever(send, part, 0.05)


async def garbage(chance: random.Random, send: Send) -> None:
    """Send no HTTP, or a head that is none."""
    lines = chance.choice(
        [
            chance.randbytes(400),
            b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000,
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
            b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n" + GOOD,
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n" + GOOD,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + GOOD,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" + GOOD,
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n" + GOOD,
            b"HTTP/9.9 200 OK\r\n\r\n" + GOOD,
            b"HTTP/1.1 200\r\nset-cookie: \xff=\x01; domain=\xfe\r\ncontent-type: \xff\r\n\r\n"
            + GOOD,
            b"",
        ]
    )
    await send(lines)


async def echoed(chance: random.Random, send: Send) -> None:
    """Send the key and the password back, altered, in an answer or an error."""
    secret = chance.choice(
        [KEY, "pass-of-canary", base64.b64encode(b"user:pass-of-canary").decode()]
    )
    form = chance.choice(
        [
            secret,
            secret.upper(),
            "\u200e".join(secret),
            "\x00".join(secret),
            " ".join(secret),
            secret[:9] + "\n" + secret[9:],
            "".join(f"%{ord(letter):02X}" for letter in secret),
            quote(quote(secret)).replace("-", "%252D"),
        ]
    )
    text = chance.choice(["It is ", ""]) + form + chance.choice([".", ""])
    if chance.random() < 0.3:  # noqa: PLR2004
        await send(head(chance.choice([400, 418, 500]), "text/plain") + text.encode())
        return
    if chance.random() < 0.3:  # noqa: PLR2004
        await send(head() + event("Hello") + sse({"error": {"message": text}}))
        return
    name, size = chance.choice(["content", "reasoning"]), chance.choice([1, 3, 1000])
    pieces = [event(delta={name: text[at : at + size]}) for at in range(0, len(text), size)]
    await send(head() + b"".join(pieces) + event("", chance.choice(["stop", "length"])))


async def silent(chance: random.Random, send: Send) -> None:
    """Send nothing more, at any place of an answer."""
    await send((head() + GOOD)[: chance.randrange(len(head() + GOOD) - 60)])
    await asyncio.sleep(LIMIT)


ATTACKS: tuple[Attack, ...] = (
    *(cut, flipped, halves, counts, strange, deep, endless, packed, refused, redirected),
    *(dripping, garbage, echoed, silent),
)


class Wrong(Exception):
    """What should not have happened."""


class Server:
    """A server that runs `attack` for each question, or answers well without one."""

    def __init__(self) -> None:
        self.attack: Callable[[Send], Awaitable[None]] | None = None
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question."""

        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await (self.attack(send) if self.attack else send(head() + GOOD))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            with suppress(OSError):
                writer.close()

    async def stop(self) -> None:
        """Cancel the attacks that still run."""
        connections = set(self._connections)
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)


@asynccontextmanager
async def listening() -> AsyncIterator[Server]:
    """Run a server on a free port."""
    server = Server()
    running = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = running.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        running.close()
        await server.stop()


@contextmanager
def home(port: int, catalogue: str = "") -> Iterator[None]:
    """Point the program at a folder with an engine on that port."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="balcao-server-") as folder:
        for name in [name for name in os.environ if name.startswith(("BALCAO_", "OPENAI_"))]:
            del os.environ[name]
        os.environ |= {"BALCAO_HOME": folder, "HOSTILE_API_KEY": KEY}
        (Path(folder) / "config").mkdir()
        text = f'catalogue = "{catalogue}"\n' if catalogue else ""
        text += SETTINGS.format(port=port)
        (Path(folder) / "config" / "settings.toml").write_text(text)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


async def ask(session: Session, question: str) -> Answered:
    """Ask and return the last event."""
    last: object = None
    async with asyncio.timeout(LIMIT), aclosing(session.ask(question)) as events:
        async for each in events:
            last = each
    if not isinstance(last, Answered):
        raise Wrong(f"ended with {last!r}")
    return last


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


SECRETS = tuple(map(_letters, (KEY, "pass-of-canary")))


def chosen(seed: int) -> tuple[Attack, random.Random]:
    """Return the attack of a seed, and its chance."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    return chance.choice(ATTACKS), chance


async def attack(session: Session, server: Server, seed: int) -> str:
    """Run one attack; return what went wrong."""
    kind, chance = chosen(seed)
    server.attack = lambda send: kind(chance, send)
    session.new()
    try:
        answer = (await ask(session, "Is it there?")).answer
        shown = f"{answer.text} {answer.thinking} {answer.problem}"
        shown.encode()
        if any(secret in _letters(shown) for secret in SECRETS):
            raise Wrong(f"a key in {shown!r}")  # noqa: TRY301
        server.attack = None
        good = (await ask(session, "And now?")).answer
        if good.text != "Hello there":
            raise Wrong(f"a good question got {good.text!r}, {good.problem}")  # noqa: TRY301
    except BaseException as error:  # noqa: BLE001 - a panic or a traceback is what we look for
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{kind.__name__}: {error!r} ({where.filename}:{where.lineno})"
    return ""


def check_history(store: ConversationStore, asked: int) -> list[str]:
    """Return what is wrong with the saved answers, exported and imported."""
    whole = "".join(export.as_json(store, store.ids()))
    wrong = [f"the history has the key {one}" for one in SECRETS if one in _letters(whole)]
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(ConversationStore(Path(folder) / "again.db")) as again,
    ):
        added = export.import_bytes(again, whole.encode(), "the export").new
        wrong += [] if added == asked else [f"{added} of {asked} conversations come back"]
    return wrong


async def run(seeds: Sequence[int], report: Callable[[str], None], catalogue: str = "") -> int:
    """Attack once for each seed; return the number of failures."""
    failures: list[str] = []

    def fail(words: str) -> None:
        failures.append(words)
        report(words)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: fail(f"in the event loop: {context}"))
    async with listening() as server:
        with home(server.port, catalogue):
            resources = await asyncio.to_thread(open_resources, load())
            session = Session(load(), resources)
            session.mode = Mode.MEMORY
            await ask(session, "Are you there?")
            for number in seeds:
                started = time.monotonic()
                wrong = await attack(session, server, number)
                if wrong:
                    took = time.monotonic() - started
                    fail(f"--seed {number}: {clip(one_line(wrong), 400)} ({took:.1f} s)")
            try:
                for wrong in check_history(await session.store(), len(seeds) + 1):
                    fail(wrong)
            except BalcaoError as error:
                fail(f"the history: {error}")
            await resources.close()
    return len(failures)


def main(argv: Sequence[str] | None = None) -> int:
    """Attack; return 1 after a failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    started = time.monotonic()
    failures = asyncio.run(run(range(options.seed, options.seed + options.rounds), print))
    took = time.monotonic() - started
    print(f"{options.rounds} hostile servers, {failures} failures, {took:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
