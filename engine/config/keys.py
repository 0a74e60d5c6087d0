"""Read and store API keys: in the environment, in a file of mode 0600, or in the system's keyring.

A key has the name of an environment variable (`OPENAI_API_KEY`), which overrides `keys.toml` in the
config folder, which overrides the keyring. The keyring needs the optional keyring package; it
cannot list its keys, so `keys.toml` has their names as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from engine.config import paths
from engine.config.settings import MAX_BYTES, parse_toml
from engine.core.errors import BalcaoError, SettingsError, UsageError
from engine.core.files import delete_drafts, reading, write_atomic, writing
from engine.core.i18n import tr
from engine.core.process import install_command

_SERVICE = "balcao"
"""The program's name in the keyring."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")
_HEADER = "# Keys, written by `balcao keys set`. Only its owner may read this file.\n"


class Source(StrEnum):
    """Where a key is stored."""

    ENVIRONMENT = "environment"
    FILE = "file"
    KEYRING = "keyring"


@dataclass(frozen=True, slots=True)
class _KeysFile:
    """The content of keys.toml: keys by name, and the names of keys in the keyring."""

    keys: dict[str, str] = field(default_factory=dict, repr=False)
    in_keyring: tuple[str, ...] = ()

    def without(self, name: str) -> _KeysFile:
        return _KeysFile(
            {other: key for other, key in self.keys.items() if other != name},
            tuple(other for other in self.in_keyring if other != name),
        )


def source(name: str) -> Source | None:
    """Return where the key of that name is stored, without opening the keyring."""
    if name and os.environ.get(name, "").strip():
        return Source.ENVIRONMENT
    found = _read()
    if found.keys.get(name, ""):
        return Source.FILE
    return Source.KEYRING if name in found.in_keyring else None


def value(name: str) -> str:
    """Return the key of that name, or an empty string. May block on the keyring."""
    match source(name):
        case Source.ENVIRONMENT:
            return os.environ[name].strip()
        case Source.FILE:
            return _read().keys[name].strip()
        case Source.KEYRING:
            return _from_keyring(name)
        case None:
            return ""


def known() -> list[str]:
    """Return all keys and passwords that can be read without the keyring, to hide them."""
    found = [key for name, key in os.environ.items() if _SECRET_NAME.search(name)]
    texts = list(os.environ.values())
    with suppress(BalcaoError, OSError, UnicodeDecodeError):
        found += _read().keys.values()
        texts.append(paths.settings_file().read_text(encoding="utf-8"))
    return found + [unquote(word) for word in _PASSWORD.findall("\n".join(texts))]


def is_sendable(key: str) -> bool:
    """Return whether a header can contain the key: else, the error of sending would show it."""
    return key.isascii() and key.isprintable() and " " not in key


def stored() -> dict[str, Source]:
    """Return the names of all stored keys. Raises SettingsError as `source` does."""
    found = _read()
    return dict.fromkeys(found.in_keyring, Source.KEYRING) | dict.fromkeys(found.keys, Source.FILE)


def store(name: str, key: str, *, in_file: bool = False) -> Source:
    """Store a key in the keyring, or without one or `in_file` in keys.toml; return where it is."""
    check_name(name)
    if not key or not is_sendable(key):
        raise UsageError(tr("Invalid API key: empty, or contains invalid characters."))
    found = _read()
    left = found.without(name)
    if not in_file and _put_into_keyring(name, key):
        _write(_KeysFile(left.keys, (*left.in_keyring, name)))
        return Source.KEYRING
    if name in found.in_keyring:
        _delete_from_keyring(name)
    _write(_KeysFile(left.keys | {name: key}, left.in_keyring))
    return Source.FILE


def remove(name: str) -> bool:
    """Delete a key; return False if it is not stored. Raises as `store` does."""
    check_name(name)
    found = _read()
    file = paths.keys_file().resolve()
    delete_drafts(file.parent, file.name)  # one of a killed process may have the key
    if name not in found.keys and name not in found.in_keyring:
        return False
    if name in found.in_keyring:
        _delete_from_keyring(name)
    _write(found.without(name))
    return True


