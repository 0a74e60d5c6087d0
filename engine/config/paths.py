"""All paths of the program: the user's files, what ships with it, and the Hugging Face cache.

`BALCAO_HOME` puts the user's files under one folder, for tests and trial runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import platformdirs

from engine.core.errors import SettingsError
from engine.core.i18n import tr


def _folder(name: str, default: Callable[[str], str]) -> Path:
    home = os.environ.get("BALCAO_HOME")
    if not home:
        return Path(default("balcao"))
    if str(folder := expand(home)).startswith("~"):
        raise SettingsError(
            tr("BALCAO_HOME is in the folder of a user who does not exist: {home}.", home=home),
            tr("Set it to an existing folder, or unset it."),
        )
    return folder / name


def expand(name: str | Path) -> Path:
    """Return a path with ~ replaced as a shell does it: not for a user who does not exist.

    A path that no system call accepts becomes one of a missing file.
    """
    name = str(name).replace("\0", "\ufffd")
    return Path(os.path.expanduser(name))  # noqa: PTH111 - the other one raises RuntimeError


def _inside(folder: Callable[[], Path], name: str) -> Callable[[], Path]:
    """Make the function of a path in a folder, which BALCAO_HOME may move until it is called."""
    return lambda: folder() / name


def _shipped(name: str) -> Path:
    engine = Path(__file__).resolve().parents[1]
    bundled = engine / "bundled" / name  # in the wheel
    return bundled if bundled.exists() else engine.parent / "data" / name  # in a checkout


config_dir = partial(_folder, "config", platformdirs.user_config_dir)
data_dir = partial(_folder, "data", platformdirs.user_data_dir)
cache_dir = partial(_folder, "cache", platformdirs.user_cache_dir)
"""Files that can be made again: models converted for llama.cpp."""
settings_file = _inside(config_dir, "settings.toml")
engines_file = _inside(config_dir, "engines.toml")
"""The engines that the program has added."""


def settings_name() -> str:
    """Return the path of the settings as a person writes it: ~ is the user's folder."""
    file, home = settings_file(), expand("~")
    return f"~/{file.relative_to(home).as_posix()}" if file.is_relative_to(home) else str(file)


def engine_table(engine_id: str) -> str:
    """Return where the settings of an engine are written."""
    return tr("[engines.{id}] in {file}", id=engine_id, file=settings_name())


keys_file = _inside(config_dir, "keys.toml")
"""The user's API keys, mode 0600."""
conversations_file = _inside(data_dir, "conversations.db")
exports_dir = _inside(data_dir, "exports")
crash_file = _inside(data_dir, "crash.txt")
"""The report of the last crash."""
runs_dir = _inside(data_dir, "runs")
"""The folder in which each training run names its own folder."""
sample_catalogue_dir = _inside(data_dir, "sample-catalogue")
"""The sample catalogue's index, made of the rows in `sample_source`."""
sample_source = partial(_shipped, "sample_catalogue.jsonl")
SMALL = "smollm2"
"""Name of the small Llama that `balcao models pull smollm2` downloads."""
small_model_dir = _inside(_inside(cache_dir, "models"), SMALL)
small_adapter_dir = partial(_shipped, f"{SMALL}_adapter")
"""The LoRA adapter for the small Llama that ships with the program."""


MAIN = "main"
"""The default revision of a model on the Hugging Face Hub."""
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+(?:/[\w.-]+)*))?")


def split_id(model: str) -> tuple[str, str] | None:
    """Split `ORG/NAME` or `ORG/NAME@REVISION` into id and revision; None for anything else."""
    found = _HUB_ID.fullmatch(model)
    if found is None or ".." in model:
        return None
    return found[1], found[2] or MAIN


def hub_cache() -> Path:
    """Return the folder into which huggingface_hub downloads, without importing it."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return expand(os.path.expandvars(named))
    home = os.environ.get("HF_HOME")
    if home is None:
        home = f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return expand(os.path.expandvars(home)) / "hub"


def hub_folder(name: str) -> Path:
    """Return the cache's folder for a hub id, whether it exists or not."""
    return hub_cache() / f"models--{name.replace('/', '--')}"


def find_snapshot(model: str) -> Path | None:
    """Return the folder of a revision in the cache, named by its branch, tag or commit."""
    name, revision = split_id(model) or (model, MAIN)
    stored = hub_folder(name)
    try:
        commit = (stored / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    snapshot = stored / "snapshots" / commit
    try:
        return snapshot if commit and snapshot.is_dir() else None
    except OSError:  # a ref that is no name of a file
        return None
