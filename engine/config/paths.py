"""Where things lie: the only file that knows.

`BALCAO_HOME` puts everything of the user's under one folder (used by tests and by trial runs).
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_APP = "balcao"


def _home() -> Path | None:
    home = os.environ.get("BALCAO_HOME")
    return Path(home).expanduser() if home else None


def config_dir() -> Path:
    """The user's settings."""
    home = _home()
    return home / "config" if home else Path(platformdirs.user_config_dir(_APP))


def data_dir() -> Path:
    """What the user would not want to lose: conversations; and the sample catalogue's index."""
    home = _home()
    return home / "data" if home else Path(platformdirs.user_data_dir(_APP))


def cache_dir() -> Path:
    """What can be made again: models converted for llama.cpp."""
    home = _home()
    return home / "cache" if home else Path(platformdirs.user_cache_dir(_APP))


def settings_file() -> Path:
    """The settings, TOML."""
    return config_dir() / "settings.toml"


def engines_file() -> Path:
    """The engines that the program itself has added (fine-tuned models), TOML."""
    return config_dir() / "engines.toml"


def keys_file() -> Path:
    """The user's keys, TOML, readable by nobody else."""
    return config_dir() / "keys.toml"


def conversations_file() -> Path:
    """All conversations, SQLite."""
    return data_dir() / "conversations.db"


def exports_dir() -> Path:
    """What was exported from the chat."""
    return data_dir() / "exports"


def crash_file() -> Path:
    """The report of the last crash."""
    return data_dir() / "crash.txt"


def runs_dir() -> Path:
    """Where each training run says which folder it is in."""
    return data_dir() / "runs"


def sample_catalogue_dir() -> Path:
    """The index of the sample catalogue."""
    return data_dir() / "sample-catalogue"


def sample_source() -> Path:
    """The sample catalogue's rows."""
    return _shipped("sample_catalogue.jsonl")


DEMO = "demo"
"""What a person calls the small Llama that comes with the program."""


def model_named(name: str) -> str:
    """A model by a folder or a hub id, where a person may have called it `demo`."""
    return str(demo_model_dir()) if name == DEMO else name


def demo_model_dir() -> Path:
    """The small Llama that comes with the program."""
    return _shipped("demo_model")


def demo_adapter_dir() -> Path:
    """The LoRA adapter for it."""
    return _shipped("demo_adapter")


def _shipped(name: str) -> Path:
    """What ships with the program: in the wheel below `engine/`, in a checkout under `data/`."""
    engine = Path(__file__).resolve().parents[1]
    bundled = engine / "bundled" / name
    return bundled if bundled.exists() else engine.parent / "data" / name
