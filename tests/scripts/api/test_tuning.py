"""Fine-tune through the unmodified `openai` client, as at OpenAI."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
import pytest
from aiohttp import web
from msgspec.structs import replace
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob

from engine.backends.registry import Registry
from engine.catalogue.catalogue import Catalogue
from engine.chat.open import Resources
from engine.config import paths
from engine.config.settings import load
from engine.prompts import SYSTEM
from engine.training.runs.folder import LOG_FILE, is_done, last_checkpoint
from engine.training.runs.view import is_run
from scripts.api import files, tuning
from scripts.api.job_store import JobStore
from scripts.api.server import ApiServer
from tests.engine.backends.llama.tiny import Tiny

TOKEN = "a-token-of-the-tests"  # noqa: S105 - it opens nothing
ROWS = "".join(
    json.dumps(
        {
            "messages": [
                {"role": "user", "content": f"Lighthouse {number}"},
                {"role": "assistant", "content": "A keeper climbs the stairs."},
            ]
        }
    )
    + "\n"
    for number in range(10)
).encode()


@asynccontextmanager
async def serving(catalogue: Path) -> AsyncIterator[AsyncOpenAI]:
    server = ApiServer(
        Resources(Registry(load()), Catalogue.open(catalogue)), "127.0.0.1", 0, TOKEN
    )
    runner = web.AppRunner(
        server.app(), access_log=None, handler_cancellation=True, shutdown_timeout=1
    )
    await runner.setup()
    await web.SockSite(runner, server.listening).start()
    try:
        async with AsyncOpenAI(api_key=TOKEN, base_url=server.address, max_retries=0) as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.fixture
def base(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__BASE__MODEL", str(tiny.model))


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep jobs queued."""

    async def wait(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(tuning.Jobs, "work", wait)


async def upload(client: AsyncOpenAI, rows: bytes = ROWS) -> str:
    return (await client.files.create(file=("rows.jsonl", rows), purpose="fine-tune")).id


async def create(client: AsyncOpenAI, epochs: int) -> str:
    job = await client.fine_tuning.jobs.create(
        model="base",
        training_file=await upload(client),
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs}}},
    )
    return job.id


async def begun(client: AsyncOpenAI, job_id: str) -> str:
    async with asyncio.timeout(300):
        while (job := await client.fine_tuning.jobs.retrieve(job_id)).status == "queued":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return job.status


async def ended(client: AsyncOpenAI, job_id: str) -> FineTuningJob:
    async with asyncio.timeout(300):
        while (job := await client.fine_tuning.jobs.retrieve(job_id)).finished_at is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)
    return job


@pytest.mark.usefixtures("base")
async def test_a_job_goes_on_without_its_server_and_its_model_answers(
    catalogue_dir: Path,
) -> None:
    async with serving(catalogue_dir) as client:
        job = await client.fine_tuning.jobs.create(
            model="base",
            training_file=await upload(client),
            suffix="My Shop!",
            seed=7,
            metadata={"for": "the test"},
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
        )
        assert job.status == "queued"
        assert await begun(client, job.id) == "running"
    async with serving(catalogue_dir) as client:
        job = await ended(client, job.id)
        assert job.status == "succeeded", job.error
        assert job.seed == 7
        assert job.metadata == {"for": "the test"}
        assert job.trained_tokens
        assert job.fine_tuned_model
        assert job.fine_tuned_model.startswith("ft-my-shop-")
        assert job.fine_tuned_model in [one.id async for one in await client.models.list()]
        events = [one async for one in await client.fine_tuning.jobs.list_events(job.id, limit=2)]
        messages = [one.message for one in events]
        assert messages[0] == "The job has successfully completed"
        assert messages[-1] == f"Created fine-tuning job: {job.id}"
        assert any("training loss=" in one for one in messages)
        assert len({one.id for one in events}) == len(events)
        (point,) = [one async for one in await client.fine_tuning.jobs.checkpoints.list(job.id)]
        assert point.fine_tuned_model_checkpoint == job.fine_tuned_model
        reply = await client.chat.completions.create(
            model=job.fine_tuned_model, messages=[{"role": "user", "content": "Lighthouse 1"}]
        )
        assert reply.usage
        assert reply.usage.completion_tokens
        with pytest.raises(openai.BadRequestError, match="has ended"):
            await client.fine_tuning.jobs.cancel(job.id)
    rows = paths.data_dir() / "api/jobs" / job.id / "rows/train.jsonl"
    first = json.loads(rows.read_text().splitlines()[0])["messages"][0]
    assert first["role"] == "system"
    assert first["content"] == SYSTEM


