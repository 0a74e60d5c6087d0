"""Put a canary key in each place a key can be, use the program, and search for the key.

python -m tools.attack.canary            # every place, each in a process and a home of its own
python -m tools.attack.canary --only answer,job-id

The program asks a server on this machine, which sends the key back in many forms. The key may be
found only where its user put it: every file, the output and the screen are searched, and the
command lines of all processes while the server is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

CANARY = "sk-Canary-7F3a91c2E5d84b06"
CONTROL = "control"
ROOT = Path(__file__).resolve().parents[2]
TITLE = "The Tin Lighthouse"
_ALL_ENCODED = "".join(f"%{ord(letter):02x}" for letter in CANARY)
_LINES = ("ask", "doctor", "engines", "models", "keys", "plain", "screen", "evaluate", "export")
_JOBS = ("finetune",)
_HUB = ("pull",)


@dataclass
class Place:
    """A place of the key: what its user sets, and what the server sends back."""

    name: str
    env: dict[str, str] = field(default_factory=lambda: {"OPENAI_API_KEY": CANARY})
    files: dict[str, str] = field(default_factory=dict)
    """The user's files, by name below the home; the key may be in them."""
    does: tuple[str, ...] = _LINES
    parts: Sequence[str] = ("Navy twill, one pocket.",)
    """The pieces of an answer."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of each piece: reasoning, a refusal, an end."""
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    """Replies for other requests, by `METHOD path`."""


def echoes(words: str) -> tuple[str, str]:
    """An answer that has `words`, in one piece."""
    return "Your key is ", f"{words}, I think."


JOB = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "running", "created_at": 1}
DONE = JOB | {"status": "succeeded", "fine_tuned_model": "ft:m:org::x", "trained_tokens": 5}
FILE = {"id": "file-1", "object": "file", "filename": "x", "purpose": "fine-tune", "created_at": 1}
NO_ROWS: dict[str, Any] = {"object": "list", "data": [], "has_more": False}


def _event(message: str, event_id: str = "e-1") -> dict[str, Any]:
    return NO_ROWS | {"data": [{"id": event_id, "message": message, "data": None}]}


def _jobs(name: str, line: str, reply: dict[str, Any]) -> Place:
    return Place(name, does=_JOBS, answers={line: reply})


