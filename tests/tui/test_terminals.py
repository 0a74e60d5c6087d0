"""The real chat in real terminals of other kinds: what it writes, and what may be typed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20
UTF8 = {"LANG": "C.UTF-8"}


@contextmanager
def terminal(
    *arguments: str, home: Path, environ: dict[str, str], size: tuple[int, int] = (24, 80)
) -> Iterator[pexpect.spawn]:
    """`balcao` with these arguments in a pseudo-terminal, as bytes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    code = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    child = pexpect.spawn(
        sys.executable,
        ["-c", code, *arguments],
        env=clean | {"BALCAO_HOME": str(home), "TERM": "xterm-256color"} | environ,
        dimensions=size,
        cwd=ROOT,
        timeout=SECONDS,
    )
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.mark.parametrize(
    ("locale", "typed", "back"),
    [
        ({"LANG": "C"}, b"caf", b"caf"),
        ({"LANG": "C.UTF-8", "BALCAO_UNICODE": "never"}, "caf\xe9".encode(), b"caf?"),
        ({"LANG": "en_US.ISO-8859-1"}, b"caf\xe9", b"caf\xe9"),
    ],
)
def test_where_there_is_no_unicode_none_is_written(
    tmp_path: Path, catalogue_dir: Path, locale: dict[str, str], typed: bytes, back: bytes
) -> None:
    with terminal("--catalogue", str(catalogue_dir), home=tmp_path, environ=locale) as chat:
        chat.expect(rb"ready (-|\xb7) ")
        drawn = chat.before
        chat.send(typed)
        chat.expect(re.escape(back))
        chat.send(b"\r")
        chat.expect(b"> ")
        drawn += chat.before
        chat.send(b"\x11")
        chat.expect(pexpect.EOF)
        drawn += chat.before
        if back.isascii():
            assert drawn.isascii()
        else:
            assert "Balcão".encode("latin-1") in drawn


def test_a_stray_byte_does_not_end_the_chat(tmp_path: Path, catalogue_dir: Path) -> None:
    with terminal("--catalogue", str(catalogue_dir), home=tmp_path, environ=UTF8) as chat:
        chat.expect("ready ·".encode())
        chat.send(b"caf\xe9 x")
        chat.expect("caf\ufffd x".encode())
        chat.send(b"\x11")
        chat.expect(pexpect.EOF)
    assert chat.exitstatus == 0
