"""The folder of a training run: check it, lock it, and read and write its files.

run.json       what the run trains: base, data, recipe
checkpoints/   the last two checkpoints; deleted once the adapter is written
metrics.jsonl  an object for each logged step and for each sample
status.json    how far the run is (see status)
train.log      the output of `balcao train --detach`
README.md and the adapter's own files, and finally manifest.json
"""

import json
import math
import os
import platform
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.core import files
from engine.core.errors import DataError, UsageError
from engine.core.text import json_line, last_part, one_line
from engine.core.trained_products import AdapterManifest, Calibration
from engine.training.recipe import Recipe, changed_values
from engine.training.runs.status import STATUS_FILE

ADAPTER_KIND, ADAPTER_VERSION = "lora-adapter", 1
RUN_FILE, METRICS_FILE, LOG_FILE = "run.json", "metrics.jsonl", "train.log"
CHECKPOINTS = "checkpoints"
ADAPTER_FILES = "adapter_config.json", "adapter_model.safetensors"
WHOLE = "whole"
"""The last file to be written into a checkpoint."""
_LOCK = ".train.lock"
_LOCK_WAIT = 0.5
"""Seconds: `lock_holder` takes the lock for a moment to look."""
_FILES_BEFORE_STEP_1 = {_LOCK, LOG_FILE, RUN_FILE, STATUS_FILE}
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class RunInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The content of run.json; `--resume` needs the same inputs again."""

    base: str
    weights: dict[str, int]
    """The size in bytes of each file of the base."""
    data: list[files.Input]
    recipe: Recipe
    prompt_version: int
    processes: int = 1
    data_folder: str = ""
    """Where the rows were; empty in a run of an older version."""
    created: str = msgspec.field(default_factory=files.timestamp)


def write_inputs(out: Path, run: RunInputs) -> None:
    """Write run.json. Raise BalcaoError if that fails."""
    with files.writing(out / RUN_FILE):
        files.write_atomic(out / RUN_FILE, files.encode_json(run, indent=2))


def read_inputs(out: Path) -> RunInputs:
    """Read run.json. Raise UsageError if there is none, DataError if it is invalid."""
    file = out / RUN_FILE
    if not file.exists():
        raise UsageError(f"{out} has no run to resume.", "Start one without --resume.")
    try:
        with files.reading(file):
            return msgspec.json.decode(file.read_bytes(), type=RunInputs)
    except files.UNDECODABLE as error:
        raise DataError(f"{file} is invalid: {error}.", "Start a new run.") from error


def resume_command(out: Path) -> str:
    """Return the command that continues the run in `out`."""
    return f"balcao train --resume --out {shlex.quote(one_line(str(out)))}"


def is_done(out: Path) -> bool:
    """Return whether the run has written its adapter, and is not making it longer."""
    if not (out / files.MANIFEST).exists() or (out / CHECKPOINTS).exists():
        return False
    return files.read_manifest(out).kind == ADAPTER_KIND


def check_not_done(out: Path) -> None:
    """Raise UsageError if the run has written its adapter."""
    if is_done(out):
        raise UsageError(f"The run in {out} is done.", "Choose a new folder with --out.")


def check_new(out: Path) -> None:
    """Raise UsageError if `out` is in use; a run that never made a step does not count."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Choose a new folder with --out.")
    if lock_holder(out) is not None:
        raise _busy(out)
    if not out.exists() or is_unused(out):
        return
    if (out / RUN_FILE).exists() and not is_done(out):
        raise UsageError(
            f"{out} has an unfinished run.",
            f"Continue it with {resume_command(out)}, or choose a new folder with --out.",
        )
    if (out / RUN_FILE).exists():
        remedy = "Choose a new folder with --out, or make it longer with --resume --epochs N."
        raise UsageError(f"{out} has a finished run.", remedy)
    raise UsageError(f"{out} is not empty.", "Choose a new folder with --out.")


def is_unused(out: Path) -> bool:
    """Return whether the folder has no more than what a run writes before its first step."""
    names = {path.name for path in out.iterdir()} - _FILES_BEFORE_STEP_1
    return not names or (names == {CHECKPOINTS} and not any((out / CHECKPOINTS).iterdir()))


def check_resumable(out: Path, run: RunInputs) -> RunInputs:
    """Return the inputs of the run in `out`. Raise UsageError if it is busy or has others."""
    if lock_holder(out) is not None:
        raise _busy(out)
    old = read_inputs(out)
    if changed := differences(old, run):
        raise UsageError(
            f"The run in {out} started with {'; '.join(changed)}.",
            "Resume with the same inputs, or start a new run in another folder.",
        )
    return old


