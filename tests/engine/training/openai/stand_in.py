"""A stateful stand-in for a provider's files and fine-tuning jobs, on 127.0.0.1.

Replies are built with the openai package's own types, and what it is asked is checked against
them. A `Trap` makes the next request of a kind fail, before or after it has taken effect.
"""

from __future__ import annotations

import json
import threading
import time
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from openai.types import FileObject, Model
from openai.types.fine_tuning import (
    FineTuningJob,
    FineTuningJobEvent,
    JobCreateParams,
)
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import is_typeddict

SUCCESS = ("validating_files", "queued", "running", "running", "succeeded")
STEPS = 5


@dataclass
class Reply:
    """An answer in place of the stand-in's own; a status of 0 hangs up without one."""

    status: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    seconds: float = 0.0
    """How long nothing comes first."""


@dataclass
class Trap:
    """Springs once, at the first request whose line (`POST /files`) begins with `line`."""

    line: str
    reply: Reply | None = None
    after: bool = False
    """Whether the request takes effect first."""
    spring: Callable[[], None] | None = None


def error(status: int, message: str, code: str = "", **headers: str) -> Reply:
    """An error in OpenAI's shape."""
    inner = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": inner}, named)


@dataclass
class StandIn:
    """The provider's files and jobs, and the requests it got."""

    fate: tuple[str, ...] = SUCCESS
    """The states that a job goes through, one for each time it is looked at."""
    failure: str = "The rows were refused by the moderation."
    traps: list[Trap] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Every request, as `METHOD /path`."""
    keys: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    """Requests that do not match the package's types."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of the requests for a job that took effect."""
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)
    page: int = 100
    upload_seconds: float = 0.0
    shutdown: str | None = None
    say: str = "Fine-tuning job is at work"
    port: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def count(self, line: str) -> int:
        return sum(asked == line for asked in self.lines)

    def trap(self, line: str, after: bool) -> Trap | None:
        with self.lock:
            for trap in self.traps:
                if trap.after is after and line.startswith(trap.line):
                    self.traps.remove(trap)
                    return trap
        return None

    def take_file(self, form: dict[str, Any]) -> Reply:
        name, content = form["file"]
        if form.get("purpose") != "fine-tune":
            return error(400, "wrong purpose")
        file_id = f"file-{len(self.files) + 1:04}"
        made = FileObject.model_validate(
            {
                "id": file_id, "bytes": len(content), "created_at": int(time.time()),
                "filename": name, "object": "file", "purpose": "fine-tune", "status": "processed",
            }
        )  # fmt: skip
        self.files[file_id] = made.model_dump(mode="json")
        self.contents[file_id] = content
        return Reply(200, self.files[file_id])

    def take_job(self, body: dict[str, Any]) -> Reply:
        try:
            STRICT.validate_python(body, strict=True)
        except ValidationError as refused:
            self.wrong.append(str(refused))
            return error(400, f"Invalid: {refused.error_count()} fields")
        if body["training_file"] not in self.files:
            return error(400, f"No such file: {body['training_file']}")
        job_id = f"ftjob-{len(self.jobs) + 1:04}"
        made = FineTuningJob.model_validate(
            {
                "id": job_id, "created_at": int(time.time()), "model": body["model"],
                "object": "fine_tuning.job", "organization_id": "org-1", "result_files": [],
                "seed": body.get("seed", 1), "status": self.fate[0],
                "training_file": body["training_file"],
                "validation_file": body.get("validation_file"), "method": body.get("method"),
                "metadata": body.get("metadata"), "hyperparameters": {"n_epochs": "auto"},
                # OpenAI sends this for a job without an error.
                "error": None,
            }
        )  # fmt: skip
        self.created.append(body)
        self.jobs[job_id] = made.model_dump(mode="json")
        self.events[job_id] = []
        return Reply(200, self.jobs[job_id])

    def job(self, job_id: str) -> Reply:
        job = self.jobs.get(job_id)
        if job is None:
            return error(404, f"Could not find fine tune: {job_id}", "fine_tune_not_found")
        if job["status"] != "cancelled":
            turn = min(self.looked.get(job_id, 0), len(self.fate) - 1)
            self.looked[job_id] = turn + 1
            self._enter(job, self.fate[turn], turn)
        return Reply(200, job)

    def cancel(self, job_id: str) -> Reply:
        job = self.jobs[job_id]
        if job["status"] in ("succeeded", "failed"):
            return error(400, f"Job has already {job['status']}.")
        job["status"] = "cancelled"
        return Reply(200, job)

    def _enter(self, job: dict[str, Any], status: str, turn: int) -> None:
        if job["status"] in ("succeeded", "failed"):
            return
        job["status"] = status
        self._event(job["id"], f"{self.say}: {status}")
        if status == "running":
            step, loss = turn + 1, 2.0 / (turn + 1)
            data = {"step": step, "total_steps": STEPS, "train_loss": loss}
            words = f"Step {step}/{STEPS}: training loss={loss:.2f}"
            self._event(job["id"], words, data=data, type="metrics")
        if status == "succeeded":
            suffix = self.created[-1].get("suffix", "")
            job["fine_tuned_model"] = f"ft:{job['model']}:org-1:{suffix}:{job['id'][-4:]}"
            job["trained_tokens"] = 1234
        if status == "failed":
            job["error"] = {"code": "invalid_data", "message": self.failure, "param": None}

    def _event(self, job_id: str, message: str, **more: Any) -> None:
        made = FineTuningJobEvent.model_validate(
            {
                "id": f"ftevent-{len(self.events[job_id]) + 1:04}", "created_at": int(time.time()),
                "level": "info", "message": message, "object": "fine_tuning.job.event",
                "type": "message", **more,
            }
        )  # fmt: skip
        self.events[job_id].append(made.model_dump(mode="json"))

    def listed(self, rows: list[dict[str, Any]], query: dict[str, list[str]]) -> Reply:
        """Return a page of `rows`, newest first."""
        rows.reverse()
        if after := query.get("after"):
            ids = [row["id"] for row in rows]
            rows = rows[ids.index(after[0]) + 1 :]
        size = min(int(query.get("limit", ["20"])[0]), self.page)
        return Reply(200, {"object": "list", "data": rows[:size], "has_more": len(rows) > size})

    def model(self, name: str) -> Reply:
        if name == "no-such-model":
            return error(404, f"The model '{name}' does not exist", "model_not_found")
        made = Model(
            id=name, created=0, object="model", owned_by="system", shutdown_date=self.shutdown
        )
        return Reply(200, made.model_dump(mode="json"))

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Reply:
        reply = error(404, "Not Found")
        match [method, *path.strip("/").split("/")]:
            case ["GET", "files"]:
                reply = self.listed(list(self.files.values()), query)
            case ["POST", "files"]:
                reply = self.take_file(body)
            case ["GET", "models", name]:
                reply = self.model(name)
            case ["GET", "fine_tuning", "jobs"]:
                reply = self.listed(list(self.jobs.values()), query)
            case ["POST", "fine_tuning", "jobs"]:
                reply = self.take_job(body)
            case ["GET", "fine_tuning", "jobs", job_id]:
                reply = self.job(job_id)
            case ["GET", "fine_tuning", "jobs", job_id, "events"]:
                reply = self.listed(list(self.events[job_id]), query)
            case ["POST", "fine_tuning", "jobs", job_id, "cancel"]:
                reply = self.cancel(job_id)
        return reply