def check_name(name: str) -> None:
    """Raise UsageError for an invalid name, without repeating it: it may be a key."""
    if not _NAME.match(name):
        raise UsageError(
            tr("Invalid key name: use letters, digits and underscores."),
            tr("The command asks for the key itself: never type it on the command line."),
        )


def _read() -> _KeysFile:
    file = paths.keys_file()
    remedy = tr("Fix it, or delete it.")
    with reading(file, SettingsError, remedy):
        try:
            with file.open("rb") as stream:
                _check_private(file, os.fstat(stream.fileno()))
                raw = parse_toml(stream.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return _KeysFile()
        except ValueError:
            # Without the cause, which shows the line and with it a key.
            raise SettingsError(tr("{file} is not valid TOML.", file=file), remedy) from None
    return _understood(file, raw)


def _understood(file: Path, raw: Mapping[str, Any]) -> _KeysFile:
    keys, names = raw.get("keys", {}), raw.get("in_keyring", [])
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise SettingsError(tr("{file}: [keys] must contain only names and strings.", file=file))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SettingsError(tr("{file}: `in_keyring` must be a list of names.", file=file))
    return _KeysFile(keys, tuple(names))


def _check_private(file: Path, status: os.stat_result) -> None:
    if os.name == "posix" and (status.st_mode & 0o077 or status.st_uid not in (os.getuid(), 0)):
        raise SettingsError(
            tr("Other users can read {file}, so its keys are not used.", file=file),
            tr("Restrict it: chmod 600 '{file}'.", file=file),
        )


def _write(found: _KeysFile) -> None:
    file = paths.keys_file().resolve()  # a link, as into a folder of dotfiles, stays one
    values: dict[str, Any] = {"in_keyring": list(found.in_keyring)} if found.in_keyring else {}
    if found.keys:
        values["keys"] = found.keys
    import tomlkit

    with writing(file):
        write_atomic(file, (_HEADER + tomlkit.dumps(values)).encode(), private=True)


def _keyring() -> ModuleType | None:
    return import_module("keyring") if find_spec("keyring") else None


def _put_into_keyring(name: str, key: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_SERVICE, name, key)
        # Some backends accept a key without storing it.
        return bool(keyring.get_password(_SERVICE, name) == key)
    except (keyring.errors.KeyringError, RuntimeError, OSError):
        return False


def _from_keyring(name: str) -> str:
    keyring = _keyring()
    if keyring is None:
        raise BalcaoError(
            tr(
                "The key {name} is in the keyring, but the keyring package is not installed.",
                name=name,
            ),
            tr(
                "Run `{command}`, or store the key again: balcao keys set {name}.",
                command=install_command("keyring"),
                name=name,
            ),
        )
    try:
        found = keyring.get_password(_SERVICE, name)
    except (keyring.errors.KeyringError, RuntimeError, OSError) as error:
        kind = type(error).__name__
        raise BalcaoError(
            tr("Cannot read the key {name} from the keyring: {error}.", name=name, error=kind),
            tr("Unlock the keyring, or set the variable {name}.", name=name),
        ) from None
    if not found:
        raise BalcaoError(
            tr("The key {name} is not in the keyring any more.", name=name),
            tr("Store it again: balcao keys set {name}.", name=name),
        )
    if not is_sendable(str(found).strip()):
        raise BalcaoError(
            tr("Invalid API key {name} in the keyring: it contains invalid characters.", name=name),
            tr("Store it again: balcao keys set {name}.", name=name),
        )
    return str(found).strip()


def _delete_from_keyring(name: str) -> None:
    keyring = _keyring()
    if keyring is None:
        return
    try:
        keyring.delete_password(_SERVICE, name)
    except keyring.errors.PasswordDeleteError:
        return
    except (keyring.errors.KeyringError, RuntimeError, OSError) as error:
        kind = type(error).__name__
        raise BalcaoError(
            tr("Cannot remove the key {name} from the keyring: {error}.", name=name, error=kind),
            tr("Unlock the keyring and try again."),
        ) from None