def places(url: str) -> list[Place]:
    """Every place; `url` is the address of the server."""
    keyed = url.replace("://", f"://shop:{CANARY}@")
    sent = {"error": {"message": f"Incorrect key {CANARY}", "code": CANARY, "param": CANARY}}
    echo = "BALCAO_ENGINES__REMOTE__BASE_URL"
    split = [CANARY[at : at + 3] for at in range(0, len(CANARY), 3)]
    basic = base64.b64encode(f"shop:{CANARY}".encode()).decode()
    everywhere = {**sent, "detail": [{"loc": [CANARY], "msg": f"\0{CANARY}"}]}
    return [
        # The program does not know this key: the search must find it, or it finds nothing.
        Place(CONTROL, {"OPENAI_API_KEY": "sk-other-1234"}, parts=echoes(CANARY)),
        Place("environment", does=(*_LINES, *_JOBS), parts=echoes(CANARY)),
        Place(
            "keyring",
            {"PYTHONPATH": "keyring"},
            {"keyring/kept": CANARY, **_KEYRING},
            parts=echoes(CANARY),
        ),
        Place(
            "keys.toml",
            {},
            {"home/config/keys.toml": f'[keys]\nOPENAI_API_KEY = "{CANARY}"\n'},
            parts=echoes(CANARY),
        ),
        Place(
            "settings: base_url with a password",
            {"OPENAI_API_KEY": "sk-other-1234"},
            {"home/config/settings.toml": _settings(keyed)},
            (*_LINES, *_JOBS),
            status=400,
            body=json.dumps({"error": {"message": f"No: {CANARY}, Basic {basic}"}}),
        ),
        Place(
            "settings: api_key_env",
            {},
            {"home/config/settings.toml": _settings(url, CANARY)},
            (*_LINES, *_JOBS),
        ),
        Place("BALCAO_ override with a password", {echo: keyed}, parts=echoes(CANARY)),
        Place("HF_TOKEN", {"HF_TOKEN": CANARY}, does=(*_HUB, "doctor", "keys")),
        Place("HF_TOKEN in keys.toml", {}, {"home/config/keys.toml": _HF}, _HUB),
        Place("HF_ENDPOINT with a password", {"HF_ENDPOINT": keyed.removesuffix("/v1")}, {}, _HUB),
        Place("error body", status=401, body=json.dumps(everywhere)),
        Place("error body, cut at its width", status=500, body="x" * 280 + CANARY + "y" * 90),
        Place(
            "error header",
            status=429,
            body="{}",
            headers={"x-request-id": CANARY, "retry-after": CANARY, "www-authenticate": CANARY},
        ),
        Place("content type", headers={"content-type": f"text/html-{CANARY}"}, body=CANARY),
        Place("answer", parts=echoes(CANARY)),
        Place("answer in pieces", parts=["Key: ", *CANARY, ", ", *split, " again ", CANARY[:9]]),
        Place("answer with marks", parts=["\u200e".join(CANARY) + " ", *"\0".join(CANARY)]),
        Place("answer with colours", parts=["\x1b[31m".join(CANARY), " ", *"\x1b".join(CANARY)]),
        Place("answer with blanks", parts=[" ".join(CANARY), ", ", "\n".join(CANARY), "."]),
        Place("answer in capitals", parts=[CANARY.upper(), " ", *CANARY.lower()]),
        Place("answer, encoded", parts=[_ALL_ENCODED, " ", *_ALL_ENCODED.replace("%", "%25")]),
        Place("refusal", parts=[""], fields={"refusal": f"No, {CANARY}"}),
        Place("reasoning", fields={"reasoning_content": f"The key {CANARY}?"}),
        Place("reasoning in pieces", parts=[*CANARY], fields={"reasoning": "\0".join(CANARY)}),
        Place("error event", body=f"data: {json.dumps(sent)}\n\n"),
        Place("garbled event", body=f"data: {{{CANARY}\n\n"),
        Place("other fields", parts=["Yes."], fields={CANARY: CANARY, "tool_calls": [CANARY]}),
        Place("model list", answers={"GET /models": NO_ROWS | {"data": [_model(CANARY)]}}),
        Place("model's day", does=("screen", *_JOBS), answers={"GET /models/m": _model("m")}),
        Place(
            "redirect", status=307, headers={"location": f"http://127.0.0.1:9/{CANARY}?{CANARY}"}
        ),
        Place("redirect to a host", status=302, headers={"location": f"http://{CANARY}.example/"}),
        Place("exception text", does=("crash", "screen")),
        Place("proxy's exception text", {"HTTPS_PROXY": _proxy()}, {}, ("crash",)),
        Place("proxy", {"OPENAI_API_KEY": "sk-other-1234", "HTTP_PROXY": _proxy()}, {}, _WITH_JOBS),
        Place("wrong proxy", {"HTTP_PROXY": f"socks9://u:{CANARY}@x"}, {}, _WITH_JOBS),
        _jobs("job id", "POST /fine_tuning/jobs", JOB | {"id": f"ft-{CANARY}"}),
        _jobs("job status", "job", DONE | {"status": "failed", "error": sent}),
        _jobs("job event", "events", _event(f"{CANARY} {_ALL_ENCODED} {CANARY.upper()}", CANARY)),
        _jobs("file name", "POST /files", FILE | {"id": CANARY, "filename": CANARY}),
        _jobs("model name", "job", DONE | {"fine_tuned_model": CANARY}),
        _jobs("no job", "POST /fine_tuning/jobs", {"error": f"Bad {'/'.join(CANARY)} {CANARY}"}),
    ]


