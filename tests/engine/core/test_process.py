"""Keep the noise of libraries off the terminal."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import os, sys
from engine.core.process import quiet_libraries
with quiet_libraries():
    os.write(2, b"noise\\n")
    print("drawn", file=sys.__stderr__)
    print("said", file=sys.stderr)
os.write(2, b"afterwards\\n")
"""


def test_what_libraries_write_to_stderr_is_not_seen() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
    )
    assert ended.stderr.split() == ["drawn", "said", "afterwards"]
