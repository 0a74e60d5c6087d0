"""Download a model from the hub into the hub client's cache. Heavy: imports huggingface_hub.

The client asks, lists and stores, but since its version 2 it restarts an interrupted file, which
for a shard of 10 GB costs an evening. Weights therefore go through its `http_get` into a partial
file that a later run resumes, and are checked against the hub's SHA-256 before they enter the
cache. The reference by which an engine finds the model is written last.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
from huggingface_hub import HfApi, constants, errors, get_token, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import get_hf_file_metadata
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from engine.backends.llama.adapters import ADAPTER_WEIGHTS
from engine.backends.llama.weights import CONFIG, Architecture, read_json
from engine.config.paths import MAIN, split_id
from engine.core.errors import BalcaoError, why
from engine.core.files import Input, check_space, write_atomic
from engine.core.i18n import tr
from engine.core.text import one_line, redact
from engine.models import download
from engine.models.download import NotDelivered, Show
from engine.models.local import not_a_hub_id

OPEN_MODELS = ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "HuggingFaceTB/SmolLM2-360M-Instruct")
"""Llama models with chat templates, under Apache 2.0 and not gated."""

TOKEN = "HF_TOKEN"  # noqa: S105 - its name
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A request to the hub, for its error messages. `page` is the model's page there."""

    model: str
    revision: str
    page: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """The token, and the password of the hub's address."""

    @property
    def has_token(self) -> bool:
        """Whether the hub gets a token."""
        return bool(self.secrets and self.secrets[0])

    def words(self, text: object, width: int) -> str:
        """Return the hub's words on a line, without the secrets."""
        return one_line(redact(str(text)[:_MOST_WORDS], *self.secrets), width).rstrip(".")


@contextmanager
def hub_errors(request: HubRequest) -> Iterator[None]:
    """Raise BalcaoError for what the client raises in the block."""
    try:
        yield
    except (OSError, httpx2.HTTPError, NotDelivered) as error:
        # The cause has the hub's words, and with them perhaps the token.
        raise _explain(_cause(error), request) from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise BalcaoError(
            tr("The hub sent an unexpected answer."),
            tr("Check HF_ENDPOINT, and whether the network needs a log-in."),
        ) from None


def gated(request: HubRequest) -> BalcaoError:
    """Return the error for a gated model."""
    models = tr(" or ").join(OPEN_MODELS)
    open_models = tr("Open models need none of this: {models}.", models=models)
    values = {**asdict(request), "token": TOKEN, "open_models": open_models}
    if request.has_token:
        return BalcaoError(
            tr("“{model}” is gated, and your token cannot read it.", **values),
            tr(
                "Accept its licence at {page} with the token's account, and let the token read "
                "gated models. {open_models}",
                **values,
            ),
        )
    return BalcaoError(
        tr("“{model}” is gated and needs a token.", **values),
        tr(
            "Accept its licence at {page}, create a token with read access there, and store it: "
            "balcao keys set {token}. {open_models}",
            **values,
        ),
    )


def _cause(error: Exception) -> Exception:
    """Unwrap the client's "not found in the cache", which hides the failure of the network."""
    while isinstance(error.__cause__, OSError | httpx2.HTTPError) and isinstance(
        error, FileNotFoundError
    ):
        error = error.__cause__
    return error


def _explain(error: Exception, request: HubRequest) -> BalcaoError:
    resume = tr("Run the command again to resume the download.")
    match error:
        case errors.OfflineModeIsEnabled():
            return BalcaoError(
                tr("The hub client is in offline mode."),
                tr("Unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE."),
            )
        case errors.HfHubHTTPError():
            return _explain_refusal(error, request)
        case httpx2.HTTPError():
            reason = f"{type(error).__name__}: {request.words(error, 120)}"
            return BalcaoError(
                tr("Cannot reach the hub, or the connection was lost ({error}).", error=reason),
                tr("Check the network, the proxy and HF_ENDPOINT. {resume}", resume=resume),
            )
        case OSError() if error.errno in _DISK_FULL:
            remedy = tr("Free some space, or choose another folder with HF_HUB_CACHE.")
            return BalcaoError(tr("The disk is full."), f"{remedy} {resume}")
        case OSError() if error.errno is not None:
            file = f"{error.filename}: " if error.filename else ""
            return BalcaoError(tr("Cannot save the model: {file}{why}.", file=file, why=why(error)))
        case _:
            message = request.words(error, 200)
            return BalcaoError(tr("The download failed: {error}.", error=message), resume)


