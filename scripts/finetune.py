"""Fine-tune a model at OpenAI, or at another provider of its interface.

balcao finetune --data data/rows --dry-run
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backends.openai.failures import server_name
from engine.config import engines as engines_file
from engine.config.settings import OpenAIEngine, load
from engine.core.errors import BalcaoError, UsageError
from engine.core.text import one_line
from engine.training.openai.job import (
    JobRecord,
    JobSettings,
    archive_job,
    lock_job,
    read_job,
    write_job,
)
from engine.training.openai.plan import JobPlan, plan_job, plan_text
from engine.training.openai.tune import (
    JobReporter,
    JobRunner,
    default_provider,
    open_provider,
    provider_url,
)
from scripts.common import DONE, FAILED, ProgressLine, confirm, guarded, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.training.openai.client import FineTuningClient

_MODEL = "gpt-4o-mini"
_LONGEST_PAUSE = 3600


def make_parser() -> argparse.ArgumentParser:
    """The options of `balcao finetune`."""
    parser = argparse.ArgumentParser(
        prog="balcao finetune",
        description="Fine-tune a model at OpenAI on the rows that `balcao prepare` wrote.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train.jsonl")
    parser.add_argument("--model", metavar="NAME", help=f"the base (default: {_MODEL})")
    parser.add_argument("--dry-run", action="store_true", help="check and estimate, send nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before spending")
    parser.add_argument("--resume", action="store_true", help="go on with the job of DIR")
    parser.add_argument("--cancel", action="store_true", help="cancel the job of DIR")
    parser.add_argument("--again", action="store_true", help="tune the same data once more")
    parser.add_argument("--suffix", metavar="TEXT", default="balcao", help="in the model's name")
    parser.add_argument("--seed", type=int, metavar="S", default=0)
    parser.add_argument("--epochs", type=int, metavar="N", help="default: the server chooses")
    parser.add_argument("--batch-size", type=int, metavar="N", help="default: the server chooses")
    parser.add_argument("--learning-rate", type=float, metavar="F", help="a multiplier")
    parser.add_argument("--price", type=float, metavar="USD", help="for a million tokens")
    parser.add_argument("--base-url", metavar="URL", help="another provider's address")
    parser.add_argument("--api-key-env", metavar="NAME", help="the name of the key to use")
    parser.add_argument("--engine", metavar="ID", default="", help="the engine to make of it")
    parser.add_argument(
        "--every", type=float, metavar="S", default=10.0, help="at most, between two looks"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when done, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    folder: Path = options.data
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    if not 0 < options.every <= _LONGEST_PAUSE:
        raise UsageError(f"--every must be above 0, and at most {_LONGEST_PAUSE}.")
    chosen = load()
    row = default_provider(chosen)
    if options.engine and not (options.resume or options.cancel):
        engines_file.check_free(options.engine, chosen)
    if options.dry_run:
        return _dry_run(_plan(options, row))
    with lock_job(folder):
        record = read_job(folder)
        if options.cancel:
            return _cancel(folder, record, row, options.every)
        if record is None or not options.resume:
            return _begin(options, record, row)
        if record.ended:
            return _told(record)
        provider = open_provider(record.settings, row, options.every)
        return _carry_out(folder, record, provider, options.every)


def _begin(options: argparse.Namespace, old: JobRecord | None, row: OpenAIEngine) -> int:
    """A new job: checked, agreed upon, written down, carried out."""
    folder: Path = options.data
    plan = _plan(options, row)
    _check_not_done(old, plan, again=options.again)
    if _tell_problems(plan):
        return FAILED
    provider = open_provider(plan.settings, row, options.every)
    if not _agreed(plan, provider, yes=options.yes):
        return FAILED
    record = plan.record()
    if old is not None:
        archive_job(folder, old)
    write_job(folder, record)
    return _carry_out(folder, record, provider, options.every)


def _plan(options: argparse.Namespace, row: OpenAIEngine) -> JobPlan:
    if options.base_url not in (None, row.base_url) and options.api_key_env is None:
        raise UsageError(
            "Another address gets a key of its own.",
            "Name it: --api-key-env NAME, or '' for none.",
        )
    settings = JobSettings(
        model=options.model or _MODEL,
        suffix=options.suffix,
        seed=options.seed,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        base_url=provider_url(options.base_url, row),
        api_key_env=row.api_key_env if options.api_key_env is None else options.api_key_env,
        engine=options.engine,
    )
    if options.price is not None and not 0 <= options.price < float("inf"):
        raise UsageError("--price must be 0 or more.")
    return plan_job(options.data, settings, options.price, datetime.now(UTC).date())


def _dry_run(plan: JobPlan) -> int:
    print(plan_text(plan))
    return FAILED if _tell_problems(plan) else DONE


def _tell_problems(plan: JobPlan) -> bool:
    for problem in plan.problems:
        say(f"balcao: {one_line(problem)}.")
    return bool(plan.problems)


def _check_not_done(record: JobRecord | None, plan: JobPlan, *, again: bool) -> None:
    """Raises UsageError where a new job would be a second one."""
    if record is None:
        return
    if record.job and not record.ended:
        raise UsageError(
            f"Job {record.job} of this data is under way.", "Follow it: --resume. End it: --cancel."
        )
    if again or record.status in ("failed", "cancelled"):
        return
    if not record.ended:
        raise UsageError(
            "A job of this data was begun.", "Go on with it: --resume. Begin anew: --again."
        )
    new = plan.record()
    if (new.inputs, new.settings) == (record.inputs, record.settings):
        raise UsageError(
            f"This data was tuned already: {record.model}.", "Tune it once more: --again."
        )


def _agreed(plan: JobPlan, provider: FineTuningClient, *, yes: bool) -> bool:
    """Tell what will be sent and what it may cost, and ask."""
    say(plan_text(plan))
    server = server_name(plan.settings.base_url)
    if day := asyncio.run(provider.shutdown_date(plan.settings.model)):
        say(f"note         {server} says that it shuts {plan.settings.model} down on {day}.")
    size = sum(checked.size for checked in plan.files.values())
    if confirm(f"Send {size:,} bytes to {server} and start the job?", yes=yes):
        return True
    say("balcao: nothing was sent.")
    return False


def _carry_out(folder: Path, record: JobRecord, provider: FineTuningClient, every: float) -> int:
    with _reporter() as report:
        try:
            record = asyncio.run(_closing(provider, folder, record, report, every))
        except KeyboardInterrupt:
            say("\nbalcao: a job that has begun goes on. Follow it: --resume. End it: --cancel.")
            raise
    return _told(record)


async def _closing(
    provider: FineTuningClient, folder: Path, record: JobRecord, report: JobReporter, every: float
) -> JobRecord:
    try:
        return await JobRunner(folder, record, provider, report, every).run()
    finally:
        await provider.close()


def _cancel(folder: Path, record: JobRecord | None, row: OpenAIEngine, every: float) -> int:
    if record is None:
        raise UsageError(f"There is no job in {folder}.")
    provider = open_provider(record.settings, row, every)

    record = asyncio.run(_cancelling(provider, folder, record, every))
    if record.status == "cancelled":
        say("balcao: the job is cancelled.")
        return DONE
    raise BalcaoError(f"The job cannot be cancelled: it is {one_line(record.status)}.")


async def _cancelling(
    provider: FineTuningClient, folder: Path, record: JobRecord, every: float
) -> JobRecord:
    try:
        return await JobRunner(folder, record, provider, JobReporter(_ignore, say), every).cancel()
    finally:
        await provider.close()


def _told(record: JobRecord) -> int:
    """The result, on stdout."""
    if record.status != "succeeded":
        why = f": {one_line(record.error)}" if record.error else ""
        raise BalcaoError(
            f"The job {record.job} has {one_line(record.status)}{why}."
            if record.status == "failed"
            else f"The job {record.job} was {one_line(record.status)}{why}.",
            "The rows and the record stay; the command without --resume begins a new job.",
        )
    print(f"model   {one_line(record.model)}")
    print(f"engine  {record.engine}")
    if record.trained_tokens is not None:
        print(f"tokens  {record.trained_tokens}")
    say(f"Ask it: balcao --engine {record.engine}")
    return DONE


@contextmanager
def _reporter() -> Iterator[JobReporter]:
    with ProgressLine(sys.stderr) as line:

        def tell(text: str) -> None:
            # A sentence takes the place of the live line, which is drawn again below it.
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            print(f"{clear}{one_line(text)}", file=sys.stderr, flush=True)

        yield JobReporter(line.show, tell)


def _ignore(_: object) -> None:
    """Nothing is shown of it."""


if __name__ == "__main__":
    sys.exit(main())
