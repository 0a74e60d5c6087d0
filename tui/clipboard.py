"""Copying: to wherever it can be pasted from, over SSH and inside tmux too, and saying where.

A stock tmux drops OSC 52, the escape sequence by which programs ask a terminal to copy, and a
program over SSH has no desktop to hand a text to. So the ways are tried in turn, and what can be
read back is read back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config import paths
from engine.core.i18n import tr

_SECONDS = 3


@dataclass(frozen=True, slots=True)
class _Way:
    """A program that takes a text from its stdin, and the one that gives it back."""

    where: str
    variable: str
    copy: Sequence[str]
    paste: Sequence[str]


# In the order of who is nearest to the person. An empty variable: where the program exists.
_WAYS = (
    # -w also hands it on to the terminal around tmux, where that allows it.
    _Way(tr("tmux's buffer"), "TMUX", ("tmux", "load-buffer", "-w", "-"), ("tmux", "show-buffer")),
    _Way(tr("the clipboard"), "WAYLAND_DISPLAY", ("wl-copy",), ("wl-paste", "--no-newline")),
    _Way(
        tr("the clipboard"),
        "DISPLAY",
        ("xclip", "-selection", "clipboard"),
        ("xclip", "-selection", "clipboard", "-out"),
    ),
    _Way(tr("the clipboard"), "DISPLAY", ("xsel", "-ib"), ("xsel", "-ob")),
    _Way(tr("the clipboard"), "", ("pbcopy",), ("pbpaste",)),
)


def copy(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Copy `text` by the first program that has it afterwards; returns where it is, or nothing.

    Blocks for as long as the programs take, at most some seconds.
    """
    for way in _WAYS:
        if _is_there(way, environ) and _arrives(way, text):
            return way.where
    return ""


def programs(environ: Mapping[str, str] | None = None) -> list[str]:
    """What would be tried, in order, with the program; for the doctor."""
    return [f"{way.where} ({way.copy[0]})" for way in _WAYS if _is_there(way, environ)]


def copy_to_file(text: str) -> Path:
    """Write `text` where it can be fetched from. Raises OSError."""
    file = paths.data_dir() / "copied.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def _is_there(way: _Way, environ: Mapping[str, str] | None) -> bool:
    environ = os.environ if environ is None else environ
    meant = not way.variable or bool(environ.get(way.variable))
    return meant and shutil.which(way.copy[0], path=environ.get("PATH")) is not None


def _arrives(way: _Way, text: str) -> bool:
    try:
        # xclip stays behind to serve the text: its output must not be waited for.
        subprocess.run(  # noqa: S603 - a program of the list above
            way.copy,
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        )
        back = subprocess.run(  # noqa: S603 - likewise
            way.paste, capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return back.stdout.decode("utf-8", "replace").rstrip("\n") == text.rstrip("\n")
