"""What the system says of a file, as a person is told it."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest

from engine.core.errors import why


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOSPC, errno.EXDEV])
def test_in_english_it_is_the_systems_own(number: int) -> None:
    assert why(OSError(number, os.strerror(number), "/a/file")) == os.strerror(number)


@pytest.mark.usefixtures("in_portuguese")
def test_in_portuguese_the_common_ones_are_ours() -> None:
    assert why(FileNotFoundError(errno.ENOENT, "No such file or directory")) == "não foi encontrado"
    assert why(PermissionError(errno.EACCES, "Permission denied")) == "sem permissão"
    assert why(OSError(errno.EXDEV, "Cross-device link")) == "Cross-device link"


def test_what_has_no_number_speaks_for_itself() -> None:
    assert why(sqlite3.OperationalError("database is locked")) == "database is locked"
    assert (
        why(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")) == "it is not UTF-8"
    )
