"""What `balcao doctor` asks of everything but the terminal, each part for itself.

A part that is broken says so and stops no other: that is when this is needed. Nothing heavy is
imported, no key's value is read, and nothing is written but a sample catalogue that is out of date.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from engine.backends.registry import Registry
from engine.catalogue.postgres import is_address
from engine.chat.open import open_catalogue
from engine.config import keys, paths, settings
from engine.config.settings import Settings
from engine.core.errors import BalcaoError, SettingsError
from engine.core.i18n import tr, tr_n

_GIB = 2**30
_LITTLE_DISK = 2 * _GIB
_SECONDS = 10
_NEEDED = ("textual", "msgspec", "platformdirs", "tantivy", "rapidfuzz", "isal")
"""Without one of these there is no chat."""
_EXTRAS = {
    "trl": "train",
    "datasets": "train",
    "psycopg": "scale",
    "keyring": "keyring",
    "rouge-score": "evaluate",
    "textual-serve": "serve",
}


class Finding(Struct, frozen=True):
    """One line of the report: `trouble` and `remedy` are sentences, empty where all is well.

    `fatal` means that the chat cannot start with it.
    """

    part: str
    name: str
    value: str
    trouble: str = ""
    remedy: str = ""
    fatal: bool = False


Check = Callable[[], Iterable[Finding]]


def examine(part: str, check: Check, *, fatal: bool = False) -> list[Finding]:
    """What a check finds; one that fails is a finding itself, as `fatal` as is said here."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except BalcaoError as error:
        found.append(Finding(part, part, tr("broken"), error.message, error.remedy, fatal))
    except Exception as error:  # noqa: BLE001 - whatever is broken, the report tells it and goes on
        trouble = f"{type(error).__name__}: {error}."
        found.append(Finding(part, part, tr("broken"), trouble, "", fatal))
    return found


def settings_in_force() -> tuple[Settings, SettingsError | None]:
    """The settings, or where they cannot be understood the defaults and why."""
    try:
        found = settings.load()
        Registry(found)
    except SettingsError as error:
        return settings.defaults(), error
    return found, None


def program() -> Iterator[Finding]:
    """Versions: of this program, Python, the packages. None of them is imported."""
    yield Finding(
        "program", "balcao", _version("balcao") or tr("not installed: run from its folder")
    )
    python = f"{platform.python_version()} ({sys.executable})"
    yield Finding("program", "python", python)
    yield Finding("program", "system", platform.platform())
    for name in _NEEDED:
        yield _package(name, tr("the chat"), fatal=True)
    for name, purpose in _purposes().items():
        yield _package(name, purpose)
    for name, extra in _EXTRAS.items():
        remedy = f"pip install 'balcao[{extra}]'"
        version = _version(name)
        yield Finding(
            "program",
            name,
            version or tr("not installed (optional: {remedy})", remedy=remedy),
        )


def files() -> Iterator[Finding]:
    """Which settings there are, and which variables go before them (names alone)."""
    for name, file in (("settings", paths.settings_file()), ("engines", paths.engines_file())):
        yield Finding(
            "settings", name, str(file) if file.exists() else tr("none ({file})", file=file)
        )
    given = sorted(name for name in os.environ if name.startswith("BALCAO_"))
    yield Finding("settings", "variables", ", ".join(given) or tr("none"))


def engines(chosen: Settings) -> Iterator[Finding]:
    """Each engine: ready, or what it needs. One that is not ready is no trouble of the chat's."""
    registry = Registry(chosen)
    for engine_id in registry.ids:
        here = tr(", the chat begins with it") if engine_id == chosen.engine else ""
        state = registry.get(engine_id).availability()
        told = tr("ready") if state.ready else tr("not ready")
        # A reason is given only where it is not ready.
        yield Finding("engines", engine_id, f"{told}{here}", state.reason, state.remedy)


def catalogue(chosen: Settings) -> Iterator[Finding]:
    """Which one it is, whether it opens, and how much it has."""
    if chosen.catalogue is None and not paths.sample_catalogue_dir().exists():
        yield Finding("catalogue", "sample", tr("not built yet: the first chat does so"))
        return
    name = chosen.catalogue or "sample"
    if is_address(name):
        name = name.rpartition("@")[2].partition("?")[0]  # the rest may hold a password
    with closing(open_catalogue(chosen)) as opened:
        yield Finding("catalogue", name, _products(len(opened)))