def _explain_refusal(error: errors.HfHubHTTPError, request: HubRequest) -> BalcaoError:
    values = {**asdict(request), "token": TOKEN}
    status = error.response.status_code
    forbidden = status == HTTPStatus.FORBIDDEN and not isinstance(error, errors.DisabledRepoError)
    if forbidden or isinstance(error, errors.GatedRepoError):
        return gated(request)
    if isinstance(error, errors.RevisionNotFoundError):
        return BalcaoError(
            tr("Revision “{revision}” of “{model}” not found.", **values),
            tr("Its branches and tags are listed at {page}.", **values),
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        private = tr("your token cannot read it") if request.has_token else tr("it is private")
        return BalcaoError(
            tr("Model “{model}” not found on the hub, or {private}.", private=private, **values),
            tr(
                "Check its name at {page}. For a private model, store a token with read access: "
                "balcao keys set {token}.",
                **values,
            ),
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return BalcaoError(
            tr("The hub rejected the token."),
            tr("Create a new one and store it: balcao keys set {token}.", **values),
        )
    words = request.words(error.server_message or error.response.reason_phrase, 120)
    return BalcaoError(
        tr("The hub replied with status {reply}.", reply=f"{status} {words}".strip()),
        tr("Try again later. Run the command again to resume the download."),
    )


_SPARE = 100_000_000
"""Bytes to leave free on the disk."""

_MOST_WORDS = 20_000
"""Characters of the hub's words that are read."""
_COMMIT = re.compile(r"[0-9a-fA-F]{6,64}")
_WEIGHTS = "model.safetensors"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_SMALL = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|chat_template|adapter_config|manifest|model\.safetensors\.index)\.json"
    r"|tokenizer\.model|merges\.txt|chat_template\.jinja"
    r"|(LICEN[CS]E|NOTICE|USE_POLICY)(\.\w+)*"
)


