"""A catalogue that is damaged or read-only answers, or is refused in words, and can be repaired."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogue import index
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index, ensure_sample, update_index
from engine.core.errors import CatalogueError
from engine.core.files import MANIFEST
from engine.core.types import Status
from scripts.index import main as index_command
from tests.engine.catalogue.conftest import products
from tools.attack.index import damage, index_files, probe

pytestmark = pytest.mark.usefixtures("encoder_at_hand")

UIDS = [one.uid for one in products()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "index"
    build_index(products(), folder)
    return folder


@settings(max_examples=settings().max_examples // 4)
@given(draw=st.randoms(use_true_random=False))
def test_a_damaged_index_answers_or_is_refused(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, draw: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "index"
    shutil.copytree(whole, folder)
    damage(folder, draw)
    assert list(probe(folder, UIDS))
    shutil.rmtree(folder)


def flipped(folder: Path, name: str) -> None:
    """Flip a bit in every eighth byte of a file, apart from its end."""
    (file,) = folder.glob(name)
    data = bytearray(file.read_bytes())
    for place in range(0, len(data) - 200, 8):
        data[place] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["titles/*.term", "words/*.store", "products.db"])
def test_a_flipped_file_is_told_with_the_command_that_builds_it(
    whole: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(whole, folder)
    flipped(folder, name)
    refused = [told for told in probe(folder, UIDS) if told.startswith("refused")]
    assert refused
    assert all(f"balcao index trn.json.gz --out {folder}" in told for told in refused)


@pytest.fixture
def _words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is built without vectors, which take seconds."""
    monkeypatch.setattr(index, "_has_encoder", lambda: False)


@pytest.mark.usefixtures("_words_only")
@pytest.mark.parametrize("name", ["titles/*.term", "titles/meta.json", "words/*.store", MANIFEST])
def test_the_sample_is_repaired_by_the_command_that_is_told(name: str) -> None:
    folder = ensure_sample()
    before = list(probe(folder, UIDS))
    (file,) = folder.glob(name)
    file.write_bytes(b"\xff" + file.read_bytes()[1:-100])
    with pytest.raises(CatalogueError, match="balcao index --sample"):
        Catalogue.open(folder)
    assert index_command(["--sample"]) == 0
    assert list(probe(folder, UIDS)) == before


@pytest.mark.usefixtures("_words_only")
def test_a_manifest_of_the_sample_that_is_not_utf8_is_replaced_at_the_start() -> None:
    file = ensure_sample() / MANIFEST
    file.write_bytes(file.read_bytes().replace(b"catalogue", b"catalog\xff\xfe"))
    with closing(Catalogue.open(ensure_sample())) as opened:
        assert opened.find("Saffron and Smoke").status is Status.EXACT


def test_a_folder_with_a_damaged_manifest_must_be_moved_away(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(whole, folder)
    (folder / MANIFEST).write_bytes(b"{}")
    with pytest.raises(CatalogueError, match="damaged") as caught:
        Catalogue.open(folder)
    assert caught.value.remedy.startswith("Move it away")


def test_a_damaged_index_cannot_be_updated(whole: Path, tmp_path: Path) -> None:
    for name in ("titles/*.term", "titles/meta.json", "products.db"):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(whole, folder)
        flipped(folder, name) if name != "titles/meta.json" else (folder / name).write_text("{}")
        with pytest.raises(CatalogueError):
            update_index(products(), folder)


@pytest.fixture
def locked_out(whole: Path, tmp_path: Path) -> Iterator[Path]:
    """A catalogue whose files and folders cannot be written."""
    folder = tmp_path / "index"
    shutil.copytree(whole, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_catalogue_that_cannot_be_written_answers(whole: Path, locked_out: Path) -> None:
    assert list(probe(locked_out, UIDS)) == list(probe(whole, UIDS))


_READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
! touch "$1/x" 2>/dev/null || exit 77
exec "$2" -c "$3" "$1"
"""
_PROBE = """
import sys
from pathlib import Path
from tests.engine.catalogue.test_damage import UIDS, probe
print("\\n".join(probe(Path(sys.argv[1]), UIDS)))
"""


def test_a_catalogue_on_a_read_only_disk_answers(whole: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs Linux")
    as_root = ["unshare", "--map-root-user", "--mount", "sh", "-c", _READ_ONLY, "sh"]
    run = subprocess.run(
        [*as_root, str(whole), sys.executable, _PROBE], capture_output=True, text=True, check=False
    )
    if run.returncode in (1, 77) and not run.stdout:
        pytest.skip(f"cannot mount: {run.stderr}")
    assert run.stdout.splitlines() == list(probe(whole, UIDS)), run.stderr


def test_others_may_read_what_they_may_read_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        build_index(products()[:4], tmp_path / "index")
        update_index(products()[4:6], tmp_path / "index")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in index_files(tmp_path / "index")}
    assert set(modes.values()) == {0o644}, modes


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_called_damaged(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(whole, folder)
    (folder / "titles" / "meta.json").chmod(0)
    with pytest.raises(CatalogueError, match=r"meta.json: Permission denied") as caught:
        Catalogue.open(folder)
    assert "permissions" in caught.value.remedy
