"""A fake hub on 127.0.0.1, with the part of the interface that downloads use.

Follows the client's sources (huggingface_hub 2.4): model info with files, HEAD and GET of a file
with its commit, ETag and range, redirects of large files to another address, and errors by status
and the headers X-Error-Code and X-Error-Message.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

COMMIT = "c0ffee" + "0" * 34
_PIECE = 1 << 20


@dataclass
class ReceivedRequest:
    """A request that the hub received."""

    method: str
    path: str
    range: str
    token: str


@dataclass
class FakeHub:
    """A repository. `files` by name; those in `large` are listed with their SHA-256."""

    model: str = "someone/tiny"
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    gated: bool | str = False
    licence: str = "apache-2.0"
    revisions: tuple[str, ...] = ("main",)
    tokens: set[str] = field(default_factory=set)
    """Tokens that the hub knows; those in `accepted` may read a gated model."""
    accepted: set[str] = field(default_factory=set)
    status: int = 0
    """The status to reply with instead of a file, if not 0."""
    message: str = ""
    """The hub's words about that status."""
    page: bytes | None = None
    """What is sent in place of the description of a model."""
    commit: str = COMMIT
    cuts: list[int] = field(default_factory=list)
    """The bytes after which each of the next downloads of a large file is cut."""
    stall: int | None = None
    """The bytes after which every download of a large file stalls."""
    pace: float = 0.0
    """Seconds between two pieces of a large file."""
    ranges: bool = True
    spoil: bool = False
    """Whether large files arrive with wrong bytes."""
    asked: list[ReceivedRequest] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def elsewhere(self) -> str:
        """The same server under a name that the client takes for another origin."""
        return f"http://localhost:{self.port}"

    def downloads(self, name: str) -> list[ReceivedRequest]:
        """Return the downloads of a large file, from its redirected address."""
        return [one for one in self.asked if one.method == "GET" and one.path == f"/cdn/{name}"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        address = urlsplit(self.path)
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        hub.asked.append(
            ReceivedRequest(self.command, address.path, self.headers.get("range", ""), token)
        )
        parts = address.path.strip("/").split("/")
        if parts[0] == "cdn":
            self._content("/".join(parts[1:]))
        elif token and token not in hub.tokens:
            self._error(401, message="Invalid credentials in Authorization header")
        elif hub.status:
            self._error(hub.status, message=hub.message)
        elif hub.page is not None:
            self._send(200, hub.page, {"content-type": "text/html"})
        elif parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main", address.query)
        elif len(parts) < 5 or parts[2] != "resolve":
            self._error(404)
        else:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), token)

    def _info(self, model: str, revision: str, query: str) -> None:
        hub = self.hub
        if model != hub.model:
            self._error(401 if not hub.tokens else 404, "RepoNotFound")
        elif revision not in (*hub.revisions, COMMIT):
            self._error(404, "RevisionNotFound")
        else:
            assert parse_qs(query)["blobs"] == ["true"]
            body = {
                "id": model,
                "sha": hub.commit,
                "gated": hub.gated,
                "cardData": {"license": hub.licence},
                "siblings": [self._sibling(name) for name in hub.files],
            }
            self._send(200, json.dumps(body).encode(), {"content-type": "application/json"})

    def _sibling(self, name: str) -> dict[str, Any]:
        content = self.hub.files[name]
        sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": "b"}
        if name in self.hub.large:
            sibling["lfs"] = {"sha256": _sha256(content), "size": len(content), "pointerSize": 1}
        return sibling

    def _file(self, model: str, revision: str, name: str, token: str) -> None:
        hub = self.hub
        if model != hub.model:
            self._error(404, "RepoNotFound")
        elif revision not in (*hub.revisions, COMMIT):
            self._error(404, "RevisionNotFound")
        elif hub.gated and token not in hub.accepted:
            self._error(403 if token else 401, "GatedRepo")
        elif name not in hub.files:
            self._error(404, "EntryNotFound")
        elif name in hub.large:
            content = hub.files[name]
            self._send(
                302,
                b"",
                {
                    "location": f"{hub.elsewhere}/cdn/{name}",
                    "x-repo-commit": COMMIT,
                    "x-linked-etag": f'"{_sha256(content)}"',
                    "x-linked-size": str(len(content)),
                },
            )
        else:
            etag = hashlib.sha1(hub.files[name], usedforsecurity=False).hexdigest()
            self._send(200, hub.files[name], {"x-repo-commit": COMMIT, "etag": f'"{etag}"'})

    def _content(self, name: str) -> None:
        hub = self.hub
        content = hub.files[name]
        if hub.spoil:
            content = content[::-1]
        asked = self.headers.get("range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and hub.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("content-length", str(len(content) - start))
        if start:
            self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = start + hub.cuts.pop(0) if hub.cuts else len(content)
        for place in range(start, min(end, len(content)), _PIECE):
            if hub.stall is not None and place >= hub.stall:
                hub.stalled.set()
                time.sleep(60)
            time.sleep(hub.pace)
            self.wfile.write(content[place : min(place + _PIECE, end)])
        self.close_connection = True

    def _error(self, status: int, code: str = "", message: str = "") -> None:
        headers = {"x-error-code": code} if code else {}
        self._send(status, b"", headers | ({"x-error-message": message} if message else {}))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(HTTPStatus(status))
        for name, value in ({"content-length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    mistakes: list[str]

    def handle_error(self, *_: Any) -> None:
        mistake = sys.exception()
        # Clients that go in mid-answer are what these tests are about.
        if not isinstance(mistake, ConnectionError):
            self.mistakes.append(repr(mistake))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    server.mistakes = []
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert not server.mistakes, server.mistakes
