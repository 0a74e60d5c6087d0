"""The real chat in terminals with other character sets."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pexpect
import pytest

from tests.tui.terminals import UTF8, terminal


@pytest.mark.parametrize(
    ("locale", "typed", "back"),
    [
        ({"LANG": "C"}, b"caf", b"caf"),
        ({"LANG": "C.UTF-8", "BALCAO_UNICODE": "never"}, "caf\xe9".encode(), b"caf?"),
        ({"LANG": "en_US.ISO-8859-1"}, b"caf\xe9", b"caf\xe9"),
    ],
)
def test_without_unicode_none_is_written(
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


def test_a_key_without_a_glyph_is_named(tmp_path: Path, catalogue_dir: Path) -> None:
    with terminal("--catalogue", str(catalogue_dir), home=tmp_path, environ={"LANG": "C"}) as chat:
        chat.expect(b"ready - ")
        chat.send(b"\x0f")
        chat.expect(b"enter")
        chat.expect(b"Open")
        chat.send(b"\x11")
        chat.expect(pexpect.EOF)


def test_a_stray_byte_does_not_end_the_chat(tmp_path: Path, catalogue_dir: Path) -> None:
    with terminal("--catalogue", str(catalogue_dir), home=tmp_path, environ=UTF8) as chat:
        chat.expect("ready ·".encode())
        chat.send(b"caf\xe9 x")
        chat.expect("caf\ufffd x".encode())
        chat.send(b"\x11")
        chat.expect(pexpect.EOF)
    assert chat.exitstatus == 0


def test_a_panic_over_a_damaged_index_is_a_sentence(tmp_path: Path, catalogue_dir: Path) -> None:
    damaged = tmp_path / "index"
    shutil.copytree(catalogue_dir, damaged)
    (postings,) = damaged.glob("titles/*.idx")
    data = postings.read_bytes()
    postings.write_bytes(bytes(255 - byte for byte in data[:-130]) + data[-130:])
    with terminal("--catalogue", str(damaged), home=tmp_path, environ=UTF8) as chat:
        chat.logfile_read = drawn = io.BytesIO()
        chat.expect("ready ·".encode())
        chat.send(b"the tin lighthose")
        chat.expect(b"lighthose")
        chat.send(b"\r")
        chat.expect(b"balcao index")
        chat.send(b"\x11")
        chat.expect(pexpect.EOF)
    assert chat.exitstatus == 0
    assert b"damaged" in drawn.getvalue()
    assert b"panicked" not in drawn.getvalue()