def differences(old: RunInputs, new: RunInputs) -> list[str]:
    """Say what keeps a run with the `old` inputs from resuming with `new` ones."""
    return [*_changed_inputs(old, new), *changed_values(old.recipe, new.recipe)]


def _changed_inputs(old: RunInputs, new: RunInputs) -> Iterator[str]:
    if old.base != new.base:
        yield f"the base {old.base} (now {new.base})"
    elif old.weights != new.weights:
        yield f"other weights of the base {old.base}"
    if names := sorted({file.name for file in {*old.data} ^ {*new.data}}):
        yield f"other rows in {', '.join(names)}"
    if old.prompt_version != new.prompt_version:
        yield f"version {old.prompt_version} of the prompts (now {new.prompt_version})"
    if old.processes != new.processes:
        yield f"different processes: {old.processes} (now {new.processes})"


def reopen(out: Path) -> None:
    """Make the adapter of a finished run a checkpoint, from which a longer run continues.

    It has no state of a trainer and its optimizer: they start afresh.
    """
    checkpoint = out / CHECKPOINTS / f"checkpoint-{step_reached(out)}"
    with files.writing(checkpoint):
        checkpoint.mkdir(parents=True)
        for name in ADAPTER_FILES:
            shutil.copy(out / name, checkpoint / name)
        files.write_atomic(checkpoint / WHOLE, b"")


def last_checkpoint(out: Path) -> Path | None:
    """Return the newest complete checkpoint, or None."""
    folders = (out / CHECKPOINTS).glob("checkpoint-*")
    found = (folder for folder in folders if step_of(folder) and (folder / WHOLE).exists())
    return max(found, key=step_of, default=None)


def saved_bytes(out: Path) -> int:
    """Return the size of the run's checkpoints, which new ones replace."""
    return sum(file.stat().st_size for file in (out / CHECKPOINTS).rglob("*") if file.is_file())


def step_of(checkpoint: Path | None) -> int:
    """Return the number of optimizer steps before a checkpoint; 0 without one."""
    match = _CHECKPOINT.fullmatch(checkpoint.name) if checkpoint else None
    return int(match[1]) if match else 0


def step_reached(out: Path) -> int:
    """Return the step from which a run continues: its last checkpoint, or the adapter's step."""
    if is_done(out):
        return int(files.read_manifest(out).settings["steps"])
    return step_of(last_checkpoint(out))


@contextmanager
def lock_run(out: Path) -> Iterator[None]:
    """Create the folder and lock it. Raise UsageError if another process trains in it."""
    with files.locked(out / _LOCK, busy=_busy(out), wait=_LOCK_WAIT) as file:
        with files.writing(out):
            file.truncate(0)
            file.write(f"{os.getpid()} {platform.node()}")
            file.flush()
        try:
            yield
        finally:
            (out / _LOCK).unlink(missing_ok=True)


def lock_holder(out: Path) -> int | None:
    """Return the process that trains in `out`, or None; 0 for a process of another machine."""
    try:
        with (out / _LOCK).open(encoding="utf-8", errors="replace") as file:
            if files.lock(file, shared=True):
                return None
            number, _, host = file.read(200).partition(" ")
            return int(number) if number.isdigit() and host == platform.node() else 0
    except OSError:
        return None


def _busy(out: Path) -> UsageError:
    return UsageError(f"Another `balcao train` is running in {out}.", "Follow it: balcao runs.")


class MetricsWriter:
    """Append to metrics.jsonl, after dropping what an earlier process logged past `step`.

    `log` gets each line that is appended.
    """

    def __init__(self, out: Path, step: int, log: Callable[[str], None] | None = None) -> None:
        self._file = out / METRICS_FILE
        self._log = log
        lines: list[bytes] = []
        if self._file.exists():
            with self._file.open("rb") as stream:
                lines = [line for line in stream if _is_up_to(line, step)]
        files.write_atomic(self._file, b"".join(lines))

    def add(self, values: Mapping[str, object]) -> None:
        """Append one line."""
        line = json_line(values)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        if self._log:
            self._log(line)


def _is_up_to(line: bytes, step: int) -> bool:
    try:
        logged = msgspec.json.decode(line, type=dict[str, object]).get("step")
    except files.UNDECODABLE:
        return False
    return isinstance(logged, int) and logged <= step


_CARD = """---
base_model: {base}
library_name: peft
tags:
- lora
- balcao
---

# A LoRA adapter for {name}

Trained with `balcao train` on {created}. It answers questions about the products it was trained on
with their descriptions.

- Base: {name}
{products}- Rows: {kept:,} of {read:,}, {tokens:,} tokens an epoch ({data})
- Steps: {steps:,}; mean loss of the last epoch: {loss}
- Precision: {precision}
{scores}
It expects version {prompt_version} of Balcão's prompts; other prompts give unreliable answers.
{unknown}

The recipe:

```toml
{recipe}
```
"""


