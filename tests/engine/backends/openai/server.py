"""A scripted chat server on 127.0.0.1 that speaks real HTTP and remembers what it was asked.

Each request takes the next reply of the script; `always` answers when the script has run out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from openai.types.chat import ChatCompletionChunk


@dataclass
class Exchange:
    """One request, and the connection that it came on."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client has closed the connection."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.send(("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n").encode())

    async def part(self, data: bytes) -> None:
        """A piece of a body of unknown length (RFC 9112, chunked transfer coding)."""
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def wait_until_left(self) -> None:
        with suppress(ConnectionError):
            while await self.reader.read(1024):
                pass
        self.left.set()


Reply = Callable[[Exchange], Awaitable[None]]


@dataclass
class Server:
    script: list[Reply] = field(default_factory=list)
    always: Reply | None = None
    asked: list[Exchange] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first request."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [exchange.body for exchange in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            exchange = await _read(reader, writer)
            self.asked.append(exchange)
            self.came.set()
            reply = self.script.pop(0) if self.script else self.always
            assert reply is not None, "the script has run out"
            await reply(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, headers, json.loads(body or b"{}"), reader, writer)


@asynccontextmanager
async def running() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for exchange in server.asked:
            exchange.writer.close()
        await listening.wait_closed()


def event(**fields: Any) -> bytes:
    """One event, made with the package's own type."""
    shape = {"id": "chatcmpl-1", "created": 0, "model": "m", "object": "chat.completion.chunk"}
    chunk = ChatCompletionChunk.model_validate({**shape, "choices": [], **fields})
    return sse(chunk.model_dump_json(exclude_unset=True))


def sse(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def words(text: str, finish: str | None = None, **fields: Any) -> bytes:
    delta = {"content": text} if text else {}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}], **fields)


def thoughts(text: str, name: str = "reasoning_content") -> bytes:
    return event(choices=[{"index": 0, "delta": {name: text}, "finish_reason": None}])


USAGE = {"prompt_tokens": 19, "completion_tokens": 2, "total_tokens": 21}
DONE = sse("[DONE]")
HELLO = [words("Hello"), words(" there"), words("", "stop"), event(usage=USAGE), DONE]


def streamed(*parts: bytes, kind: str = "text/event-stream") -> Reply:
    """A whole stream."""

    async def reply(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": kind, "transfer-encoding": "chunked"})
        for part in parts:
            await exchange.part(part)
        await exchange.part(b"")

    return reply


def hello() -> Reply:
    return streamed(*HELLO)


def stalled(*parts: bytes) -> Reply:
    """Begins, and then waits until the client has gone."""

    async def reply(exchange: Exchange) -> None:
        if parts:
            headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
            await exchange.head(200, headers)
            for part in parts:
                await exchange.part(part)
        await exchange.wait_until_left()

    return reply


def cut(*parts: bytes) -> Reply:
    """Begins, and then drops the connection."""

    async def reply(exchange: Exchange) -> None:
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        await exchange.head(200, headers)
        for part in parts:
            await exchange.part(part)
        exchange.writer.close()

    return reply


def hang_up() -> Reply:
    async def reply(exchange: Exchange) -> None:
        exchange.writer.close()

    return reply


def answer(
    status: int,
    body: object,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> Reply:
    """An answer in one piece: an error, or a page."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()

    async def reply(exchange: Exchange) -> None:
        size = {"content-type": kind, "content-length": str(len(data))}
        await exchange.head(status, size | dict(headers or {}))
        await exchange.send(data)

    return reply


def error(
    status: int,
    message: str,
    *,
    code: str | None = None,
    kind: str = "invalid_request_error",
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An error in OpenAI's shape."""
    inner = {"message": message, "type": kind, "param": param, "code": code}
    return answer(status, {"error": inner}, headers)


class Limited:
    """Answers `at_once` requests at a time; the others are told to come again."""

    def __init__(self, at_once: int, inner: Reply) -> None:
        self._at_once = at_once
        self._inner = inner
        self._busy = 0
        self.most = 0
        self.refused = 0

    async def __call__(self, exchange: Exchange) -> None:
        if self._busy >= self._at_once:
            self.refused += 1
            headers = {"retry-after-ms": "100"}
            await error(429, "Rate limit", code="rate_limit_exceeded", headers=headers)(exchange)
            return
        self._busy += 1
        self.most = max(self.most, self._busy)
        try:
            await self._inner(exchange)
        finally:
            self._busy -= 1