_WITH_JOBS = ("ask", "screen", "evaluate", *_JOBS, *_HUB)
_HF = f'[keys]\nHF_TOKEN = "{CANARY}"\n'
_KEYRING = {
    "keyring/keyring.py": "from pathlib import Path\n"
    "class errors:\n    class KeyringError(Exception): pass\n"
    "def get_password(service, name):\n"
    "    return Path(__file__).with_name('kept').read_text()\n",
    "home/config/keys.toml": 'in_keyring = ["OPENAI_API_KEY"]\n',
}


def _proxy() -> str:
    return f"http://shop:{CANARY}@127.0.0.1:9"


def _model(name: str) -> dict[str, str]:
    return {"id": name, "object": "model", "shutdown_date": f"2027-01-01 {CANARY}", "owner": CANARY}


def _settings(url: str, key_env: str = "OPENAI_API_KEY") -> str:
    table = f'base_url = "{url}"\napi_key_env = "{key_env}"\n'
    return f"[engines.remote]\n{table}\n[engines.openai]\n{table}"


def traces(text: str) -> list[str]:
    """The forms in which the canary is in `text`."""
    once = unquote(text)
    twice = unquote(once)
    escapes = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    forms = {"whole": text, "encoded": once, "encoded twice": twice, "escaped": escapes}
    found = [name for name, form in forms.items() if CANARY.casefold() in _bare(form)]
    hidden = base64.b64encode(f"shop:{CANARY}".encode()).decode()
    return [*found, "base64"] if hidden.casefold() in _bare(text) else found


def _bare(text: str) -> str:
    return "".join(letter for letter in text if "!" <= letter <= "~").casefold()


