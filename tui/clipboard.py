"""Copy text so that it can be pasted, also over SSH and inside tmux.

A default tmux drops OSC 52, the escape sequence that asks a terminal to copy, and a program on a
remote machine cannot reach the desktop's clipboard. So programs are tried in turn, and the copy is
read back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from engine.config import paths
from engine.core.files import write_atomic
from engine.core.i18n import tr
from engine.core.text import mend

_TIMEOUT = 3


class _Program(NamedTuple):
    """Commands that copy stdin to a clipboard and print it again.

    They need the environment variable, if it is not empty.
    """

    where: str
    variable: str
    copy: str
    paste: str


# Nearest to the user first. tmux's -w also copies to the terminal that it runs in, if that allows.
_CLIPBOARD = tr("the clipboard")
_PROGRAMS = (
    _Program(tr("tmux's buffer"), "TMUX", "tmux load-buffer -w -", "tmux show-buffer"),
    _Program(_CLIPBOARD, "WAYLAND_DISPLAY", "wl-copy", "wl-paste --no-newline"),
    _Program(
        _CLIPBOARD, "DISPLAY", "xclip -selection clipboard", "xclip -selection clipboard -out"
    ),
    _Program(_CLIPBOARD, "DISPLAY", "xsel -ib", "xsel -ob"),
    _Program(_CLIPBOARD, "", "pbcopy", "pbpaste"),
)


def copy(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Copy with the first program that works; return the name of the place, or an empty string.

    Blocks for up to 6 seconds per program.
    """
    for program in _PROGRAMS:
        if _is_available(program, environ) and _copy_and_check(program, text):
            return program.where
    return ""


def programs(environ: Mapping[str, str] = os.environ) -> list[str]:
    """List the available places and programs in the order in which they are tried."""
    return [
        f"{each.where} ({each.copy.split()[0]})"
        for each in _PROGRAMS
        if _is_available(each, environ)
    ]


def copy_to_file(text: str) -> Path:
    """Write the text to a file in the data folder. Raises OSError."""
    file = paths.data_dir() / "copied.txt"
    write_atomic(file, mend(text).encode(), private=True)
    return file


def _is_available(program: _Program, environ: Mapping[str, str]) -> bool:
    usable = not program.variable or bool(environ.get(program.variable))
    return usable and shutil.which(program.copy.split()[0], path=environ.get("PATH")) is not None


def _copy_and_check(program: _Program, text: str) -> bool:
    try:
        # xclip stays in the background to serve the text, so its output never ends.
        subprocess.run(  # noqa: S603 - a program of the list above
            program.copy.split(),
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=True,
        )
        pasted = subprocess.run(  # noqa: S603 - as above
            program.paste.split(), capture_output=True, timeout=_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return pasted.stdout.decode("utf-8", "replace").rstrip("\n") == text.rstrip("\n")
