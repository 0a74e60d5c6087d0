"""Fetches a model from the hub into the hub client's own cache; imported late, by scripts.models.

The client (huggingface_hub) asks, lists and stores. One thing it no longer does: since its version
2 a file that was broken off begins anew, which for a shard of 10 GB is an evening. So weights go
through its `http_get` into a file of ours that stays where it broke off, and are checked against
the hub's SHA-256 before they are handed to the cache. The name under which an engine finds the
model is written last: a model is there whole, or not at all.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    WeakFileLock,
    build_hf_headers,
    disable_progress_bars,
)

from engine.backends.llama.weights import read_json
from engine.core.errors import BalcaoError, UsageError
from engine.core.files import write_atomic
from engine.core.hub_cache import split_id
from engine.core.i18n import tr
from engine.core.text import byte_count
from engine.core.types import Progress
from engine.models.failures import Asked, gated, hub_errors
from engine.models.local import CONFIG, Kind, Remote, wanted

_RESUMED_FROM = 1_000_000
"""Bytes: smaller files are fetched by the client, from their beginning."""
_SPARE = 100_000_000
"""Bytes that are to be left free on the disk."""
_BLOCK = 1 << 20

Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Hub:
    """Where from and where to. `endpoint` None is the client's own (HF_ENDPOINT)."""

    cache: Path
    token: str = field(default="", repr=False)
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as the hub has it at one commit."""

    asked: Asked
    commit: str
    licence: str
    files: Sequence[Remote]

    @property
    def is_adapter(self) -> bool:
        """Whether it is a LoRA adapter and no model."""
        return not any(file.name == CONFIG for file in self.files)

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(file.size for file in self.files)


def look_up(hub: Hub, model: str, revision: str) -> Offer:
    """What the hub has of a model. Raises UsageError for no hub id, BalcaoError for the rest."""
    if split_id(model) != (model, "main"):
        raise UsageError(tr("“{model}” is no hub id.", model=model), tr("One is like ORG/NAME."))
    # Lines of its own would run through ours.
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    endpoint = (hub.endpoint or constants.ENDPOINT).rstrip("/")
    with hub_errors(Asked(model, revision, f"{endpoint}/{model}", bool(hub.token))):
        token = hub.token or get_token()
        asked = Asked(model, revision, f"{endpoint}/{model}", bool(token))
    with hub_errors(asked):
        info = HfApi(endpoint=hub.endpoint, token=token or False).model_info(
            model, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    if info.gated and not token:
        raise gated(asked, by_hand=info.gated == "manual")
    if info.sha is None:
        raise BalcaoError(
            tr("The hub does not tell which commit of “{model}” it has.", model=model)
        )
    files = [
        Remote(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None)
        for one in info.siblings or ()
    ]
    licence = info.card_data.license if info.card_data else None
    return Offer(asked, info.sha, str(licence or ""), wanted(model, files))


def pull(hub: Hub, offer: Offer, tell: Tell) -> Path:
    """Fetch what is not there yet; returns the model's folder. Raises BalcaoError.

    Closing the process at any moment leaves what came: the next call goes on from there.
    """
    return _Pull(hub, offer, tell).run()


class _Pull:
    """One download, and how far it is."""

    def __init__(self, hub: Hub, offer: Offer, tell: Tell) -> None:
        self._hub = hub
        self._offer = offer
        self._tell = tell
        self._model = offer.asked.model
        self._stored = hub.cache / f"models--{self._model.replace('/', '--')}"
        self._folder = self._stored / "snapshots" / offer.commit
        # False: the client is not to look for a token that we have not found.
        self._token = hub.token or get_token() or False
        self._here = sum(map(self._here_of, offer.files))
        self._began_with = self._here

    def run(self) -> Path:
        """Small files first: they tell whether the rest is worth fetching."""
        with hub_errors(self._offer.asked):
            self._check_room()
            for file in self._offer.files:
                before = self._here_of(file)
                self._fetch(file)
                self._here += file.size - before
                self._show(self._here)
                if file.name == CONFIG:
                    self._check_kind()
            self._name_it()
        return self._folder

    def _fetch(self, file: Remote) -> None:
        resumable = _RESUMED_FROM <= file.size <= constants.MAX_HTTP_DOWNLOAD_SIZE
        if resumable and not (self._folder / file.name).exists():
            self._fetch_weights(file)
        hf_hub_download(
            self._model,
            file.name,
            # The commit and not the branch: that would name the model before it is whole.
            revision=self._offer.commit,
            cache_dir=self._hub.cache,
            endpoint=self._hub.endpoint,
            token=self._token,
        )

    def _fetch_weights(self, file: Remote) -> None:
        """Bring a file's content into the cache's blobs, where the client then finds it."""
        url = hf_hub_url(
            self._model, file.name, revision=self._offer.commit, endpoint=self._hub.endpoint
        )
        etag = get_hf_file_metadata(url, token=self._token, endpoint=self._hub.endpoint).etag
        if not etag or Path(etag).name != etag:
            raise BalcaoError(tr("The hub does not tell which {name} it has.", name=file.name))
        blob = self._stored / "blobs" / etag
        lock = self._hub.cache / ".locks" / self._stored.name / f"{etag}.lock"
        for folder in (blob.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists():
                part = self._part(file)
                self._bring(url, file, part)
                _check(part, file)
                part.rename(blob)

    def _bring(self, url: str, file: Remote, part: Path) -> None:
        elsewhere = self._here - self._here_of(file)
        with part.open("ab") as stream:
            if stream.tell() > file.size:
                # No beginning of this file, whatever it is.
                stream.truncate(0)
                stream.seek(0)
            counted = _Counted(stream, lambda here: self._show(elsewhere + here))
            http_get(
                url,
                cast("BinaryIO", counted),
                resume_size=stream.tell(),
                # A redirect to another server loses the token by itself.
                headers=build_hf_headers(token=self._token),
                expected_size=file.size,
            )

    def _check_kind(self) -> None:
        kind = read_json(self._folder / CONFIG, Kind).model_type
        if kind != "llama":
            raise BalcaoError(
                tr("“{model}” is of the kind “{kind}”, not a Llama.", model=self._model, kind=kind),
                tr("Choose a model of Llama's architecture."),
            )

    def _check_room(self) -> None:
        needed = self._offer.bytes - self._here + _SPARE * (self._offer.bytes > self._here)
        place = next(
            place for place in (self._hub.cache, *self._hub.cache.parents) if place.exists()
        )
        free = shutil.disk_usage(place).free
        if needed > free:
            raise BalcaoError(
                tr(
                    "The download needs {needed}, and {free} are free at {cache}.",
                    needed=byte_count(needed),
                    free=byte_count(free),
                    cache=self._hub.cache,
                ),
                tr("Make room (balcao models remove), or name another place with HF_HUB_CACHE."),
            )

    def _name_it(self) -> None:
        revision = self._offer.asked.revision
        if revision != self._offer.commit:
            ref = self._stored / "refs" / revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(ref, self._offer.commit.encode())

    def _part(self, file: Remote) -> Path:
        """The beginning of a file, kept by what it is and not by what it is called."""
        known = (
            file.sha256 or hashlib.sha256(f"{self._offer.commit}/{file.name}".encode()).hexdigest()
        )
        return self._stored / "blobs" / f"{known}.incomplete"

    def _here_of(self, file: Remote) -> int:
        for place in (self._folder / file.name, self._part(file)):
            if place.is_file():
                return min(place.stat().st_size, file.size)
        return 0

    def _show(self, here: int) -> None:
        total = self._offer.bytes
        left = total - self._began_with
        # Of what this run has to fetch, so that the time left is right after a break too.
        share = (here - self._began_with) / left if left else 1.0
        self._tell(Progress(f"{byte_count(here)} of {byte_count(total)}", share))


class _Counted:
    """The file that the client writes to; tells how long it is now."""

    def __init__(self, stream: IO[bytes], tell: Callable[[int], None]) -> None:
        self._stream = stream
        self._tell = tell

    def write(self, data: bytes) -> int:
        """As every file's, but on the disk at once: whoever pulls the plug keeps it."""
        count = self._stream.write(data)
        self._stream.flush()
        self._tell(self._stream.tell())
        return count

    def tell(self) -> int:
        """As every file's."""
        return self._stream.tell()

    def seek(self, place: int) -> int:
        """As every file's."""
        return self._stream.seek(place)

    def truncate(self) -> int:
        """As every file's: a server that knows no ranges begins anew."""
        return self._stream.truncate()


def _check(part: Path, file: Remote) -> None:
    """Raises BalcaoError, and takes the file away, if it is not what the hub has."""
    if file.sha256 is None:
        return
    found = hashlib.sha256()
    with part.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    if found.hexdigest() != file.sha256:
        part.unlink()
        raise BalcaoError(
            tr(
                "What came of {name} is not what the hub has: its checksum differs.", name=file.name
            ),
            tr("It is taken away; the same command fetches it anew."),
        )
