"""A LoRA run from the check of its data to the adapter with its manifest; called by scripts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

import msgspec

from engine.core.errors import DataError
from engine.core.files import Manifest, describe_file, write_atomic, write_manifest
from engine.core.types import Progress
from engine.prompts import PROMPT_VERSION
from engine.training.data import TRAIN, check_packages, offline, read_data
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.folder import (
    ADAPTER_KIND,
    ADAPTER_VERSION,
    CHECKPOINTS,
    RunInputs,
    check_new,
    check_not_done,
    check_resumable,
    is_done,
    last_checkpoint,
    lock_run,
    model_card,
    write_inputs,
)
from engine.training.runs.status import track_status

if TYPE_CHECKING:
    from types import TracebackType

    from engine.training.encode import Encoded, Encoder, Example
    from engine.training.runs.status import Score, StatusFile
    from engine.training.tuner import Outcome, Tuner

Show = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Base:
    """The base model. `name` is what the person calls it; `files` are its weights."""

    name: str
    folder: Path
    files: tuple[Path, ...]


class _Limits(msgspec.Struct):
    max_position_embeddings: int = 2048
    """transformers' own value where config.json names none."""


class LoraRun:
    """One run in one folder, which it holds while it is open.

    Of several processes each has one; the first one's writes.
    """

    def __init__(
        self,
        data: Path,
        base: Base,
        out: Path,
        recipe: Recipe,
        processes: Processes = Processes(),  # noqa: B008 - a frozen value
    ) -> None:
        """Check and tokenize. Raises UsageError or DataError; nothing is written yet."""
        check_packages(recipe)
        self._data = read_data(data)
        self._base, self._out, self._recipe = base, out, recipe
        self._processes = processes
        self._encoder = _encoder(base.folder)
        self._limit = _context(base.folder, recipe.max_length)
        self._train = self._encoder.encode(self._data.train, self._limit)
        self._valid = self._encoder.encode(self._data.valid, self._limit)
        self._held = ExitStack()
        self._status: StatusFile | None = None
        if not self._train.examples:
            raise DataError(f"No row of {data / TRAIN} can be learned: {self._left_out()}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def plan_text(self) -> str:
        """What would be done, and what to know before."""
        recipe, train = self._recipe, self._train
        batch = recipe.batch_size * recipe.accumulate * self._processes.count
        steps = -(-len(train.examples) // batch) * recipe.epochs
        values = msgspec.to_builtins(recipe)
        lines = [
            f"base      {self._base.name}",
            f"data      {self._data.folder}: {len(train.examples):,} answers to learn",
            f"tokens    {train.tokens:,} an epoch; the longest row {train.longest:,}",
            f"training  {recipe.epochs:g} epochs in batches of {batch}: about {steps:,.0f} steps",
            "recipe    " + ", ".join(f"{name} {value}" for name, value in values.items()),
        ]
        if self._processes.count > 1:
            how = "the model spread over them" if self._processes.sharded else "each with a model"
            lines.insert(-1, f"processes {self._processes.count}, {how}")
        lines += [f"warning   {words}" for words in self.warnings]
        return "\n".join(lines)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that the person is told before the start."""
        left_out = self._left_out()
        return (*self._data.warnings, *((left_out,) if left_out else ()))

    def load(self, *, resume: bool, take: bool = True) -> Tuner:
        """Load the base, and `take` the out folder until the run is closed. Raises BalcaoError."""
        if take and self._processes.first:
            self._take(resume=resume)
        offline()
        from engine.training.tuner import Tuner

        # The trainer makes its folder at once; a trial is to leave none.
        scratch = None if take else self._held.enter_context(TemporaryDirectory())
        return Tuner(
            self._base.folder,
            self._out,
            self._recipe,
            self._encoder,
            self._train.examples,
            self._processes,
            Path(scratch) if scratch else self._out / CHECKPOINTS,
        )

    def check_free(self, *, resume: bool) -> RunInputs:
        """Raises UsageError if this run cannot begin, or go on, in the out folder."""
        run = self._run()
        if resume:
            check_resumable(self._out, run)
        else:
            check_new(self._out)
        return run

    def _take(self, *, resume: bool) -> None:
        run = self.check_free(resume=resume)
        self._held.enter_context(lock_run(self._out))
        check_not_done(self._out)  # another may have ended it while this one read
        if not resume:
            write_inputs(self._out, run)
        done = partial(is_done, self._out)
        self._status = self._held.enter_context(track_status(self._out, done))

    def train(
        self,
        tuner: Tuner,
        show: Show,
        stopping: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> Outcome:
        """Train, from the last checkpoint if there is one. Raises BalcaoError.

        `tell` gets a sentence about every sample.
        """
        from engine.training.callbacks import Samples

        rows = {
            "training": self._some(self._train, self._recipe.sample_rows),
            "held_out": self._some(self._valid, self._recipe.sample_rows),
        }
        samples = Samples(rows, self._recipe.sample_every, tell)
        checkpoint = last_checkpoint(self._out)
        return tuner.train(checkpoint, show, stopping, self._status, samples)

    def finish(self, tuner: Tuner, outcome: Outcome, show: Show) -> Manifest | None:
        """Score the adapter and write it, its card and, last of all, its manifest.

        Returns the manifest to the process that wrote it.
        """
        if self._status:
            self._status.enter("scoring")
        tuner.settle()
        wanted = self._recipe.score_rows
        scores = {"training": tuner.score(self._some(self._train, wanted), show)}
        if self._valid.examples:
            scores["held_out"] = tuner.score(self._some(self._valid, wanted), show)
        if self._status:
            self._status.sampled(scores)
        show(Progress("writing the adapter"))
        draft = self._out / CHECKPOINTS / "final"
        tuner.save(draft, self._base.name)
        if not self._processes.first:
            return None
        for file in draft.iterdir():
            file.replace(self._out / file.name)
        made = self._manifest(tuner, outcome, scores)
        write_atomic(self._out / "README.md", model_card(made).encode())
        write_manifest(self._out, made)
        shutil.rmtree(self._out / CHECKPOINTS)
        return made

    def _some(self, encoded: Encoded, wanted: int) -> list[Example]:
        """As many rows as wanted, spread over all."""
        wanted = min(wanted, len(encoded.examples))
        return [encoded.examples[turn * len(encoded.examples) // wanted] for turn in range(wanted)]

    def _run(self) -> RunInputs:
        return RunInputs(
            base=self._base.name,
            weights={file.name: file.stat().st_size for file in self._base.files},
            data=[describe_file(file) for file in self._data.files],
            recipe=self._recipe,
            prompt_version=PROMPT_VERSION,
            processes=self._processes.count,
        )

    def _manifest(self, tuner: Tuner, outcome: Outcome, scores: dict[str, Score]) -> Manifest:
        files = (self._base.folder / "config.json", *self._base.files)
        return Manifest(
            kind=ADAPTER_KIND,
            version=ADAPTER_VERSION,
            inputs=[describe_file(file) for file in (*self._data.files, *files)],
            counts={
                "read": len(self._data.train),
                "kept": len(self._train.examples),
                "rejected": _rejected(self._train),
                "tokens": self._train.tokens,
                "trained_numbers": tuner.trained,
            },
            settings={
                "base": self._base.name,
                "recipe": msgspec.to_builtins(self._recipe),
                "precision": tuner.precision,
                "processes": self._processes.count,
                "steps": outcome.steps,
                "loss": outcome.loss,
                "word_for_word": {
                    name: {"asked": score.asked, "right": score.right}
                    for name, score in scores.items()
                },
                "chat_template": self._encoder.template,
            },
            prompt_version=PROMPT_VERSION,
        )

    def _left_out(self) -> str:
        found = self._train
        parts = []
        if found.too_long:
            parts.append(
                f"{found.too_long:,} answers are left out, since with their question they are"
                f" longer than {self._limit:,} tokens (the first in line {found.first_too_long})"
            )
        if found.unsayable:
            parts.append(
                f"{found.unsayable:,} answers are left out, since the tokenizer does not give them"
                " back as they are"
            )
        return "; ".join(parts)


def outcome_text(out: Path, made: Manifest) -> str:
    """A line or two for the person about a run that is done."""
    scores = made.settings["word_for_word"]
    lines = [f"adapter   {out}", f"steps     {made.settings['steps']:,}"]
    if made.settings["loss"] is not None:
        lines.append(f"loss      {made.settings['loss']:.4f} (mean of the last epoch)")
    lines += [
        f"{name.replace('_', ' '):9} {score['right']} of {score['asked']} rows word for word"
        for name, score in scores.items()
    ]
    return "\n".join(lines)


def _encoder(folder: Path) -> Encoder:
    offline()
    from engine.training.encode import Encoder

    return Encoder(folder)


def _context(folder: Path, wanted: int) -> int:
    own = msgspec.json.decode((folder / "config.json").read_bytes(), type=_Limits)
    return min(own.max_position_embeddings, wanted or own.max_position_embeddings)


def _rejected(encoded: Encoded) -> dict[str, int]:
    return {"too long": encoded.too_long, "not given back": encoded.unsayable}