def named_keys(chosen: Settings) -> Iterator[Finding]:
    """Which keys there are and where they lie; never what they are."""
    names = {config.key_name() for config in Registry(chosen).configs.values()}
    wanted = {name for name in names if name}
    for name in sorted(wanted | set(keys.stored())):
        where = keys.source(name)
        yield Finding("keys", name, _where(where))


def history() -> Iterator[Finding]:
    """The conversations' file: its size, whether it can be read and written."""
    file = paths.conversations_file()
    there = _nearest(file)
    if not os.access(there, os.W_OK):
        trouble = tr("{there} cannot be written, so conversations are not kept.", there=there)
        yield Finding("history", "folder", str(there), trouble, tr("Make it writable."))
    if not file.exists():
        yield Finding("history", "conversations", tr("none yet ({file})", file=file))
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM conversation").fetchone()
    except sqlite3.Error as error:
        trouble = tr("{file} cannot be read: {error}.", file=file, error=error)
        remedy = tr("Put it aside under another name; the chat begins a new one.")
        yield Finding("history", "conversations", str(file), trouble, remedy)
        return
    size = file.stat().st_size / 2**20
    yield Finding(
        "history",
        "conversations",
        tr("{count:,}, {size:.1f} MB ({file})", count=count, size=size, file=file),
    )


def machine(*, ask_torch: bool = False) -> Iterator[Finding]:
    """Disk, memory, cores, GPU; torch, which takes seconds to import, only where asked."""
    folder = _nearest(paths.data_dir())
    free = shutil.disk_usage(folder).free
    short = free < _LITTLE_DISK
    trouble = (
        tr("Only {free:.1f} GB are free where conversations are kept.", free=free / _GIB)
        if short
        else ""
    )
    yield Finding(
        "machine",
        "disk",
        tr("{free:,.1f} GB free ({folder})", free=free / _GIB, folder=folder),
        trouble,
        tr("Make room, or set BALCAO_HOME to a folder on another disk.") if short else "",
    )
    yield Finding("machine", "memory", _memory())
    yield Finding("machine", "cores", str(os.cpu_count() or tr("unknown")))
    yield Finding("machine", "GPU", _gpu())
    if ask_torch:
        yield Finding("machine", "torch", _torch())


def _purposes() -> dict[str, str]:
    """What the packages are for without which the chat still starts."""
    models = tr("models on this machine")
    return {
        "torch": models,
        "transformers": models,
        "peft": tr("LoRA adapters"),
        "bitsandbytes": tr("4-bit and 8-bit weights"),
        "sentencepiece": tr("Llama's older tokenizers"),
        "openai": tr("OpenAI-compatible servers"),
    }


def _products(count: int) -> str:
    return tr_n("{count:,} product", "{count:,} products", count, count=count)


def _where(source: keys.Source | None) -> str:
    """Where a key was found."""
    return {
        None: tr("not found"),
        keys.Source.ENVIRONMENT: tr("found: environment"),
        keys.Source.FILE: tr("found: file"),
        keys.Source.KEYRING: tr("found: keyring"),
    }[source]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _package(name: str, purpose: str, *, fatal: bool = False) -> Finding:
    version = _version(name)
    if version:
        return Finding("program", name, version)
    trouble = tr("The package {name}, for {purpose}, is not installed.", name=name, purpose=purpose)
    return Finding(
        "program",
        name,
        tr("missing"),
        trouble,
        tr("Install it: {remedy}.", remedy="pip install balcao"),
        fatal,
    )


def _nearest(path: Path) -> Path:
    """The file or folder, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


def _memory() -> str:
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return tr("unknown")
    return tr("{all:.1f} GB{available}", all=page * pages / _GIB, available=_available())


def _available() -> str:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable")), "")
    return tr(", {free:.1f} GB available", free=int(kib) * 1024 / _GIB) if kib else ""


def _gpu() -> str:
    program = shutil.which("nvidia-smi")
    if not program:
        return tr("none found (no nvidia-smi)")
    ask = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        # The program of that name in the person's own PATH.
        told = subprocess.run(  # noqa: S603
            ask, capture_output=True, text=True, timeout=_SECONDS, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return tr("nvidia-smi does not answer")
    return "; ".join(told.stdout.strip().splitlines()) or tr("none")


def _torch() -> str:
    ask = (
        "import torch\n"
        "print(torch.__version__, 'CUDA', torch.cuda.is_available(), torch.cuda.device_count())"
    )
    # In a process of its own: what a broken driver does to it is told and not suffered.
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ask], capture_output=True, text=True, check=False, errors="replace"
    )
    return told.stdout.strip() or (told.stderr.strip().splitlines() or [tr("no answer")])[-1]