@pytest.mark.usefixtures("base")
async def test_a_cancelled_job_stops(catalogue_dir: Path) -> None:
    async with serving(catalogue_dir) as client:
        job = await client.fine_tuning.jobs.create(model="base", training_file=await upload(client))
        assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
        job = await ended(client, job.id)
        assert (job.status, job.fine_tuned_model) == ("cancelled", None)
    assert not [*paths.data_dir().rglob("adapter_model.safetensors")]


@pytest.mark.usefixtures("base")
async def test_a_training_that_no_server_has_noted_is_followed(catalogue_dir: Path) -> None:
    async with serving(catalogue_dir) as client:
        await begun(client, job_id := await create(client, 1))
    # As after a kill right behind the start of the training.
    store = JobStore(paths.data_dir() / "api/jobs")
    store.write(replace(store.read(job_id), process=0, started_at=0))
    async with serving(catalogue_dir) as client:
        job = await ended(client, job_id)
        assert job.status == "succeeded", job.error
        names = [one.id async for one in await client.models.list()]
        assert [name for name in names if name.startswith("ft-")] == [
            str(job.fine_tuned_model).removesuffix(":memory"),
            job.fine_tuned_model,
        ]
    log = (store.adapter(store.read(job_id)) / LOG_FILE).read_text()
    assert log.count("tokens    ") == 1  # it began once


@pytest.mark.usefixtures("base")
async def test_a_job_that_was_cancelled_before_a_kill_stops(catalogue_dir: Path) -> None:
    async with serving(catalogue_dir) as client:
        await begun(client, job_id := await create(client, 1))
    store = JobStore(paths.data_dir() / "api/jobs")
    record = store.change(store.read(job_id), cancelled=True, finished_at=1)
    async with serving(catalogue_dir) as client, asyncio.timeout(300):
        while await asyncio.to_thread(psutil.pid_exists, record.process):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        assert (await client.fine_tuning.jobs.retrieve(job_id)).status == "cancelled"
        assert not is_done(store.adapter(record))


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("reached", [is_run, last_checkpoint])
async def test_a_training_that_is_killed_with_its_server_goes_on(
    catalogue_dir: Path, reached: Callable[[Path], object]
) -> None:
    async with serving(catalogue_dir) as client:
        job_id = await create(client, 3)
        store = JobStore(paths.data_dir() / "api/jobs")
        async with asyncio.timeout(300):
            while not reached(store.adapter(store.read(job_id))):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        process = psutil.Process(store.read(job_id).process)
        process.suspend()
    process.kill()
    process.wait(60)
    async with serving(catalogue_dir) as client:
        job = await ended(client, job_id)
        assert job.status == "succeeded", job.error


@pytest.mark.usefixtures("base")
async def test_unusable_rows_fail_the_job_with_the_line(catalogue_dir: Path) -> None:
    bad = ROWS.replace(b'"assistant"', b'"clerk"', 1)
    async with serving(catalogue_dir) as client:
        job = await client.fine_tuning.jobs.create(
            model="base", training_file=await upload(client, bad)
        )
        job = await ended(client, job.id)
        assert job.status == "failed"
        assert job.error
        assert job.error.code == "invalid_training_file"
        assert "line 1" in str(job.error.message)


