"""Fine-tune a model at OpenAI or a compatible provider.

balcao finetune --data data/rows --dry-run
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backends.openai.engine import OpenAIConfig, server_name, without_password
from engine.config import edit, keys
from engine.config.settings import load
from engine.core.errors import BalcaoError, UsageError
from engine.core.text import one_line
from engine.training.openai import job
from engine.training.openai.plan import JobPlan, plan_job
from engine.training.openai.tune import JobRunner, default_provider, open_client, provider_url
from scripts.common import DONE, FAILED, ProgressLine, command, confirm, say, whole

if TYPE_CHECKING:
    from engine.training.openai.client import FineTuningClient

_MODEL = "gpt-4o-mini"
_MAX_INTERVAL = 3600
_WIDTH = 500
"""Characters of a server's message that are shown."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao finetune",
        description="Fine-tune a model at OpenAI on the rows that `balcao prepare` wrote: check"
        " the rows, estimate the cost, ask, upload, train, and add the model as an engine.",
        epilog="The job continues when this command stops: follow it with --resume.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder with train.jsonl")
    add("--model", metavar="NAME", help=f"model to fine-tune (default: {_MODEL})")
    add("--dry-run", action="store_true", help="check the rows and estimate the cost only")
    add("--yes", action="store_true", help="start without confirmation")
    add("--resume", action="store_true", help="continue the job of DIR")
    add("--cancel", action="store_true", help="cancel the job of DIR")
    add("--again", action="store_true", help="start a new job on data that was used before")
    add("--suffix", metavar="TEXT", default="balcao", help="part of the new model's name")
    add("--seed", type=whole, metavar="S", default=0, help="random seed (default: 0)")
    add("--epochs", type=whole, metavar="N", help="default: chosen by the server")
    add("--batch-size", type=whole, metavar="N", help="default: chosen by the server")
    add("--learning-rate", type=float, metavar="F", help="multiplier of the server's rate")
    add("--price", type=float, metavar="USD", help="price of a million tokens")
    add("--base-url", metavar="URL", help="address of another provider")
    add("--api-key-env", metavar="NAME", help="name of the API key")
    add("--engine", metavar="ID", default="", help="id of the new engine")
    add(
        "--every",
        type=float,
        metavar="S",
        default=10.0,
        help="maximum seconds between two status requests (default: 10)",
    )
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    folder: Path = options.data
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Set --data to a folder of rows.")
    if not 0 < options.every <= _MAX_INTERVAL:
        raise UsageError(f"--every must be above 0 and at most {_MAX_INTERVAL}.")
    settings = load()
    provider = default_provider(settings)
    if options.engine and not (options.resume or options.cancel):
        edit.check_free(options.engine, settings)
    if options.dry_run:
        plan = _plan(options, provider)
        print(plan)
        return _check_plan(plan)
    with job.lock_job(folder):
        record = job.read_job(folder)
        if options.cancel:
            return _cancel(options, record, provider)
        if record is None or not options.resume:
            return _start(options, record, provider)
        if record.ended:
            return _print_result(record)
        client = open_client(record.settings, provider, options.every, options.base_url)
        return _follow(folder, record, client, options.every)


def _start(options: argparse.Namespace, old: job.JobRecord | None, provider: OpenAIConfig) -> int:
    folder: Path = options.data
    plan = _plan(options, provider)
    _check_old_job(old, plan, again=options.again)
    if failed := _check_plan(plan):
        return failed
    client = open_client(plan.settings, provider, options.every, options.base_url)
    if not _confirm(plan, client, yes=options.yes):
        say("balcao: nothing was sent.")
        return FAILED
    record = plan.record()
    if old is not None:
        job.archive_job(folder, old)
    job.write_job(folder, record)
    return _follow(folder, record, client, options.every)


