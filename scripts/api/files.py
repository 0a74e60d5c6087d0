"""Store the files that clients upload for fine-tuning, each with a record."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from aiohttp import BodyPartReader, web

from engine.core.files import (
    UNDECODABLE,
    atomic_file,
    encode_json,
    write_atomic,
    writing,
)
from engine.core.text import one_line
from engine.training.openai.plan import MOST_BYTES
from scripts.api.bodies import ApiError

T = TypeVar("T")

_CHUNK_WITHIN = 30.0
"""Seconds in which a client must send the next piece of a form."""
_MAX_NAME = 200
_MAX_FIELD = 1000
"""Bytes of a field that is not the file."""
_PURPOSE = "fine-tune"
_FIELDS = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")
"""Of the form; files stay until they are deleted."""
_ID = re.compile(r"file-[0-9a-f]{24}")


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded file in OpenAI's form."""

    id: str
    bytes: int
    created_at: int
    filename: str
    object: Literal["file"] = "file"
    purpose: str = _PURPOSE
    status: str = "processed"


class FileStore:
    """The uploaded files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def receive(self, request: web.Request) -> FileRecord:
        """Keep the file of an upload. Raises ApiError or BalcaoError."""
        if not request.content_type.startswith("multipart/"):
            raise ApiError(400, "Send the file as multipart/form-data.", param="file")
        file_id, kept = f"file-{secrets.token_hex(12)}", None
        try:
            kept = await self._read_form(file_id, request)
        except ValueError:
            raise ApiError(400, "The form is not valid multipart/form-data.") from None
        finally:
            if kept is None:
                with suppress(OSError):
                    self.path(file_id).unlink()
        await asyncio.to_thread(self._record, kept)
        return kept

    async def _read_form(self, file_id: str, request: web.Request) -> FileRecord:
        kept, purpose = None, ""
        form = await request.multipart()
        while (part := await _in_time(form.next())) is not None:
            name = part.name if isinstance(part, BodyPartReader) else None
            if not isinstance(part, BodyPartReader) or name not in _FIELDS:
                message = f"Unrecognized request argument supplied: {one_line(name or '', 100)}"
                raise ApiError(400, message, code="unknown_parameter")
            if name == "file":
                kept = await self._keep(file_id, part)
            else:
                value = await _field(part)
                purpose = value if name == "purpose" else purpose
        if kept is None:
            raise ApiError(400, "The form has no file.", param="file")
        if purpose != _PURPOSE:
            message = f"The purpose must be “{_PURPOSE}”."
            raise ApiError(400, message, code="invalid_value", param="purpose")
        return kept

    async def _keep(self, file_id: str, part: BodyPartReader) -> FileRecord:
        size, target = 0, self.path(file_id)
        with writing(target), atomic_file(target, private=True) as stream:
            while piece := await _piece(part):
                size += len(piece)
                if size > MOST_BYTES:
                    raise ApiError(413, f"The file is larger than {MOST_BYTES:,} bytes.")
                await asyncio.to_thread(stream.write, piece)
        name = one_line(part.filename or "file.jsonl", _MAX_NAME)
        return FileRecord(id=file_id, bytes=size, created_at=int(time.time()), filename=name)

    def _record(self, kept: FileRecord) -> None:
        target = self._folder / f"{kept.id}.json"
        with writing(target):
            write_atomic(target, encode_json(kept), private=True)

    def path(self, file_id: str) -> Path:
        """Return where the content of a file is."""
        return self._folder / f"{file_id}.jsonl"

    def get(self, file_id: str) -> FileRecord:
        """Return a file's record. Raises ApiError if there is none."""
        found = self._read(self._folder / f"{file_id}.json") if _ID.fullmatch(file_id) else None
        if found is None or not self.path(file_id).is_file():
            raise ApiError(404, f"No such file: {one_line(file_id, 100)}", param="file_id")
        return found

    def newest(self) -> list[FileRecord]:
        """Return all files, newest first."""
        found = (self._read(file) for file in self._folder.glob("file-*.json"))
        return sorted(filter(None, found), key=lambda one: (-one.created_at, one.id))

    def delete(self, file_id: str) -> None:
        """Delete a file. Raises ApiError if there is none."""
        self.get(file_id)
        for file in (self._folder / f"{file_id}.json", self.path(file_id)):
            with writing(file):
                file.unlink(missing_ok=True)

    def _read(self, file: Path) -> FileRecord | None:
        try:
            return msgspec.json.decode(file.read_bytes(), type=FileRecord)
        except (OSError, *UNDECODABLE):
            return None


async def _piece(part: BodyPartReader) -> bytes:
    return bytes(await _in_time(part.read_chunk(1 << 16)))


async def _in_time(reading: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(_CHUNK_WITHIN):
            return await reading
    except TimeoutError:
        raise ApiError(408, "The file did not arrive in time.") from None


async def _field(part: BodyPartReader) -> str:
    value = b""
    while piece := await _piece(part):
        value += piece
        if len(value) > _MAX_FIELD:
            raise ApiError(413, "A field of the form is too long.")
    return value.decode(errors="replace")
