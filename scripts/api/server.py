"""The HTTP server of `balcao serve --api`: who may ask, how much, and in which form.

Every request needs the bearer token. On a loopback address the `Host` must be the server's own and
a web page is refused, so that no site open in a browser here can ask.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from ipaddress import ip_address

import msgspec
from aiohttp import web

from engine.chat.answer import PendingAnswer
from engine.chat.open import Resources
from engine.config import paths
from engine.core.errors import BalcaoError
from engine.core.types import Answered, Event, Piece, Tokens
from scripts.api.bodies import (
    ApiError,
    Body,
    ChatRequest,
    Reply,
    convert,
    error_body,
    page,
    read_chat_request,
    read_object,
)
from scripts.api.chat import Counter, explain, extra_of, finish_reason, finished, tokens_of
from scripts.api.files import FileRecord, FileStore
from scripts.api.tuning import JobRequest, Jobs

MAX_BODY = 2 * 1024 * 1024
"""Bytes of a request."""
_BODY_WITHIN = 30.0
"""Seconds in which a client must send its request."""
_ANSWER_WITHIN = 900.0
"""Seconds for an answer, with the loading of its model."""
_READ_WITHIN = 30.0
"""Seconds in which a client must take what was written for it."""
_MAX_ANSWERS = 64
"""Answers at a time; those of one model wait for each other."""
_SHUTDOWN_WITHIN = 5.0
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_JOBS = "/v1/fine_tuning/jobs"
_MOST_FILES, _MOST_JOBS = 10_000, 100
"""Items of a page."""
_DONE = b"data: [DONE]\n\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str) -> bool:
    """Report whether a host name is this machine's own."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


class ApiServer:
    """Serve OpenAI's chat and fine-tuning calls at `address`."""

    def __init__(self, resources: Resources, host: str, port: int, token: str) -> None:
        """Listen on `host` and `port`. Raise OSError if that is not possible."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listening = socket.create_server((host, port), family=family)
        shown, number = f"[{host}]" if ":" in host else host, self.listening.getsockname()[1]
        self.address = f"http://{shown}:{number}/v1"
        self._hosts = {f"{name}:{number}" for name in (*_LOCAL_NAMES, shown)}
        self._local = is_loopback(host)
        self._token = token.encode()
        self._resources = resources
        self._counter = Counter(resources)
        self._files = FileStore(paths.data_dir() / "api" / "files")
        self._jobs = Jobs(paths.data_dir() / "api" / "jobs", self._files, resources.registry)
        self._answers = 0

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # of requests that are cut
        web.run_app(
            self.app(),
            sock=self.listening,
            print=None,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_WITHIN,
            keepalive_timeout=_BODY_WITHIN,
            handler_cancellation=True,
        )

    def app(self) -> web.Application:
        """Return the application; it closes the resources when it ends."""
        app = web.Application(middlewares=[self._in_openai_form], client_max_size=MAX_BODY)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/v1/models/{model:.+}", self._show_model)
        app.router.add_post("/v1/chat/completions", self._complete)
        add = app.router.add_route
        add("POST", "/v1/files", self._upload)
        add("GET", "/v1/files", self._list_files)
        add("GET", "/v1/files/{id}", self._show_file)
        add("GET", "/v1/files/{id}/content", self._send_file)
        add("DELETE", "/v1/files/{id}", self._delete_file)
        add("POST", _JOBS, self._create_job)
        add("GET", _JOBS, self._list_jobs)
        add("GET", f"{_JOBS}/{{id}}", self._show_job)
        add("POST", f"{_JOBS}/{{id}}/cancel", self._cancel_job)
        add("GET", f"{_JOBS}/{{id}}/events", self._list_events)
        add("GET", f"{_JOBS}/{{id}}/checkpoints", self._list_checkpoints)
        app.cleanup_ctx.append(self._working)
        app.on_cleanup.append(self._close)
        return app

    async def _working(self, _app: web.Application) -> AsyncIterator[None]:
        """Run the fine-tuning jobs while the server runs; a training goes on without it."""
        work = asyncio.create_task(self._jobs.work())
        yield
        work.cancel()
        await asyncio.wait([work])

    async def _close(self, _app: web.Application) -> None:
        await self._resources.close()

    @web.middleware
    async def _in_openai_form(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check who asks, and turn every failure into OpenAI's form."""
        try:
            self._check_access(request)
            return await handler(request)
        except ApiError as error:
            return web.json_response(error.body, status=error.status, headers=error.headers)
        except web.HTTPException as error:
            return _http_error(request, error)
        except BalcaoError as error:
            refused = explain(error)
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)

    def _check_access(self, request: web.Request) -> None:
        if self._local and (
            request.headers.get("Host", "") not in self._hosts or "Origin" in request.headers
        ):
            raise ApiError(403, "This server answers programs on its own machine only.")
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not secrets.compare_digest(given, b"Bearer " + self._token):
            raise ApiError(
                401,
                "Incorrect API key. Give the token of this server as the API key.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _list_models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": await self._counter.models()})

    async def _show_model(self, request: web.Request) -> web.Response:
        return web.json_response(await self._counter.model(request.match_info["model"]))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        wanted = read_chat_request(await _body(request))
        if self._answers >= _MAX_ANSWERS:
            raise ApiError(
                429,
                f"The server gives {_MAX_ANSWERS} answers already. Ask again in a while.",
                code="rate_limit_exceeded",
                headers={"Retry-After": "5"},
            )
        self._answers += 1
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                pending = await self._counter.pending(wanted)
                async with aclosing(pending.events()) as events:
                    if wanted.stream:
                        return await _stream(request, wanted, pending, events)
                    return await _answer(wanted, pending, events)
        except TimeoutError:
            message = f"No answer within {_ANSWER_WITHIN:.0f} seconds."
            raise ApiError(504, message, headers={"x-should-retry": "false"}) from None
        finally:
            self._answers -= 1

    async def _upload(self, request: web.Request) -> web.Response:
        return _object(await self._files.receive(request))

    async def _list_files(self, request: web.Request) -> web.Response:
        wanted, oldest_first = request.query.get("purpose"), request.query.get("order") == "asc"
        files = await asyncio.to_thread(self._files.newest)
        found = [msgspec.to_builtins(one) for one in files if wanted in (None, one.purpose)]
        shown = found[::-1] if oldest_first else found
        return web.json_response(page(shown, {"limit": "10000"} | dict(request.query), _MOST_FILES))

    async def _show_file(self, request: web.Request) -> web.Response:
        return _object(await asyncio.to_thread(self._files.get, request.match_info["id"]))

    async def _send_file(self, request: web.Request) -> web.StreamResponse:
        found = await asyncio.to_thread(self._files.get, request.match_info["id"])
        headers = {"Content-Type": "application/octet-stream"}
        return web.FileResponse(self._files.path(found.id), headers=headers)

    async def _delete_file(self, request: web.Request) -> web.Response:
        file_id = request.match_info["id"]
        await asyncio.to_thread(self._files.delete, file_id)
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def _create_job(self, request: web.Request) -> web.Response:
        wanted = convert(read_object(await _body(request)), JobRequest)
        return web.json_response(await self._jobs.create(wanted))

    async def _list_jobs(self, request: web.Request) -> web.Response:
        jobs = await asyncio.to_thread(self._jobs.newest)
        return web.json_response(page(jobs, request.query, _MOST_JOBS))

    async def _show_job(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._jobs.get, request.match_info["id"])
        return web.json_response(found)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        return web.json_response(await self._jobs.cancel(request.match_info["id"]))

    async def _list_events(self, request: web.Request) -> web.Response:
        events = await asyncio.to_thread(self._jobs.events, request.match_info["id"])
        return web.json_response(page(events, request.query, _MOST_JOBS))

    async def _list_checkpoints(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._jobs.checkpoints, request.match_info["id"])
        return web.json_response(page(found, request.query, _MOST_JOBS))


