"""After a run: whether the chat is to have its adapter as an engine."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.config import engines as engines_file
from engine.config.settings import load
from engine.training.runs import run_engine_part as run_engine
from scripts.common import say


def check_engine(out: Path, wanted: str) -> None:
    """Raises UsageError if the run in `out` cannot become an engine of that id."""
    if engines_file.engine_of(out) != wanted:
        engines_file.check_unused(wanted, load())


def offer_engine(out: Path, wanted: str) -> None:
    """Make the adapter the engine `wanted`; without a name, ask the person at the terminal."""
    if wanted or (engines_file.engine_of(out) is None and _agreed(out)):
        use_engine(out, wanted)


def use_engine(out: Path, wanted: str) -> None:
    """Make the adapter in `out` an engine, and say which. Raises BalcaoError."""
    name = run_engine.use(out, wanted)
    print(f"engine    {name}")
    say(f"Ask it: balcao --engine {name}; in the chat F2 has it.")


def _agreed(out: Path) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    name = engines_file.adapter_id(out.resolve())
    print(f"Use it as engine “{name}” in the chat? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes", "s", "sim")
