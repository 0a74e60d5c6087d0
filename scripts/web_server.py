"""The web server of `balcao serve`: textual-serve, restricted to the user who started it.

textual-serve accepts every user of this machine and every page open in a browser here, because web
sockets may cross sites. So this server puts everything under a secret path, which only the user's
terminal shows, and checks the host and origin of each request. It also loads the page's font from
the textual-serve package instead of the network, and forbids the browser to fetch anything else.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web
from textual_serve import server
from textual_serve.app_service import AppService
from textual_serve.server import Server

HOST = "127.0.0.1"
_SHUTDOWN_TIMEOUT = 5.0
"""Seconds for the chats to end."""
_REMOTE_STYLE = re.compile(r"<link\b[^>]*https?://[^>]*>", re.DOTALL)
_FONT = """\
<style>
  @font-face {{
    font-family: "Roboto Mono";
    src: url("{{{{ config.static.url }}}}fonts/{file}") format("truetype");
    font-style: {style};
    font-weight: 100 700;
  }}
</style>
"""
_FONTS = {
    "normal": "RobotoMono-VariableFont_wght.ttf",
    "italic": "RobotoMono-Italic-VariableFont_wght.ttf",
}
_FOCUS_SCRIPT = """\
<link rel="icon" href="data:,">
<script>
  new MutationObserver((_, observer) => {
    const keys = document.querySelector(".xterm-helper-textarea");
    if (keys) {
      observer.disconnect();
      keys.focus();
    }
  }).observe(document, { childList: true, subtree: true });
</script>
"""
"""Focus the chat at once: textual-serve's own page waits for a click."""
_COLUMNS, _ROWS = 1000, 500
"""The largest screen: an 8K display with small letters. A chat draws every cell."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ChatProcess(AppService):
    """The chat of one tab, with a screen of a possible size; it ends with its tab."""

    async def start(self, width: int, height: int) -> None:
        """Start the chat."""
        await super().start(*_screen(width, height))

    async def set_terminal_size(self, width: int, height: int) -> None:
        """Resize the chat's screen."""
        await super().set_terminal_size(*_screen(width, height))

    async def stop(self) -> None:
        """Ask the chat to quit and wait for it; kill it if it does not."""
        process, until = self._process, asyncio.get_running_loop().time() + _SHUTDOWN_TIMEOUT
        try:
            async with asyncio.timeout_at(until):
                await super().stop()
            if process is not None:
                async with asyncio.timeout_at(until):  # the base class absorbs the first one
                    # A chat cannot quit while it writes to a pipe that is full.
                    await process.communicate()
        except TimeoutError:
            if process is not None:
                process.kill()
                await process.wait()


def _screen(width: float, height: float) -> tuple[int, int]:
    return max(1, min(int(width), _COLUMNS)), max(1, min(int(height), _ROWS))


# Server.handle_websocket makes one for each tab.
server.AppService = ChatProcess  # type: ignore[attr-defined]


class PrivateServer(Server):
    """Serve a separate chat to each tab, at `address`."""

    def __init__(self, port: int, arguments: Sequence[str]) -> None:
        """Start each chat with `arguments`. Raise OSError if the port is not free."""
        self.listening = socket.create_server((HOST, port))
        number = self.listening.getsockname()[1]
        # -P: do not import a folder called scripts from the current directory.
        chat = [sys.executable, "-P", "-m", "scripts.cli", *arguments]
        super().__init__(
            # exec: a signal must reach the chat, not the shell that starts it.
            f"exec {shlex.join(chat)}",
            host=HOST,
            port=number,
            title="Balcão",
            public_url=f"http://{HOST}:{number}",
        )
        self._secret = secrets.token_urlsafe(24)
        self._tabs: set[asyncio.Task[Any]] = set()
        self._host = f"{HOST}:{number}"

    @property
    def address(self) -> str:
        """The secret address to open in a browser."""
        return f"{self.public_url}/{self._secret}/"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, which end the chats like Ctrl+Q."""
        web.run_app(
            self._whole_app(),
            sock=self.listening,
            print=None,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
        )

    async def on_startup(self, app: web.Application) -> None:
        """Print nothing: the command has printed the address."""

    async def on_shutdown(self, app: web.Application) -> None:  # noqa: ARG002 - textual-serve's
        """End the chats: aiohttp alone would wait for them."""
        for tab in self._tabs:
            tab.cancel()

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one tab until it closes."""
        tab = asyncio.current_task()
        if tab is None:
            raise RuntimeError("requests are handled in tasks")
        self._tabs.add(tab)
        try:
            return await super().handle_websocket(request)
        finally:
            self._tabs.discard(tab)

    async def _whole_app(self) -> web.Application:
        """Put textual-serve's application under the secret path, behind the checks."""
        inner = await self._make_app()
        aiohttp_jinja2.setup(inner, loader=jinja2.FunctionLoader(self._template))
        app = web.Application(middlewares=[self._checked])
        app.add_subapp(f"/{self._secret}", inner)
        # The page requests these at the top level; their keys are as random as the path.
        app.router.add_get("/download/{key}", self.handle_download)
        return app

    def _template(self, name: str) -> str:
        page = (self.templates_path / Path(name).name).read_text(encoding="utf-8")
        fonts = "".join(_FONT.format(file=file, style=style) for style, file in _FONTS.items())
        added = f"{fonts}{_FOCUS_SCRIPT}</head>"
        return _REMOTE_STYLE.sub("", page).replace("</head>", added)

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # A foreign name that resolves to this machine shows in Host, a foreign page in Origin.
        elsewhere = request.headers.get("Origin", self.public_url) != self.public_url
        if request.host != self._host or elsewhere:
            raise web.HTTPForbidden(text="Only the user who started this server may open it.")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(self._headers)
        return response

    @property
    def _headers(self) -> dict[str, str]:
        return {
            "Content-Security-Policy": (
                "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
                f" script-src 'self' 'unsafe-inline'; connect-src 'self' ws://{self._host};"
                " frame-ancestors 'none'"
            ),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
