"""The web server behind `balcao serve`: textual-serve's, for nobody but the one who started it.

textual-serve lets in whoever reaches the port: every user of this machine, and every page that is
open in a browser here, since a web socket may be opened across sites. So everything lies below a
path that only the person's terminal has shown, and a request must name this host and come from its
own page. Its page also fetches a font from the network; this one takes the same font from the
package, and the browser is told to fetch nothing from anywhere else.
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
from textual_serve.server import Server

HOST = "127.0.0.1"
_PATIENCE = 5.0
"""Seconds that the chats have to end."""
_FETCHED_STYLE = re.compile(r"<link\b[^>]*https?://[^>]*>", re.DOTALL)
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
_READY_TO_TYPE = """\
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
"""What is typed goes to the chat from the first moment: textual-serve's page waits for a click."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PrivateServer(Server):
    """Gives each tab of the browser its own chat; `address` is where."""

    def __init__(self, port: int, arguments: Sequence[str]) -> None:
        """`arguments` are the chat's own. Raises OSError if the port cannot be had."""
        self.listening = socket.create_server((HOST, port))
        number = self.listening.getsockname()[1]
        # -P: a folder named scripts where the person stands is not ours.
        chat = [sys.executable, "-P", "-m", "scripts.cli", *arguments]
        super().__init__(
            # exec, so that the shell in between is not what is stopped.
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
        """What the person opens in a browser."""
        return f"{self.public_url}/{self._secret}/"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; the chats then end as by Ctrl+Q."""
        web.run_app(
            self._whole_app(),
            sock=self.listening,
            print=None,
            access_log=None,
            shutdown_timeout=_PATIENCE,
        )

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: the command has done so."""

    async def on_shutdown(self, app: web.Application) -> None:  # noqa: ARG002 - textual-serve's
        """End the chats, which aiohttp would only wait for."""
        for tab in self._tabs:
            tab.cancel()

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One tab, from its first byte to its end."""
        tab = asyncio.current_task()
        if tab is None:
            raise RuntimeError("a request is handled in a task")
        self._tabs.add(tab)
        try:
            return await super().handle_websocket(request)
        finally:
            self._tabs.discard(tab)

    async def _whole_app(self) -> web.Application:
        """textual-serve's application below the secret path, behind the checks."""
        inner = await self._make_app()
        aiohttp_jinja2.setup(inner, loader=jinja2.FunctionLoader(self._template))
        app = web.Application(middlewares=[self._checked])
        app.add_subapp(f"/{self._secret}", inner)
        # The page's script knows no path for these; their keys are random as well.
        app.router.add_get("/download/{key}", self.handle_download)
        return app

    def _template(self, name: str) -> str:
        page = (self.templates_path / Path(name).name).read_text(encoding="utf-8")
        fonts = "".join(_FONT.format(file=file, style=style) for style, file in _FONTS.items())
        added = f"{fonts}{_READY_TO_TYPE}</head>"
        return _FETCHED_STYLE.sub("", page).replace("</head>", added)

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # Another site's name that was made to point here would show in Host, its page in Origin.
        elsewhere = request.headers.get("Origin", self.public_url) != self.public_url
        if request.host != self._host or elsewhere:
            raise web.HTTPForbidden(text="This page is for the one who started it.")
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