class _Handler(BaseHTTPRequestHandler):
    place: Place
    seen: set[str]

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._reply("GET")

    def do_HEAD(self) -> None:
        self._reply("HEAD")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self._reply("POST")

    def _reply(self, method: str) -> None:
        self.seen.update(_command_lines())
        path = urlsplit(self.path).path.removeprefix("/v1")
        with contextlib.suppress(ConnectionError):
            if path.endswith("/chat/completions"):
                self._send(self.place.status, self._stream(), {"content-type": "text/event-stream"})
            elif path.startswith("/api/models"):
                self._hub()
            else:
                self._send(200, json.dumps(self._other(f"{method} {path}")), {})

    def _hub(self) -> None:
        said = {"x-error-message": f"No {CANARY}", "x-request-id": CANARY, "x-error-code": CANARY}
        self._send(418, json.dumps({"error": f"Your token {CANARY}"}), said)

    def _other(self, line: str) -> object:
        if line.startswith("GET /fine_tuning/jobs/"):
            line = "events" if line.endswith("/events") else "job"
        default = {
            "events": _event("at work"),
            "job": DONE,
            "POST /files": FILE,
            "POST /fine_tuning/jobs": JOB,
            "GET /models": NO_ROWS | {"data": [_model("m")]},
        }
        return self.place.answers.get(line, default.get(line, NO_ROWS))

    def _stream(self) -> str:
        place = self.place
        if place.body or place.status != HTTPStatus.OK:
            return place.body
        deltas = [{"content": part} | place.fields for part in place.parts]
        lines = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        lines.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        return "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"

    def _send(self, status: int, body: str, headers: dict[str, str]) -> None:
        data = body.encode()
        self.send_response(status, None if status == HTTPStatus.OK else CANARY)
        sent = {"content-type": "application/json", "content-length": str(len(data))} | headers
        for name, value in (sent | self.place.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _command_lines() -> set[str]:
    import psutil

    lines = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            lines.add(" ".join(process.cmdline()))
    return lines


@contextlib.contextmanager
def serving(name: str) -> Iterator[tuple[str, Place, set[str]]]:
    """Yield the server's address, the place, and the command lines that it has seen."""
    seen: set[str] = set()
    handler = type("Handler", (_Handler,), {"seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    (place,) = (place for place in places(url) if place.name == name)
    handler.place = place  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield url, place, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attack(name: str, folder: Path, does: Sequence[str] = ()) -> dict[str, list[str]]:
    """Use the program with the key in one place; return where it was found, and how."""
    (folder / "home/config").mkdir(parents=True, mode=0o700)
    with serving(name) as (url, place, seen):
        for own, text in place.files.items():
            target = folder / own
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(0o600)
        child = subprocess.run(
            [sys.executable, "-m", "tools.attack.canary", "--use", ",".join(does or place.does)],
            cwd=ROOT,
            env=_environment(folder, url, place),
            capture_output=True,
            timeout=600,
            check=False,
        )
    output = {"stdout": child.stdout.decode(), "stderr": child.stderr.decode()}
    for stream, text in output.items():
        (folder / stream).write_text(text)
    if child.returncode:
        raise RuntimeError(f"{name}: {output['stderr'][-2000:]}")
    found = {stream: traces(text) for stream, text in output.items()}
    found["ps"] = [line for line in seen if traces(line)]
    for file in (folder / "home").rglob("*"):
        where = str(file.relative_to(folder))
        if file.is_file() and CANARY not in place.files.get(where, ""):
            found[where] = [*traces(file.name), *traces(file.read_bytes().decode(errors="ignore"))]
    return {where: how for where, how in found.items() if how}


def _environment(folder: Path, url: str, place: Place) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    own = dict(place.env)
    own["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *([str(folder / own["PYTHONPATH"])] if "PYTHONPATH" in own else [])]
    )
    engine = {
        "KIND": "openai",
        "MODEL": "m",
        "BASE_URL": url,
        "MAX_RETRIES": "0",
        "STALL_TIMEOUT": "5",
    }
    if "settings.toml" in str(place.files):
        del engine["BASE_URL"]
    return {
        **kept,
        "BALCAO_HOME": str(folder / "home"),
        "BALCAO_CATALOGUE": str(folder.parent / "catalogue"),
        "HF_HOME": str(folder / "home/hub"),
        "HF_ENDPOINT": url.removesuffix("/v1"),
        "CANARY_ROWS": str(folder.parent / "rows"),
        **{f"BALCAO_ENGINES__REMOTE__{name}": value for name, value in engine.items()},
        **own,
    }


def use(does: Sequence[str]) -> None:
    """Use the program in this process, each command in its turn."""
    from scripts import cli

    home = Path(os.environ["BALCAO_HOME"])
    rows = home / "rows"
    rows.mkdir()
    for file in Path(os.environ["CANARY_ROWS"]).iterdir():
        (rows / file.name).write_bytes(file.read_bytes())
    evaluation = ["--data", str(rows / "valid.jsonl"), "--limit", "1", "--invented", "1", "--yes"]
    job = ["--data", str(rows), "--yes", "--every", "0.01"]
    url = os.environ.get("BALCAO_ENGINES__REMOTE__BASE_URL")
    key = ["--base-url", url, "--api-key-env", "OPENAI_API_KEY"] if url else []
    commands: dict[str, list[list[str]]] = {
        "ask": [
            ["ask", "--engine", "remote", TITLE],
            ["ask", "--json", "--engine", "remote", TITLE],
        ],
        "doctor": [["doctor"]],
        "engines": [["engines"], ["engines", "--json"]],
        "models": [["models"]],
        "keys": [["keys", "list"]],
        "export": [
            ["history", "export", "--out", str(home / f"export.{kind}")] for kind in ("json", "md")
        ],
        "evaluate": [
            ["evaluate", *evaluation, "--engines", "remote", "--out", str(home / "report")]
        ],
        "finetune": [["finetune", *job, *key], ["finetune", *job, *key, "--resume"], ["engines"]],
        "pull": [["models", "pull", "some/model"]],
    }
    for name in does:
        if name == "screen":
            asyncio.run(_screen())
        elif name == "plain":
            _plain()
        elif name == "crash":
            asyncio.run(_crash())
        for command in commands.get(name, []):
            print("$", *command, flush=True)
            with contextlib.suppress(SystemExit):
                cli.main(command)


def _plain() -> None:
    words = (
        f"/engine remote\n{TITLE}\n/engines\n/export {os.environ['BALCAO_HOME']}/plain.md\n/quit\n"
    )
    with tempfile.TemporaryFile("w+") as typed:
        typed.write(words)
        typed.seek(0)
        command = [sys.executable, "-m", "scripts.cli", "--plain"]
        subprocess.run(command, stdin=typed, timeout=120, check=False)


async def _screen() -> None:
    from engine.config import settings
    from engine.core.errors import BalcaoError
    from tui.app import BalcaoApp

    try:
        app = BalcaoApp(settings.load())
    except BalcaoError as error:
        print(error)
        return
    async with app.run_test(size=(120, 50)) as pilot:

        async def show(seconds: float = 2.0) -> None:
            for _ in range(int(seconds * 5)):
                await pilot.pause(0.2)
                lines = app.screen._compositor.render_strips(app.size)  # noqa: SLF001 - the only text of all
                print("\n".join(line.text.rstrip() for line in lines), flush=True)

        await show(2)
        await pilot.press("f9", "end")
        await show(3)
        await pilot.press("enter")
        await show(1)
        await pilot.press(*(letter.replace(" ", "space") for letter in TITLE), "enter")
        await show(3)
        for key in ("f4", "f6", "f8", "ctrl+e", "ctrl+o"):
            await pilot.press(key)
            await show(1)


async def _crash() -> None:
    from engine.config import settings
    from tui.app import BalcaoApp

    class Broken(BalcaoApp):
        def on_ready(self) -> None:
            raise RuntimeError(" ".join(os.environ.values()))

    with contextlib.suppress(RuntimeError):
        async with Broken(settings.load()).run_test():
            pass


def prepare(folder: Path) -> None:
    """Make the catalogue and the rows that all places share."""
    rows = [
        {
            "uid": f"10000000{number:02}",
            "title": f"{TITLE}{f' {number}' if number else ''}",
            "content": f"Navy twill, {number} pockets.",
        }
        for number in range(40)
    ]
    data = folder / "trn.json"
    data.write_text(
        "".join(json.dumps(row | {"target_ind": [], "target_rel": []}) + "\n" for row in rows)
    )
    for command in (
        ["index", str(data), "--out", str(folder / "catalogue")],
        ["prepare", str(data), "--out", str(folder / "rows")],
    ):
        subprocess.run(
            [sys.executable, "-m", "scripts.cli", *command],
            cwd=ROOT,
            env=os.environ | {"BALCAO_HOME": str(folder / "made")},
            check=True,
            capture_output=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Attack the places, print a line for each, and return 1 if the key was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names of places, separated by commas")
    parser.add_argument("--out", metavar="DIR", help="an empty folder to keep everything in")
    parser.add_argument("--jobs", type=int, default=2, help="places at once (default: 2)")
    parser.add_argument("--use", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.use:
        use(options.use.split(","))
        return 0
    only = set(filter(None, options.only.split(",")))
    names = [place.name for place in places("http://x/v1") if not only or place.name in only]
    leaks = 0
    with contextlib.ExitStack() as stack:
        folder = Path(options.out or stack.enter_context(tempfile.TemporaryDirectory()))
        prepare(folder)
        folders = [folder / f"place-{number}" for number in range(len(names))]
        pool = ThreadPoolExecutor(options.jobs)
        for name, found in zip(names, pool.map(attack, names, folders), strict=True):
            leaks += bool(found) is not (name == CONTROL)
            print(f"{name:40} {found or 'nowhere'}", flush=True)
    print(f"{len(names)} places, {leaks} with another result than expected")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
