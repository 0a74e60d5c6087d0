"""The HTTP server of `balcao serve --api`: who may ask, how much, and in which form.

Every request needs the bearer token. On a loopback address the `Host` must be the server's own and
a web page is refused, so that no site open in a browser here can ask.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address

from aiohttp import web

from engine.chat.open import Resources
from engine.config import paths
from engine.core.errors import BalcaoError
from scripts.api.bodies import BODY_WITHIN, MAX_BODY, ApiError, error_body
from scripts.api.chat import explain
from scripts.api.chat_routes import ChatRoutes
from scripts.api.files import FileStore
from scripts.api.tuning import Jobs
from scripts.api.tuning_routes import TuningRoutes

_SHUTDOWN_WITHIN = 5.0
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")

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
        folder = paths.data_dir() / "api"
        files = FileStore(folder / "files")
        self._jobs = Jobs(folder / "jobs", files, resources.registry)
        self._routes = (ChatRoutes(resources), TuningRoutes(files, self._jobs))

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # of requests that are cut
        web.run_app(
            self.app(),
            sock=self.listening,
            print=None,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_WITHIN,
            keepalive_timeout=BODY_WITHIN,
            handler_cancellation=True,
        )

    def app(self) -> web.Application:
        """Return the application; it closes the resources when it ends."""
        app = web.Application(middlewares=[self._in_openai_form], client_max_size=MAX_BODY)
        for routes in self._routes:
            routes.add_to(app.router)
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
