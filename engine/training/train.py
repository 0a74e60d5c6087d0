"""Fine-tune a Llama with LoRA: `train` is the whole run, from top to bottom."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from engine.backends.llama.weights import ModelFiles
from engine.catalogue.rows.kinds import RowKind, costs_of_missing
from engine.core.errors import DataError, UsageError
from engine.core.files import describe_file
from engine.core.text import counted
from engine.core.trained_products import FIRST_TOKENS
from engine.core.types import Progress
from engine.prompts import PROMPT_VERSION
from engine.training.data import (
    TrainingData,
    check_packages,
    find_base,
    go_offline,
    kind_of,
    read_data,
    taught_products,
)
from engine.training.failures import explain_errors
from engine.training.openai.plan import TRAIN
from engine.training.processes import Processes
from engine.training.recipe import Recipe, doubts
from engine.training.runs import folder
from engine.training.runs.status import StatusFile, track_status
from engine.training.write import describe_adapter, publish, round_weights, save_adapter

if TYPE_CHECKING:
    from engine.training.encode import TokenizedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Choose the rows, the base, the recipe and the folder of a run."""

    data: Path
    base: str
    """A folder, a hub id or "smollm2"."""
    out: Path
    recipe: Recipe
    recipe_title: str = "given values"
    """The recipe in a few words: run.json and the adapter's README.md have its values."""
    resume: bool = False
    probe: bool = True
    """Estimate memory and time before the start."""
    dry_run: bool = False
    """Check and estimate; train and write nothing."""
    log: Callable[[str], None] | None = None
    """Gets each line of metrics.jsonl."""


def train(  # noqa: PLR0915 - a run reads from top to bottom
    config: TrainConfig,
    say: Callable[[str], None],
    show: Callable[[Progress], None],
    stop_between_steps: Callable[[], AbstractContextManager[Callable[[], bool]]],
) -> bool:
    """Fine-tune the base on the rows and write the adapter; return False if stopped early.

    Every process of a run calls this; the first one writes. `say` prints a line that stays, `show`
    draws progress; in the block of `stop_between_steps` a signal only makes its value true. Raise
    BalcaoError.
    """
    recipe, out, processes = config.recipe, config.out, Processes.here()

    # Check all that can be checked in a second.
    check_packages(recipe)
    base = find_base(config.base)
    data = read_data(config.data)
    inputs = _check_folder(config, describe_inputs(base, data, recipe, processes))
    if config.resume and not _is_longer(out, recipe, processes) and folder.is_done(out):
        return True

    # Tokenize the rows; from here on the libraries load.
    go_offline()
    from engine.training.encode import Encoder

    encoder = Encoder(base.folder)
    limit = min(base.config.max_position_embeddings, recipe.max_length or 2**62)
    rows, held_out = encoder.encode(data.train, limit), encoder.encode(data.valid, limit)
    if not rows.answers:
        raise DataError(f"Cannot train on {config.data / TRAIN}: {rows.left_out}.")
    products = taught_products(data.folder, rows.lines_left_out)
    share = len(rows.answers) / len(data.train)
    pool, drawn = data.refusals.for_run(recipe.epochs, recipe.seed, share)
    refusals = encoder.encode(pool, limit).answers
    drawn = drawn if refusals else 0
    asked = sum(one.length for one in refusals) * drawn // max(len(refusals), 1)
    width = base.config.hidden_size
    for line in _plan(config, inputs, data, rows, (drawn, asked), processes, width):
        say(line)
    if config.dry_run and not config.probe:
        return True

    with (
        _run_folder(config, inputs, processes) as (checkpoints, status),
        explain_errors(recipe, out),
        # The libraries warn about changes in their next versions.
        warnings.catch_warnings(action="ignore"),
    ):
        # Load the base with the chat's own code, and put an adapter on it.
        from engine.backends.llama.unpack import with_safetensors

        with_safetensors(base, show)
        show(Progress("loading the model"))
        from engine.training import trainer as setup
        from engine.training.callbacks import RunCallback, SampleCallback
        from engine.training.checks import CheckCallback, CheckedRows
        from engine.training.estimate import probe
        from engine.training.exam import calibrated, make_exam
        from engine.training.score import EncodedExam, calibrate_on, generate, score

        numerics = setup.Numerics.choose(recipe, base, processes)
        arguments = setup.make_arguments(recipe, numerics, checkpoints)
        model = setup.load_model(base, recipe, numerics, processes)
        tokenizer = encoder.for_trainer()
        trainer = setup.make_trainer(
            model, tokenizer, rows.answers, arguments, recipe, numerics, processes, refusals, drawn
        )
        setup.check_disk(trainer, out, folder.saved_bytes(out))

        # Estimate memory and time. A model is sharded only once it trains, and cannot be tried.
        if config.probe and not processes.sharded:
            estimate = probe(trainer, recipe, numerics, processes)
            for line in estimate.lines(resumed=config.resume):
                say(line)
            estimate.check()
        if config.dry_run:
            return True

        # Train, from the last checkpoint if there is one.
        processes.wait()  # the first one may have made a checkpoint of a finished run
        checkpoint = folder.last_checkpoint(out)
        step = folder.step_of(checkpoint)
        metrics = folder.MetricsWriter(out, step, config.log) if processes.first else None
        answerer = partial(generate, trainer, encoder, numerics)
        rows_of = {"training": rows, "held_out": held_out}
        unknown = {kind: encoder.encode(found, limit) for kind, found in data.refusals.by_kind()}
        checked = CheckedRows.choose(recipe, rows, held_out, list(unknown.values()), processes)
        checks = CheckCallback(
            trainer, numerics, processes, metrics, status, recipe, checked, rows.answers,
            checkpoints, say,
        )  # fmt: skip
        with stop_between_steps() as stopping:
            trainer.add_callback(RunCallback(processes, metrics, status, show, stopping))
            sampled = rows_of | {"unknown": encoder.encode(data.refusals.scored, limit)}
            trainer.add_callback(
                SampleCallback(processes, metrics, status, recipe, sampled, answerer, say)
            )
            trainer.add_callback(checks)
            complete = checks.train(checkpoint)
        if not complete:
            resume = folder.resume_command(out)
            say(f"balcao: stopped at step {trainer.state.global_step}. Resume it:\n  {resume}")
            return False

        # Take the best adapter, and score it as it will be saved.
        steps = checks.kept_step()
        round_weights(trainer, recipe)
        trainer.model.eval()
        exam = make_exam(data, products, recipe.score_rows)
        encoded = EncodedExam.encode(exam, encoder, limit)
        calibration = calibrate_on(
            EncodedExam.encode(
                make_exam(data, products, calibrated(recipe.score_rows), seed=1), encoder, limit
            ),
            partial(answerer, most=FIRST_TOKENS),
            show,
        )
        scores = score(recipe, rows_of, encoded, answerer, processes, status, show, calibration)

        # Write it, with its card and, last of all, its manifest.
        show(Progress("writing the adapter"))
        save_adapter(trainer, out, base.name, recipe, processes)
        if processes.first:
            manifest = describe_adapter(
                inputs, base, data, rows, products, encoder, trainer, numerics, scores
            )
            manifest.settings["steps"] = steps
            publish(out, manifest)
    return True


