"""What every test is given: a home of its own, no keys, no network, a small catalogue."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_catalogue
from engine.config import paths
from engine.core import i18n
from engine.core.files import folder_lock, locked
from tests.engine.backends.openai import server as scripted

# Before anything that has sentences at its top level is imported.
i18n.choose("en")

# The same examples each time, so that a commit passes or fails for its own sake; new ones, and many
# more, with --hypothesis-profile=long.
hypothesis.settings.register_profile("short", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("long", max_examples=5000, deadline=None)
hypothesis.settings.load_profile("short")

_ROOT = Path(__file__).resolve().parents[1]

# As in an activated environment: commands are printed by the name that the shell finds.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

pytest_plugins = ["tests.engine.backends.llama.tiny"]

ROWS: tuple[tuple[str, str, str], ...] = (
    (
        "1000000001",
        "The Tin Lighthouse",
        (
            "A keeper of sixty climbs three hundred steps each dusk. "
            "Written by Ada Quillfeather for readers of 9 to 12 years. 212 pages."
        ),
    ),
    ("1000000002", "Striped Apron", "Navy twill, one pocket."),
    ("100000003X", "Striped Apron", "Woven from cotton ends; no two alike."),
    ("1000000004", "Canvas Stool, Green", "Folds flat. Holds 110 kg."),
    ("1000000005", "Canvas Stool, Blue", "Folds flat and floats."),
    ("1000000006", "O Jardim de Inverno", "Uma família herda uma estufa e não sabe o que fazer."),
    ("1000000007", "Empty Shelf", ""),
    ("1000000008", "Paint [/b] and [red] Brushes", "Use *two* coats, [never](three). Dry # it."),
    ("1000000009", "Caf&eacute; Tokyo &quot;Nights&quot;", "Jazz at 2 a.m.&#8212;and rain."),
    ("1000000010", "Bell\x1b]0;owned\x07 Tower\u202e", "Rings\x1b[2J twice\x9b31m a day."),
)
"""uid, title and content of a catalogue with one of each trap."""


@pytest.fixture
async def server() -> AsyncIterator[scripted.Server]:
    async with scripted.running() as running:
        yield running


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BALCAO_") or name.endswith(("_API_KEY", "_TOKEN")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


@pytest.fixture(scope="session")
def _encoder() -> Path:
    """The sentence encoder, unpacked once for all sessions."""
    home = _ROOT / ".pytest_cache" / "encoder"
    with locked(folder_lock(home)):  # the two halves of the tests share it
        _run("from engine.catalogue.vectors.encoder import shared_encoder; shared_encoder()", home)
    return home / "cache" / "encoder"


def _run(code: str, home: Path) -> None:
    environ = os.environ | {"BALCAO_HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)


@pytest.fixture
def encoder_at_hand(_encoder: Path, tmp_path: Path) -> None:
    """Give programs that search by meaning the unpacked encoder: unpacking takes seconds."""
    cache = tmp_path / "home" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "encoder").symlink_to(_encoder)


@pytest.fixture(scope="session")
def built_sample(_encoder: Path) -> Path:
    """The sample catalogue with its vectors, built once by the code as it is; not to be changed."""
    digest = hashlib.sha256()
    for file in (paths.sample_source(), *sorted((_ROOT / "engine" / "catalogue").rglob("*.py"))):
        digest.update(file.read_bytes())
    home = _ROOT / ".pytest_cache" / f"sample-{digest.hexdigest()[:16]}"
    with locked(folder_lock(home)):
        _run("from engine.catalogue.index import ensure_sample; ensure_sample()", home)
    return home / "data" / "sample-catalogue"


@pytest.fixture
def sample_at_hand(built_sample: Path, encoder_at_hand: None) -> None:  # noqa: ARG001
    """Give programs a sample catalogue of their own: building it takes seconds."""
    shutil.copytree(built_sample, paths.sample_catalogue_dir())


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that leaves this machine is a failed test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert ipaddress.ip_address(address[0]).is_loopback, f"connects to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Others may do whatever a file's mode allows."""
    before = os.umask(0)
    yield
    os.umask(before)


def write_rows(file: Path, rows: tuple[tuple[str, str, str], ...] = ROWS) -> Path:
    """A data set in `trn.json` form."""
    lines = (
        json.dumps(
            {"uid": uid, "title": title, "content": content, "target_ind": [], "target_rel": []}
        )
        for uid, title, content in rows
    )
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def catalogue_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of ROWS."""
    folder = tmp_path_factory.mktemp("catalogue")
    build_catalogue(write_rows(folder / "rows.jsonl"), folder / "index")
    return folder / "index"


@pytest.fixture
def catalogue(catalogue_dir: Path) -> Iterator[Catalogue]:
    """ROWS, open."""
    opened = Catalogue.open(catalogue_dir)
    yield opened
    opened.close()


@pytest.fixture
def in_portuguese(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's sentences in Portuguese, those apart that were made as it was imported."""
    monkeypatch.setattr(i18n, "_chosen", None)
    i18n.choose("pt")
