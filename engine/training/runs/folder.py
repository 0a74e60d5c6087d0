"""The folder of a LoRA run: what it holds before, while and after it trains.

run.json       what is being trained, from what, with which values
checkpoints/   the last two states to go on from; gone when the adapter is there
metrics.jsonl  one object for every step that was logged, and for every sample
status.json    how far it is: run_status
train.log      what a run of `--detach` says
the adapter, its model model_card and, written last of all, manifest.json
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.files import MANIFEST, Input, Manifest, read_manifest, timestamp, write_atomic
from engine.core.text import json_line
from engine.training.recipe import Recipe, learns_the_same
from engine.training.runs.status import STATUS_FILE

_CARD = """---
base_model: {base}
library_name: peft
tags:
- lora
- balcao
---

# A LoRA adapter for {name}

Made by `balcao train` on {created}.
Asked about a product that it was shown, it answers with the product's description.

- Base: {name}
- Rows: {kept:,} of {read:,}, {tokens:,} tokens an epoch ({data})
- Steps: {steps:,}; mean loss of the last epoch: {loss}
- Trained in: {precision}
{scores}
It was trained with version {prompt_version} of Balcão's prompts and answers no others reliably.
What it says of products that it was not shown is invented.

The recipe:

```toml
{recipe}
```
"""


def model_card(made: Manifest) -> str:
    """The card's text, from the adapter's manifest."""
    settings: dict[str, Any] = made.settings
    base = str(settings["base"])
    loss = settings["loss"]
    return _CARD.format(
        base=json.dumps(base, ensure_ascii=False),
        name=base.replace("\\", "/").rstrip("/").rpartition("/")[2],
        created=made.created,
        kept=made.counts["kept"],
        read=made.counts["read"],
        tokens=made.counts["tokens"],
        data=", ".join(f"{one.name} {one.sha256[:12]}" for one in made.inputs),
        steps=settings["steps"],
        loss="not logged" if loss is None else f"{loss:.4f}",
        precision=settings["precision"],
        scores="".join(map(_score, settings["word_for_word"].items())),
        prompt_version=made.prompt_version,
        recipe="\n".join(
            f"{name} = {msgspec.json.encode(value).decode()}"
            for name, value in settings["recipe"].items()
        ),
    )


def _score(named: tuple[str, dict[str, int]]) -> str:
    name, score = named
    return (
        f"- Word for word, greedy decoding, {name.replace('_', ' ')} rows:"
        f" {score['right']} of {score['asked']}\n"
    )


ADAPTER_KIND, ADAPTER_VERSION = "lora-adapter", 1
RUN_FILE, METRICS_FILE, CHECKPOINTS, LOG_FILE = (
    "run.json",
    "metrics.jsonl",
    "checkpoints",
    "train.log",
)
WHOLE = "whole"
"""A file that is written into a checkpoint after all the others."""
_LOCK = ".train.lock"
_PATIENCE = 0.5
"""Seconds: who only looks whether a run is alive has the lock for a moment."""
_OF_NO_STEP = (_LOCK, LOG_FILE, RUN_FILE, STATUS_FILE)
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class RunInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of: `--resume` goes on only if all of it is the same."""

    base: str
    weights: dict[str, int]
    """Bytes of each of the base's files."""
    data: list[Input]
    recipe: Recipe
    prompt_version: int
    processes: int = 1
    created: str = msgspec.field(default_factory=timestamp)


def is_done(out: Path) -> bool:
    """Whether the run has ended with an adapter."""
    return (out / MANIFEST).exists() and read_manifest(out).kind == ADAPTER_KIND


def existing(out: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (out.absolute(), *out.absolute().parents) if one.exists())


def check_not_done(out: Path) -> None:
    """Raises UsageError if the run has ended with an adapter."""
    if is_done(out):
        raise UsageError(f"The run in {out} is done.", "Name a new folder with --out.")


