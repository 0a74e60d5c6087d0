"""Kill `balcao serve --api` at moments of a fine-tuning job, start it again, and look at the job.

python -m tools.attack.api_kills --moments 30

The moments are spread over a job that was not killed, from its creation to its end. Every fourth
kill takes the training too. A job that was acknowledged and is gone, one that neither succeeds nor
says why not, and more or less than one adapter and one engine for each that succeeds are failures.
Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import openai
import psutil
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob

from engine.training.runs.folder import LOG_FILE
from scripts.api.job_store import JobStore
from tests.engine.backends.llama.tiny import make_tiny
from tests.scripts.api.test_tuning import ROWS

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token-of-the-kills"  # noqa: S105 - it opens nothing
PATIENCE = 600.0
"""Seconds until a job counts as stuck."""
_BOTH = 4
_EPOCHS = 3


class Server:
    """The server, which can be killed and started again with the same home."""

    def __init__(self, home: Path, model: Path) -> None:
        self.store = JobStore(home / "data" / "api" / "jobs")
        self._environ = os.environ | {
            "BALCAO_HOME": str(home),
            "BALCAO_API_TOKEN": TOKEN,
            "BALCAO_ENGINES__BASE__MODEL": str(model),
            "PYTHONPATH": str(ROOT),
        }

    async def start(self) -> AsyncOpenAI:
        """Start it."""
        command = [sys.executable, "-P", "-m", "scripts.cli", "serve", "--api", "--port", "0"]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._process.stdout is None:
            raise RuntimeError("the server has no output")
        address = (await self._process.stdout.readline()).decode().strip()
        return AsyncOpenAI(base_url=address, api_key=TOKEN, max_retries=0)

    async def kill(self, *, training: bool = False) -> None:
        """Kill it, and a training too if there is one."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        for one in psutil.process_iter(["cmdline"]) if training else ():
            if str(self.store.folder) in " ".join(one.info["cmdline"] or ()):
                with suppress(psutil.Error):
                    one.kill()
                    one.wait(PATIENCE)


async def create(client: AsyncOpenAI) -> str:
    """Upload the rows and create a job."""
    file = await client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    job = await client.fine_tuning.jobs.create(
        model="base", training_file=file.id, hyperparameters={"n_epochs": _EPOCHS}
    )
    return job.id


async def ended(client: AsyncOpenAI, job_id: str) -> FineTuningJob:
    """Wait for the end of a job."""
    async with asyncio.timeout(PATIENCE):
        while True:
            job = await client.fine_tuning.jobs.retrieve(job_id)
            if job.finished_at:
                return job
            await asyncio.sleep(0.2)


async def attempt(server: Server, moment: float, *, training: bool) -> tuple[list[str], list[str]]:
    """Kill at a moment; return what became of the job, and what is wrong."""
    client = await server.start()
    known = {record.id for record in server.store.oldest()}
    creating = asyncio.create_task(create(client))
    await asyncio.sleep(moment)
    await server.kill(training=training)
    with suppress(openai.APIError):
        known.add(acknowledged := await creating)
        known.discard(acknowledged)
    made = {record.id for record in server.store.oldest()} - known
    lost = not creating.exception() and creating.result() not in made
    client = await server.start()
    jobs = [await ended(client, one) for one in made]
    names = [one.id async for one in await client.models.list()]
    await server.kill()
    problems = ["an acknowledged job is lost"] if lost else []
    for job in jobs:
        problems += _wrong(server, job, names)
    return [job.status for job in jobs] or ["not created"], problems


def _wrong(server: Server, job: FineTuningJob, names: Sequence[str]) -> Iterator[str]:
    record = server.store.read(job.id)
    folder = server.store.folder / job.id
    adapters = [*folder.glob("*/adapter_model.safetensors")]
    engines = [name for name in names if name.startswith(record.engine)]
    if job.status == "succeeded":
        if len(adapters) != 1 or engines != [record.engine, job.fine_tuned_model]:
            yield f"{job.id}: {len(adapters)} adapters, engines {engines}"
        log = (server.store.adapter(record) / LOG_FILE).read_text(encoding="utf-8")
        if log.count("Another `balcao train`"):
            yield f"{job.id}: two trainings"
    elif job.status != "failed" or not job.error or not job.error.message:
        yield f"{job.id}: {job.status} without a reason"
    elif engines:
        yield f"{job.id}: failed, with engines {engines}"


async def run(moments: int) -> int:
    """Kill at all moments; return the number of failures."""
    failures, found = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "home", make_tiny().model)
        client = await server.start()
        began = time.monotonic()
        await ended(client, await create(client))
        took = time.monotonic() - began
        await server.kill()
        print(f"a job without a kill: {took:.1f} s", flush=True)
        for number in range(moments):
            moment, training = took * number / moments, number % _BOTH == _BOTH - 1
            states, problems = await attempt(server, moment, training=training)
            found.update(states)
            failures += bool(problems)
            both = ", and the training" if training else ""
            print(f"at {moment:.2f} s{both}: {', '.join(states)}", *problems, flush=True)
    print(f"{moments} kills: {dict(found)}, {failures} failures")
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    """Kill; return 1 after a failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moments", type=int, default=30)
    return min(1, asyncio.run(run(parser.parse_args(argv).moments)))


if __name__ == "__main__":
    sys.exit(main())
