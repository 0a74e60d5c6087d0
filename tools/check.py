"""Run every check that a commit must pass: lint, format, types, layers, tests.

python -m tools.check
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
Command = Sequence[str]

_HALF = (
    "tests/tui",
    "tests/scripts",
    "tests/engine/backends/openai",
    "tests/engine/chat",
    "tests/engine/training/openai",
    "tests/engine/training/runs",
)
"""These take about as long as all other tests. Both halves wait for processes half of the time,
so two at once also save time on one core."""
CHECKS: tuple[tuple[str, tuple[Command, ...]], ...] = (
    ("lint", (("ruff", "check", "--quiet"),)),
    ("format", (("ruff", "format", "--check", "--quiet"),)),
    ("types", (("mypy",),)),
    ("layers", (("lint-imports",),)),
    (
        "tests",
        (("pytest", "-q", *(f"--ignore={part}" for part in _HALF)), ("pytest", "-q", *_HALF)),
    ),
)


def main() -> int:
    """Run all checks, even after a failure; return 1 if any failed."""
    failed = []
    for name, commands in CHECKS:
        print(f"-- {name}", flush=True)
        started = time.monotonic()
        if not _run(commands):
            failed.append(name)
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _run(commands: Sequence[Command]) -> bool:
    """Run commands in parallel; return whether all passed. Their outputs do not mix."""
    (tool, *arguments), *others = commands
    with TemporaryFile() as output:
        background = [
            subprocess.Popen([BIN / other[0], *other[1:]], cwd=ROOT, stdout=output, stderr=output)
            for other in others
        ]
        codes = [subprocess.run([BIN / tool, *arguments], cwd=ROOT, check=False).returncode]
        codes += [process.wait() for process in background]
        output.seek(0)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    return not any(codes)


if __name__ == "__main__":
    sys.exit(main())
