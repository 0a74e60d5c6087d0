"""Everything that must hold before a commit: lint, format, types, layers, tests.

python -m scripts.check
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CHECKS = (
    ("lint", ("ruff", "check", "--quiet")),
    ("format", ("ruff", "format", "--check", "--quiet")),
    ("types", ("mypy",)),
    ("layers", ("lint-imports",)),
    ("tests", ("pytest", "-q")),
)


def main() -> int:
    """Run every check, so that one run shows all that is wrong; returns 1 if any failed."""
    failed = []
    for name, (tool, *arguments) in CHECKS:
        print(f"-- {name}", flush=True)
        started = time.monotonic()
        if subprocess.run([BIN / tool, *arguments], cwd=ROOT, check=False).returncode:
            failed.append(name)
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