def model_card(made: AdapterManifest) -> str:
    """Return the adapter's README.md, from its manifest."""
    settings: dict[str, Any] = made.settings
    base = str(settings["base"])
    loss = settings["loss"]
    scores = (
        f"- Word for word, greedy decoding, {name.replace('_', ' ')} rows:"
        f" {score['right']} of {score['asked']}\n"
        for name, score in settings["word_for_word"].items()
    )
    asked = (f"- Asked: {line}\n" for line in wording_lines(settings))
    refusals = (f"- Refused: {line}\n" for line in refusal_lines(settings))
    rates = (f"- Refusing unknown products, {line}\n" for line in rate_lines(settings))
    calibrated = (f"- {line}\n" for line in calibration_lines(made.calibration))
    return _CARD.format(
        base=json.dumps(base, ensure_ascii=False),
        name=last_part(base),
        created=made.created,
        kept=made.counts["kept"],
        read=made.counts["read"],
        tokens=made.counts["tokens"],
        products=_products(made),
        data=", ".join(f"{one.name} {one.sha256[:12]}" for one in made.inputs),
        steps=settings["steps"],
        loss="not logged" if loss is None else f"{loss:.4f}",
        precision=settings["precision"],
        scores="".join([*scores, *asked, *refusals, *rates, *calibrated]),
        unknown=_about_unknown(settings),
        prompt_version=made.prompt_version,
        recipe="\n".join(
            f"{name} = {msgspec.json.encode(value).decode()}"
            for name, value in settings["recipe"].items()
        ),
    )


_TITLES = {
    "known": "titles that it was trained on",
    "catalogue": "unknown titles of the catalogue",
    "invented": "invented titles",
    "near_miss": "near misses of taught titles",
}


def refusal_lines(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield how often an adapter says that it does not know a product; nothing if not asked."""
    for name, score in settings.get("refusals", {}).items():
        line = f"{score['refused']} of {score['asked']} {_TITLES.get(name, name)}"
        if name == "known":
            line += f"; {score['right']} word for word"
        if _WITHOUT in settings.get("refusing", {}):
            line += f"; {score['without_list']} by the program without its list"
        if "by_program" in score:
            line += f"; {score['by_program']} by the program with its list"
        yield line


def wording_lines(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many answers were right in wordings that were not trained, and of shown records."""
    wordings = settings.get("wordings") or {}
    parts = [f"{name} {score['right']} of {score['asked']}" for name, score in wordings.items()]
    if parts:
        yield f"word for word in wordings that were not trained: {', '.join(parts)}"
    if shown := settings.get("shown"):
        yield f"{shown['right']} of {shown['asked']} records that were shown copied word for word"


def rate_lines(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield precision, recall and F1 of refusing, with 95 % intervals."""
    for name, rates in (settings.get("refusing") or {}).items():
        found = {measure: interval for measure, interval in rates.items() if interval}
        parts = [
            f"{measure} {mean:.0%} ({low:.0%} to {high:.0%})"
            for measure, (mean, low, high, _) in found.items()
        ]
        yield f"{_NAMES.get(name, name)}: {', '.join(parts) or 'nothing refused'}"


def calibration_lines(found: Calibration | None) -> Iterator[str]:
    """Yield from which probability on the chat believes an answer, and how that was measured."""
    if found:
        sure = "never" if found.learned is None else f"from {math.exp(found.learned):.3f} on"
        yield (
            f"Probability of an answer's first {found.tokens} tokens (geometric mean): learned"
            f" {sure}, not taught below {math.exp(found.not_taught):.3f}; calibrated on"
            f" {found.right} right and {found.wrong} wrong answers"
        )


def _about_unknown(settings: Mapping[str, Any]) -> str:
    if settings.get("refusals"):
        return (
            "It was trained to say that it does not know other products, and may still invent"
            " answers about them."
        )
    return "Answers about products that it was not trained on are invented."


_WITHOUT = "without_list"
_NAMES = {
    "model": "the model alone",
    _WITHOUT: "the program without its list",
    "program": "the program with its list",
}
_NAMED = 5
_TITLE_WIDTH = 80


def _products(made: AdapterManifest) -> str:
    named = (one_line(one.title, _TITLE_WIDTH) for one in made.products[:_NAMED])
    titles = ", ".join("`{}`".format(title.replace("`", "'")) for title in named)
    such = f", such as {titles}; `{files.MANIFEST}` lists them" if titles else ""
    count = made.counts.get("products")
    return f"- Products: {count:,}{such}\n" if count else ""