def describe_inputs(
    base: ModelFiles, data: TrainingData, recipe: Recipe, processes: Processes
) -> folder.RunInputs:
    """Describe what a run trains, for its run.json."""
    return folder.RunInputs(
        base=base.name,
        weights={file.name: file.stat().st_size for file in base.files},
        data=[describe_file(file) for file in data.files],
        recipe=recipe,
        prompt_version=PROMPT_VERSION,
        processes=processes.count,
        data_folder=str(data.folder.resolve()),
    )


def _check_folder(config: TrainConfig, inputs: folder.RunInputs) -> folder.RunInputs:
    """Return the inputs to write, with the beginning of a resumed run."""
    if not Processes.here().first:
        return inputs
    if config.resume:
        created = folder.check_resumable(config.out, inputs).created
        return msgspec.structs.replace(inputs, created=created)
    folder.check_new(config.out)
    return inputs


def _is_longer(out: Path, recipe: Recipe, processes: Processes) -> bool:
    """Return whether a run is to have more epochs. Raise UsageError if it cannot."""
    longer = recipe.epochs > folder.read_inputs(out).recipe.epochs
    if longer and processes.sharded and folder.is_done(out):
        raise UsageError(
            "A finished run cannot be made longer with a sharded model.",
            "Launch with data_parallel.yaml instead.",
        )
    return longer


def _plan(
    config: TrainConfig,
    inputs: folder.RunInputs,
    data: TrainingData,
    rows: TokenizedRows,
    drawn: tuple[int, int],
    processes: Processes,
    width: int,
) -> Iterator[str]:
    """Yield the lines of the plan; `drawn` has rows and tokens of refusals in an epoch."""
    recipe = inputs.recipe
    batch = recipe.batch_size * recipe.accumulate * processes.count
    count = len(rows.answers) + drawn[0]
    steps = -(-count // batch) * recipe.epochs
    early = "; fewer once all is learned" if recipe.stop_when_learned else ""
    yield f"base      {inputs.base}"
    source = "" if config.dry_run else f"{data.folder}: "
    yield f"data      {source}{counted(len(rows.answers), 'answer')} to learn"
    yield f"tokens    {rows.tokens + drawn[1]:,} per epoch, {rows.longest:,} in the longest row"
    if drawn[0]:
        other = counted(drawn[0], "other row")
        yield f"refusals  {other} in each epoch, about products it is not to know"
    size = f"batches of {batch}, about {steps:,.0f} steps"
    yield f"training  {counted(recipe.epochs, 'epoch')} in {size}{early}"
    if processes.count > 1:
        how = "the model sharded over them" if processes.sharded else "each with the whole model"
        yield f"processes {processes.count}, {how}"
    yield f"recipe    {config.recipe_title}"
    if config.resume:
        yield f"resume    after step {folder.step_reached(config.out)}"
    kinds = set(map(kind_of, data.train))
    if drawn[0]:
        kinds.add(RowKind.REFUSAL)
    doubtful = doubts(recipe, count, steps, width)
    warnings = (*doubtful, *data.warnings, rows.left_out, *costs_of_missing(kinds))
    for warning in filter(None, warnings):
        yield f"warning   {warning}"


@contextmanager
def _run_folder(
    config: TrainConfig, inputs: folder.RunInputs, processes: Processes
) -> Iterator[tuple[Path, StatusFile | None]]:
    """Hold the run's folder until the run ends; yield the folder for checkpoints and the status.

    A dry run gets a temporary folder. Only the first of several processes locks and has a status.
    """
    out = config.out
    if config.dry_run:
        with TemporaryDirectory() as temporary:
            yield Path(temporary), None
    elif not processes.first:
        yield out / folder.CHECKPOINTS, None
    else:
        with folder.lock_run(out):
            if not config.resume:
                folder.check_not_done(out)  # by another process since the first check
            elif folder.is_done(out):
                folder.reopen(out)
            folder.write_inputs(out, inputs)
            with track_status(out, partial(folder.is_done, out)) as status:
                yield out / folder.CHECKPOINTS, status