def _object(record: FileRecord) -> web.Response:
    return web.json_response(msgspec.to_builtins(record))


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_WITHIN):
            return await request.read()
    except TimeoutError:
        raise ApiError(408, "The request did not arrive in time.") from None


async def _answer(
    wanted: ChatRequest, pending: PendingAnswer, events: AsyncGenerator[Event]
) -> web.Response:
    answer = await finished(events)
    if pending.error:
        raise explain(pending.error)
    reply = _reply(wanted)
    tokens = tokens_of(answer)
    return web.json_response(
        reply.whole(answer.text, finish_reason(answer), tokens, extra_of(answer))
    )


async def _stream(
    request: web.Request,
    wanted: ChatRequest,
    pending: PendingAnswer,
    events: AsyncGenerator[Event],
) -> web.StreamResponse:
    """Send the answer as it comes; before its first word an error is a plain reply."""
    reply = _reply(wanted)
    stream = _EventStream(request)
    async for event in events:
        match event:
            case Piece(text):
                if not stream.begun:
                    await stream.send(reply.chunk({"role": "assistant", "content": ""}))
                await stream.send(reply.chunk({"content": text}))
            case Answered(answer) if pending.error:
                refused = explain(pending.error)
                if not stream.begun:
                    raise refused
                await stream.send(refused.body)
            case Answered(answer):
                ended = reply.chunk({}, finish_reason(answer), balcao=extra_of(answer))
                await stream.send(ended)
                if wanted.with_usage:
                    await stream.send(reply.usage_chunk(tokens_of(answer) or Tokens(0, 0)))
            case _:
                pass
    return await stream.end()


class _EventStream:
    """Server-sent events to one client, which must keep up."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )

    @property
    def begun(self) -> bool:
        """Whether the status was sent."""
        return self._response.prepared

    async def send(self, message: Body) -> None:
        """Send a message."""
        await self._write(b"data: " + json.dumps(message).encode() + b"\n\n")

    async def end(self) -> web.StreamResponse:
        """Send the mark of the end."""
        await self._write(_DONE)
        await self._response.write_eof()
        return self._response

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(_READ_WITHIN):
            if not self._response.prepared:
                await self._response.prepare(self._request)
            await self._response.write(data)


def _reply(wanted: ChatRequest) -> Reply:
    return Reply(uuid.uuid4().hex, wanted.model)


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    messages = {
        404: f"There is no {request.method} {request.path[:100]} here.",
        405: f"{request.path[:100]} does not take {request.method}.",
        413: f"The request is larger than {MAX_BODY:,} bytes.",
    }
    message = messages.get(error.status, error.reason)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return web.json_response(
        error_body(error.status, message), status=error.status, headers=headers
    )