def _forbid_more(kind: Any, seen: set[Any]) -> None:
    """Make pydantic refuse unknown keys in a TypedDict and in all that it is made of."""
    kind = typing.get_origin(kind) if isinstance(kind, types.GenericAlias) else kind
    if is_typeddict(kind) and kind not in seen:
        seen.add(kind)
        with_config(ConfigDict(extra="forbid"))(kind)
        for inner in typing.get_type_hints(kind).values():
            _forbid_more(inner, seen)
    for inner in typing.get_args(kind):
        _forbid_more(inner, seen)


_forbid_more(JobCreateParams, set())
STRICT: TypeAdapter[Any] = TypeAdapter(JobCreateParams)


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn

    def do_GET(self) -> None:
        self._take("GET")

    def do_POST(self) -> None:
        self._take("POST")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
        """Nothing is printed."""

    def _take(self, method: str) -> None:
        with suppress(ConnectionError):
            reply = self._reply(method)
            if reply.seconds:
                time.sleep(reply.seconds)
            if reply.status:
                self._send(reply)
        self.close_connection = True

    def _reply(self, method: str) -> Reply:
        here, address = self.stand_in, urlsplit(self.path)
        path = address.path.removeprefix("/v1")
        line = f"{method} {path}"
        here.keys.add(self.headers.get("authorization", ""))
        trap = here.trap(line, after=False)
        if trap and trap.reply is None and trap.spring:
            # The request's body is not even read.
            trap.spring()
            return Reply(0)
        body = self._body()
        with here.lock:
            here.lines.append(line)
            if trap and trap.reply:
                return trap.reply
            reply = here.answer(method, path, parse_qs(address.query), body)
        if trap := here.trap(line, after=True):
            if trap.spring:
                trap.spring()
            return trap.reply or Reply(0)
        return reply

    def _body(self) -> Any:
        size = int(self.headers.get("content-length", "0"))
        data = bytearray()
        while len(data) < size:
            data += self.rfile.read(min(65_536, size - len(data)))
            time.sleep(self.stand_in.upload_seconds if self.path.endswith("/files") else 0)
        if self.headers.get_content_type() == "multipart/form-data":
            return self._form(bytes(data))
        return json.loads(data) if data else None

    def _form(self, data: bytes) -> dict[str, Any]:
        kind = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        form: dict[str, Any] = {}
        for part in typing.cast("list[Message]", message_from_bytes(kind + data).get_payload()):
            name = part.get_param("name", header="content-disposition")
            content = typing.cast("bytes", part.get_payload(decode=True))
            filename = part.get_filename()
            form[str(name)] = (filename, content) if filename else content.decode()
        return form

    def _send(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        self.send_response(reply.status)
        # A body that is packed has a character for each byte.
        data = body.encode("latin-1" if "content-encoding" in reply.headers else "utf-8")
        headers = {"content-type": reply.kind, "content-length": str(len(data))}
        for name, value in (headers | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def running() -> Iterator[StandIn]:
    """A stand-in that answers until the end of the block."""
    here = StandIn()
    handler = type("Handler", (_Handler,), {"stand_in": here})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    here.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