def check_new(out: Path) -> None:
    """Raises UsageError if the folder holds anything but a run that never made a step.

    Or if another process trains in it.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Name a new folder with --out.")
    if lock_holder(out) is not None:
        raise _at_work(out)
    if not out.exists() or _is_unused(out):
        return
    if (out / RUN_FILE).exists() and not is_done(out):
        raise UsageError(
            f"{out} holds a run that has not ended.", "Go on with it: --resume. Or name another."
        )
    raise UsageError(
        f"{out} is not empty.", "Name a new folder with --out; nothing is overwritten."
    )


def _is_unused(out: Path) -> bool:
    names = {one.name for one in out.iterdir()} - set(_OF_NO_STEP)
    return not names or (names == {CHECKPOINTS} and not any((out / CHECKPOINTS).iterdir()))


def check_resumable(out: Path, run: RunInputs) -> None:
    """Raises UsageError if the folder holds no run, one of something else, or one that is alive."""
    if lock_holder(out) is not None:
        raise _at_work(out)
    if not (out / RUN_FILE).exists():
        raise UsageError(f"There is no run in {out} to go on with.", "Begin one without --resume.")
    try:
        old = msgspec.json.decode((out / RUN_FILE).read_bytes(), type=RunInputs)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{out / RUN_FILE} cannot be read: {error}.", "Begin anew.") from error
    changed = [
        name
        for name in ("base", "weights", "data", "prompt_version", "processes")
        if getattr(old, name) != getattr(run, name)
    ]
    if not learns_the_same(old.recipe, run.recipe):
        changed.append("recipe")
    if changed:
        raise UsageError(
            f"The run in {out} was begun with another {' and '.join(changed)}.",
            "Give the same, or begin a new run in another folder.",
        )


def write_inputs(out: Path, run: RunInputs) -> None:
    """Write what the run is. Raises BalcaoError if the disk says no."""
    try:
        write_atomic(out / RUN_FILE, msgspec.json.format(msgspec.json.encode(run), indent=2))
    except OSError as error:
        raise _unwritable(out, error) from error


def last_checkpoint(out: Path) -> Path | None:
    """The newest checkpoint that was written to its end, or None."""
    found = [
        (int(match[1]), folder)
        for folder in (out / CHECKPOINTS).glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(folder.name)) and (folder / WHOLE).exists()
    ]
    return max(found)[1] if found else None


def step_of(checkpoint: Path | None) -> int:
    """The optimizer steps that a checkpoint has behind it."""
    match = _CHECKPOINT.fullmatch(checkpoint.name) if checkpoint else None
    return int(match[1]) if match else 0


class MetricsWriter:
    """Appends to metrics.jsonl; what a killed run logged after its last checkpoint is taken out."""

    def __init__(self, out: Path, step: int) -> None:
        self._file = out / METRICS_FILE
        kept: list[bytes] = []
        if self._file.exists():
            with self._file.open("rb") as stream:
                kept = [line for line in stream if _logged_by(line, step)]
        write_atomic(self._file, b"".join(kept))

    def add(self, values: Mapping[str, object]) -> None:
        """One line."""
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json_line(values) + "\n")


def _logged_by(line: bytes, step: int) -> bool:
    try:
        logged = msgspec.json.decode(line, type=dict[str, object]).get("step")
    except msgspec.DecodeError:
        return False
    return isinstance(logged, int) and logged <= step


@contextmanager
def lock_run(out: Path) -> Iterator[None]:
    """Makes the folder; raises UsageError if another process trains in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = (out / _LOCK).open("a")
    except OSError as error:
        raise _unwritable(out, error) from error
    with handle:
        if not _locked(handle.fileno()):
            raise _at_work(out)
        try:
            handle.truncate(0)
            handle.write(f"{os.getpid()} {platform.node()}")
            handle.flush()
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            yield
        finally:
            (out / _LOCK).unlink(missing_ok=True)


def lock_holder(out: Path) -> int | None:
    """The process that trains in the folder, or None; 0 if it is one of another machine."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock tells it.
        return None
    try:
        with (out / _LOCK).open("rb") as handle:
            try:
                fcntl.flock(handle.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                number, _, host = handle.read(200).decode(errors="replace").partition(" ")
                return int(number) if number.isdigit() and host == platform.node() else 0
    except OSError:  # no lock, no run; a folder that cannot be read has none that we could tell
        pass
    return None


def _at_work(out: Path) -> UsageError:
    """What is said where another process has the folder."""
    return UsageError(f"Another `balcao train` is at work in {out}.", "Follow it: `balcao runs`.")


def _locked(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: there two at once are not held apart.
        return True
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() - began > _PATIENCE:
                return False
            time.sleep(_PATIENCE / 10)
        else:
            return True


def _unwritable(out: Path, error: OSError) -> BalcaoError:
    return BalcaoError(
        f"{out} cannot be written: {error.strerror or error}.", "Make room, or name another folder."
    )