def _plan(options: argparse.Namespace, provider: OpenAIConfig) -> JobPlan:
    if options.base_url not in (None, provider.base_url) and options.api_key_env is None:
        raise UsageError(
            "Another address needs its own API key.",
            "Name it with --api-key-env NAME, or '' if the server needs none.",
        )
    if options.api_key_env:
        keys.check_name(options.api_key_env)
    settings = job.JobSettings(
        model=options.model or _MODEL,
        suffix=options.suffix,
        seed=options.seed,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        base_url=without_password(provider_url(options.base_url, provider)),
        api_key_env=provider.api_key_env if options.api_key_env is None else options.api_key_env,
        engine=options.engine,
    )
    if options.price is not None and not 0 <= options.price < float("inf"):
        raise UsageError("--price must be 0 or more.")
    return plan_job(options.data, settings, options.price, datetime.now(UTC).date())


def _check_plan(plan: JobPlan) -> int:
    for problem in plan.problems:
        say(f"balcao: {one_line(problem)}.")
    return FAILED if plan.problems else DONE


def _check_old_job(record: job.JobRecord | None, plan: JobPlan, *, again: bool) -> None:
    """Raise UsageError if a new job would duplicate an earlier one."""
    if record is None:
        return
    if record.job and not record.ended:
        raise UsageError(
            f"Job {record.job} on this data is still running.",
            "Follow it with --resume, or end it with --cancel.",
        )
    if again or record.status in ("failed", "cancelled"):
        return
    if not record.ended:
        raise UsageError(
            "A job on this data was interrupted.",
            "Continue it with --resume, or start a new one with --again.",
        )
    new = plan.record()
    if (new.inputs, new.settings) == (record.inputs, record.settings):
        raise UsageError(
            f"This data was used already, for {record.model}.", "Use it again with --again."
        )


def _confirm(plan: JobPlan, client: FineTuningClient, *, yes: bool) -> bool:
    """Show the plan and ask before money is spent."""
    say(str(plan))
    server = server_name(plan.settings.base_url)
    if day := asyncio.run(client.shutdown_date(plan.settings.model)):
        say(f"note         {server} will shut {plan.settings.model} down on {day}.")
    return confirm(f"Send {plan.size:,} bytes to {server} and start the job?", yes=yes)


def _follow(folder: Path, record: job.JobRecord, client: FineTuningClient, interval: float) -> int:
    with ProgressLine(sys.stderr) as line:

        def print_line(text: str) -> None:
            line.print_above(one_line(text, _WIDTH))

        runner = JobRunner(folder, record, client, line.show, print_line, interval)
        try:
            record = asyncio.run(_closing(client, runner.run))
        except KeyboardInterrupt:
            line.print_above(
                "balcao: a started job continues; follow it with --resume or end it with --cancel."
            )
            raise
    return _print_result(record)


def _cancel(
    options: argparse.Namespace, record: job.JobRecord | None, provider: OpenAIConfig
) -> int:
    folder: Path = options.data
    if record is None:
        raise UsageError(f"{folder} has no job to cancel.")
    client = open_client(record.settings, provider, options.every, options.base_url)
    runner = JobRunner(folder, record, client, lambda _: None, say, options.every)
    record = asyncio.run(_closing(client, runner.cancel))
    if record.status != "cancelled":
        raise BalcaoError(f"Cannot cancel the job: it has {one_line(record.status)} already.")
    say("balcao: the job is cancelled.")
    return DONE


async def _closing(
    client: FineTuningClient, act: Callable[[], Coroutine[None, None, job.JobRecord]]
) -> job.JobRecord:
    try:
        return await act()
    finally:
        await client.close()


def _print_result(record: job.JobRecord) -> int:
    if record.status != "succeeded":
        reason = f": {one_line(record.error)}" if record.error else ""
        verb = "has" if record.status == "failed" else "was"
        raise BalcaoError(
            f"Job {record.job} {verb} {one_line(record.status)}{reason}.",
            "Start a new job with the same command, without --resume.",
        )
    print(f"model   {one_line(record.model)}")
    print(f"engine  {record.engine}")
    if record.trained_tokens is not None:
        print(f"tokens  {record.trained_tokens}")
    say(f"Try it: balcao --engine {record.engine}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
