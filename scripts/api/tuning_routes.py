"""OpenAI's calls for files and fine-tuning jobs."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from scripts.api.bodies import convert, page, read_body, read_object
from scripts.api.files import FileRecord, FileStore
from scripts.api.job_store import JobRequest
from scripts.api.tuning import Jobs

_JOBS = "/v1/fine_tuning/jobs"
_MOST_FILES, _MOST_JOBS = 10_000, 100
"""Items of a page."""


class TuningRoutes:
    """The uploaded files, and the jobs that train on them."""

    def __init__(self, files: FileStore, jobs: Jobs) -> None:
        self._files = files
        self._jobs = jobs

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        for method, path, handler in (
            ("POST", "/v1/files", self._upload),
            ("GET", "/v1/files", self._list_files),
            ("GET", "/v1/files/{id}", self._show_file),
            ("GET", "/v1/files/{id}/content", self._send_file),
            ("DELETE", "/v1/files/{id}", self._delete_file),
            ("POST", _JOBS, self._create_job),
            ("GET", _JOBS, self._list_jobs),
            ("GET", f"{_JOBS}/{{id}}", self._show_job),
            ("POST", f"{_JOBS}/{{id}}/cancel", self._cancel_job),
            ("GET", f"{_JOBS}/{{id}}/events", self._list_events),
            ("GET", f"{_JOBS}/{{id}}/checkpoints", self._list_checkpoints),
        ):
            router.add_route(method, path, handler)

    async def _upload(self, request: web.Request) -> web.Response:
        return _object(await self._files.receive(request))

    async def _list_files(self, request: web.Request) -> web.Response:
        wanted, oldest_first = request.query.get("purpose"), request.query.get("order") == "asc"
        files = await asyncio.to_thread(self._files.newest)
        found = [msgspec.to_builtins(one) for one in files if wanted in (None, one.purpose)]
        shown = found[::-1] if oldest_first else found
        return web.json_response(page(shown, {"limit": "10000"} | dict(request.query), _MOST_FILES))

    async def _show_file(self, request: web.Request) -> web.Response:
        return _object(await asyncio.to_thread(self._files.get, request.match_info["id"]))

    async def _send_file(self, request: web.Request) -> web.StreamResponse:
        found = await asyncio.to_thread(self._files.get, request.match_info["id"])
        headers = {"Content-Type": "application/octet-stream"}
        return web.FileResponse(self._files.path(found.id), headers=headers)

    async def _delete_file(self, request: web.Request) -> web.Response:
        file_id = request.match_info["id"]
        await asyncio.to_thread(self._files.delete, file_id)
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def _create_job(self, request: web.Request) -> web.Response:
        wanted = convert(read_object(await read_body(request)), JobRequest)
        return web.json_response(await self._jobs.create(wanted))

    async def _list_jobs(self, request: web.Request) -> web.Response:
        jobs = await asyncio.to_thread(self._jobs.newest)
        return web.json_response(page(jobs, request.query, _MOST_JOBS))

    async def _show_job(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._jobs.get, request.match_info["id"])
        return web.json_response(found)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        cancelled = await asyncio.to_thread(self._jobs.cancel, request.match_info["id"])
        return web.json_response(cancelled)

    async def _list_events(self, request: web.Request) -> web.Response:
        events = await asyncio.to_thread(self._jobs.events, request.match_info["id"])
        return web.json_response(page(events, request.query, _MOST_JOBS))

    async def _list_checkpoints(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._jobs.checkpoints, request.match_info["id"])
        return web.json_response(page(found, request.query, _MOST_JOBS))


def _object(record: FileRecord) -> web.Response:
    return web.json_response(msgspec.to_builtins(record))
