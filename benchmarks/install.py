"""Compare `make chat` in fresh clones of two commits, from an empty cache of pip.

    python benchmarks/install.py [--against COMMIT] [--rounds N]

In turn, each clone is installed and its base model answers one question; then it is deleted. Prints
the seconds until the chat can open and until the answer, and the disk that .venv and the home take.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUESTION = "What is the capital of France?"
_MB = 1_000_000


def main() -> None:
    """Install both commits in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="a915cbe", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    options = parser.parse_args()
    commits = ("HEAD", options.against)
    found = {commit: list[tuple[float, float, float]]() for commit in commits}
    for _ in range(options.rounds):
        for commit in commits:
            found[commit].append(_install(commit))
    for commit, rows in found.items():
        chat, answer, size = (statistics.median(values) for values in zip(*rows, strict=True))
        print(f"{commit}: chat {chat:.0f} s, base's answer {answer:.0f} s, {size / _MB:.0f} MB")


def _install(commit: str) -> tuple[float, float, float]:
    """Return the seconds to the chat and to the base's answer, and the bytes on disk."""
    with tempfile.TemporaryDirectory() as folder:
        clone, home = Path(folder, "clone"), Path(folder, "home")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=clone, check=True)
        environ = os.environ | {
            "BALCAO_HOME": str(home),
            "PIP_CACHE_DIR": str(Path(folder, "cache")),
        }
        environ.pop("PYTHONPATH", None)
        began = time.monotonic()
        opening = ["make", "chat", "ARGS=--version"]
        subprocess.run(opening, cwd=clone, env=environ, stdout=subprocess.DEVNULL, check=True)
        chat = time.monotonic() - began
        asking = [".venv/bin/balcao", "ask", "--engine", "base", "--memory", QUESTION]
        said = subprocess.run(
            asking, cwd=clone, env=environ, capture_output=True, text=True, check=False
        )
        print(f"{commit}: {said.stdout.strip()[:60] or said.stderr.strip()}", flush=True)
        size = _bytes(clone / ".venv") + _bytes(home)
        return chat, time.monotonic() - began, size


def _bytes(folder: Path) -> int:
    """Return the disk blocks of a folder's files, in bytes."""
    files = (file.lstat() for file in folder.rglob("*") if not file.is_dir())
    return sum(file.st_blocks * 512 for file in files)


if __name__ == "__main__":
    main()