@pytest.mark.usefixtures("base", "idle")
async def test_jobs_and_files_are_listed_newest_first_by_pages(catalogue_dir: Path) -> None:
    async with serving(catalogue_dir) as client:
        file = await upload(client)
        made = [
            await client.fine_tuning.jobs.create(model="base", training_file=file, suffix=name)
            for name in ("a", "b", "c")
        ]
        first = await client.fine_tuning.jobs.list(limit=2)
        assert first.has_more
        listed = [one.id async for one in first]
        assert sorted(listed) == sorted(one.id for one in made)
        other = await upload(client)
        assert {one.id async for one in await client.files.list()} == {file, other}
        assert (await client.files.content(file)).content == ROWS
        kept = await client.files.retrieve(file)
        assert (kept.bytes, kept.filename, kept.purpose) == (len(ROWS), "rows.jsonl", "fine-tune")
        assert (await client.files.delete(other)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(other)


@pytest.mark.usefixtures("base", "idle")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "gpt-none"}, openai.NotFoundError),
        ({"model": "lora"}, openai.NotFoundError),
        ({"training_file": "file-../../x"}, openai.NotFoundError),
        ({"suffix": "x" * 65}, openai.BadRequestError),
        ({"seed": -1}, openai.BadRequestError),
        ({"extra_body": {"colour": "red"}}, openai.BadRequestError),
        ({"hyperparameters": {"n_epochs": 0}}, openai.BadRequestError),
        ({"hyperparameters": {"batch_size": "some"}}, openai.BadRequestError),
        ({"method": {"type": "dpo"}}, openai.BadRequestError),
    ],
)
async def test_a_wrong_job_is_refused_before_it_is_queued(
    catalogue_dir: Path, changes: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    async with serving(catalogue_dir) as client:
        right = {"model": "base", "training_file": await upload(client)}
        with pytest.raises(error):
            await client.fine_tuning.jobs.create(**(right | changes))
        assert not (await client.fine_tuning.jobs.list()).data


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    "sent", [b"--x\r\nContent-", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc']
)
async def test_an_upload_that_comes_too_slowly_is_cut_off(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(files, "_CHUNK_WITHIN", 0.05)

    async def stall() -> AsyncIterator[bytes]:
        yield sent
        await asyncio.Event().wait()

    async with serving(catalogue_dir) as client:
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "multipart/form-data; boundary=x",
        }
        async with (
            asyncio.timeout(60),
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{client.base_url}files", data=stall()) as reply,
        ):
            assert reply.status == 408
    assert not [*(paths.data_dir() / "api/files").glob("*")]


@pytest.mark.usefixtures("base")
async def test_a_folder_that_cannot_be_written_stops_only_fine_tuning(catalogue_dir: Path) -> None:
    folder = paths.data_dir() / "api"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()
    async with serving(catalogue_dir) as client:
        with pytest.raises(openai.InternalServerError, match="Cannot write"):
            await upload(client)
        assert (await client.models.list()).data
        folder.unlink()
        bad = ROWS.replace(b'"assistant"', b'"clerk"', 1)
        job = await client.fine_tuning.jobs.create(
            model="base", training_file=await upload(client, bad)
        )
        assert (await ended(client, job.id)).status == "failed"


@pytest.mark.usefixtures("idle")
async def test_a_wrong_upload_leaves_no_file(catalogue_dir: Path) -> None:
    async with serving(catalogue_dir) as client:
        with pytest.raises(openai.BadRequestError, match="purpose"):
            await client.files.create(file=("rows.jsonl", ROWS), purpose="batch")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            cut = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
            kind = {"Content-Type": "multipart/form-data; boundary=x"}
            async with http.post(f"{client.base_url}files", data=cut, headers=kind) as reply:
                assert reply.status == 400
            async with http.post(f"{client.base_url}files", data=b"{}") as reply:
                assert reply.status == 400
        assert not (await client.files.list()).data
    assert not [*(paths.data_dir() / "api/files").glob("file-*")]


@pytest.mark.usefixtures("base", "idle")
async def test_a_cancellation_is_not_lost_to_another_change(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a job is cancelled while its training begins."""
    async with serving(catalogue_dir) as client:
        job_id = await create(client, 1)
    store, read = JobStore(paths.data_dir() / "api/jobs"), JobStore.read
    record = store.read(job_id)

    def read_slowly(self: JobStore, wanted: str) -> object:
        found = read(self, wanted)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(JobStore, "read", read_slowly)
    changes: list[dict[str, Any]] = [{"started_at": 1}, {"cancelled": True}]
    await asyncio.gather(*(asyncio.to_thread(store.change, record, **values) for values in changes))
    found = read(store, job_id)
    assert (found.started_at, found.cancelled) == (1, True)
