"""Which models the hub's own client has fetched: found without it, in milliseconds, no network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

MAIN = "main"
"""The revision that is meant where none is named."""
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+(?:/[\w.-]+)*))?")


def split_id(model: str) -> tuple[str, str] | None:
    """A hub id and its revision, of `ORG/NAME` or `ORG/NAME@REVISION`; None for no hub id."""
    found = _HUB_ID.fullmatch(model)
    if found is None or ".." in model:
        return None
    return found[1], found[2] or MAIN


def hub_cache(environ: Mapping[str, str] | None = None) -> Path:
    """Where the hub's own client keeps what it has fetched, by the same variables as it."""
    values = os.environ if environ is None else environ
    named = values.get("HF_HUB_CACHE") or values.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(os.path.expandvars(named)).expanduser()
    home = values.get("HF_HOME")
    if home is None:
        cache = values.get("XDG_CACHE_HOME") or "~/.cache"
        home = f"{cache}/huggingface"
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def hub_folder(name: str) -> Path:
    """Where the cache keeps all that it has of a hub id, whether or not it is there."""
    return hub_cache() / f"models--{name.replace('/', '--')}"


def find_snapshot(model: str) -> Path | None:
    """The folder of the revision that the cache holds under that name, or as that commit."""
    name, revision = split_id(model) or (model, MAIN)
    stored = hub_folder(name)
    try:
        commit = (stored / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    snapshot = stored / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None