@dataclass(frozen=True, slots=True)
class Hub:
    """Where to download from and to; `endpoint` None is the client's own (HF_ENDPOINT)."""

    cache: Path
    token: str = field(default="", repr=False)
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model on the hub at one commit, with the files to download; large ones have a SHA-256."""

    request: HubRequest
    commit: str
    licence: str
    files: Sequence[Input]

    @property
    def is_adapter(self) -> bool:
        """Whether this is a LoRA adapter rather than a model."""
        return not any(file.name == CONFIG for file in self.files)

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)


def look_up(hub: Hub, model: str, revision: str) -> RemoteModel:
    """Ask the hub for a model. Raises UsageError for a wrong id, otherwise BalcaoError."""
    if split_id(model) != (model, MAIN):
        example = tr("For example: balcao models pull {model}", model=OPEN_MODELS[0])
        raise not_a_hub_id(model, example)
    download.set_up_client()
    address = urlsplit((hub.endpoint or constants.ENDPOINT).rstrip("/"))
    endpoint = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    request = HubRequest(model, revision, f"{endpoint}/{model}")
    with hub_errors(request):
        token = hub.token or get_token() or ""
    request = replace(request, secrets=(token, unquote(address.password or "")))
    with hub_errors(request):
        info = HfApi(endpoint=hub.endpoint, token=token or False).model_info(
            model, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    if info.gated and not token:
        raise gated(request)
    # It becomes the name of a folder.
    if not _COMMIT.fullmatch(str(info.sha)):
        raise BalcaoError(
            tr("The hub does not name the commit of “{model}”.", model=model),
            tr("Check HF_ENDPOINT, and whether the network needs a log-in."),
        )
    files = [
        Input(one.rfilename, one.lfs.sha256 if one.lfs else "", one.size or 0)
        for one in info.siblings or ()
    ]
    licence = info.card_data.license if info.card_data else None
    return RemoteModel(
        request, str(info.sha), request.words(licence or "", 200), _select_files(model, files)
    )


def pull(hub: Hub, model: RemoteModel, show: Show) -> Path:
    """Download the missing parts of files and return the folder. Raises BalcaoError."""
    return _Download(hub, model, show).run()


def _select_files(model: str, files: Sequence[Input]) -> list[Input]:
    by_name = {file.name: file for file in files}
    one_file = next((name for name in (_WEIGHTS, ADAPTER_WEIGHTS) if name in by_name), None)
    shards = [file for file in files if _SHARD.fullmatch(file.name)]
    weights = [by_name[one_file]] if one_file else sorted(shards, key=lambda file: file.name)
    if not weights:
        formats = sorted({file.name.rpartition(".")[2] for file in files} & {"bin", "pth", "gguf"})
        only = tr(", only .{formats}", formats=tr(" and .").join(formats)) if formats else ""
        raise BalcaoError(
            tr("“{model}” does not offer safetensors{only}.", model=model, only=only),
            tr("Choose another model: other formats can run code when opened."),
        )
    small = [file for file in files if _SMALL.fullmatch(file.name)]
    return sorted(small, key=lambda file: file.bytes) + weights


class _Download:
    def __init__(self, hub: Hub, model: RemoteModel, show: Show) -> None:
        self._hub = hub
        self._model = model
        self._show = show
        self._name = model.request.model
        self._stored = hub.cache / f"models--{self._name.replace('/', '--')}"
        self._folder = self._stored / "snapshots" / model.commit
        # False keeps the client from looking for a token in other places.
        self._token = hub.token or get_token() or False
        self._done = self._done_before = sum(map(self._local_bytes, model.files))

    def run(self) -> Path:
        with hub_errors(self._model.request):
            self._check_space()
            # The small files come first and show whether the rest is worth downloading.
            for file in self._model.files:
                before = self._local_bytes(file)
                self._fetch(file)
                self._done += file.bytes - before
                self._report(self._done)
                if file.name == CONFIG:
                    self._check_architecture()
            self._write_ref()
        return self._folder

    def _check_space(self) -> None:
        missing = self._model.bytes - self._done
        remedy = tr(
            "Free some space (balcao models remove), or choose another folder with HF_HUB_CACHE."
        )
        needed = missing + _SPARE if missing else 0
        check_space(self._hub.cache, needed, tr("the download"), remedy=remedy)

    def _fetch(self, file: Input) -> None:
        # The hub has the SHA-256 of all large files; the client downloads the others in one go.
        resumable = file.sha256 and file.bytes <= constants.MAX_HTTP_DOWNLOAD_SIZE
        if resumable and not (self._folder / file.name).exists():
            self._fetch_blob(file)
        hf_hub_download(
            self._name,
            file.name,
            # Not the branch: that would write the reference before the model is complete.
            revision=self._model.commit,
            cache_dir=self._hub.cache,
            endpoint=self._hub.endpoint,
            token=self._token,
        )

    def _fetch_blob(self, file: Input) -> None:
        """Download a file into the cache's blobs, where the client then finds it."""
        url = hf_hub_url(
            self._name, file.name, revision=self._model.commit, endpoint=self._hub.endpoint
        )
        etag = get_hf_file_metadata(url, token=self._token, endpoint=self._hub.endpoint).etag
        told = etag and redact(etag, *self._model.request.secrets) != etag
        if not etag or told or Path(etag).name != etag:
            raise BalcaoError(tr("The hub does not identify its file {name}.", name=file.name))
        blob = self._stored / "blobs" / etag
        lock = self._hub.cache / ".locks" / self._stored.name / f"{etag}.lock"
        for folder in (blob.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists():
                part = self._part(file)
                others = self._done - self._local_bytes(file)
                # The client drops the token when it is redirected to another server.
                headers = build_hf_headers(token=self._token)
                download.append(url, part, file, headers, lambda size: self._report(others + size))
                part.rename(blob)

    def _check_architecture(self) -> None:
        kind = read_json(self._folder / CONFIG, Architecture).model_type
        if kind != "llama":
            raise BalcaoError(
                tr("“{model}” is a “{kind}” model, not a Llama.", model=self._name, kind=kind),
                tr("Choose a model of Llama's architecture."),
            )

    def _write_ref(self) -> None:
        revision = self._model.request.revision
        if revision != self._model.commit:
            ref = self._stored / "refs" / revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(ref, self._model.commit.encode())

    def _part(self, file: Input) -> Path:
        return self._stored / "blobs" / f"{file.sha256}.incomplete"

    def _local_bytes(self, file: Input) -> int:
        for place in (self._folder / file.name, self._part(file)):
            if place.is_file():
                return min(place.stat().st_size, file.bytes)
        return 0

    def _report(self, done: int) -> None:
        self._show(download.progress(done, self._model.bytes, self._done_before))
