"""What the program writes for its user can be read by nobody else, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.catalogue.index import ensure_sample
from engine.chat import export
from engine.config import keys, paths
from engine.config.edit import add_adapter, add_tuned, save
from engine.config.settings import load
from engine.store.conversations import ConversationStore
from engine.training.runs.status import register_run
from tests.engine.store.test_store_history import said
from tui import clipboard
from tui.app import crash_report

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes of a POSIX system"),
    pytest.mark.usefixtures("no_umask"),
]

ADDRESS = "https://me:hunter2@example.org/v1"


def converse() -> None:
    with closing(ConversationStore(paths.conversations_file())) as store:
        said(store, "first", "a")
        export.write_all(store, paths.exports_dir())
        export.write_conversation(store, 1, {}, paths.exports_dir(), "md")


WRITERS: dict[str, Callable[[], object]] = {
    "history": converse,
    "sample": ensure_sample,
    "settings": lambda: save({"engine": "base"}),
    "tuned": lambda: add_tuned("ft:x", "x", ADDRESS, "OPENAI_API_KEY"),
    "adapter": lambda: add_adapter("smollm2", Path("adapter")),
    "keys": lambda: keys.store("OPENAI_API_KEY", "sk-1", in_file=True),
    "runs": lambda: register_run(paths.data_dir()),
    "crash": crash_report,
    "copied": lambda: clipboard.copy_to_file("text"),
}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("writer", WRITERS)
def test_new_files_and_folders_are_private(writer: str) -> None:
    WRITERS[writer]()
    home = paths.data_dir().parent
    # The sample and the unpacked encoder have nothing of the user.
    public = {paths.sample_catalogue_dir(), paths.cache_dir() / "encoder"}
    written = [
        path for path in (home, *home.rglob("*")) if public.isdisjoint((path, *path.parents))
    ]
    assert len(written) > 1
    assert [path for path in written if path.suffix != ".lock" and mode(path) & 0o077] == []


def test_those_of_an_older_version_become_private() -> None:
    def write(engine: str) -> None:
        converse()
        save({"engine": engine})
        add_tuned(engine, "x", ADDRESS, "OPENAI_API_KEY")

    write("base")
    files = (paths.conversations_file(), paths.settings_file(), paths.engines_file())
    folders = (paths.data_dir(), paths.config_dir(), paths.exports_dir())
    for path in files:
        path.chmod(0o644)
    for path in folders:
        path.chmod(0o755)
    write("lora")
    assert {mode(path) for path in files} == {0o600}
    assert {mode(path) for path in folders} == {0o700}


def test_a_file_that_the_user_names_has_the_users_modes(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    export.write_file(file, ["{}"])
    assert mode(file) == 0o666
    file.chmod(0o640)
    export.write_file(file, ["{}"])
    assert mode(file) == 0o640


def test_the_password_of_an_address_is_in_a_private_file_only() -> None:
    engine = add_tuned("ft:x", "x", ADDRESS, "OPENAI_API_KEY")
    assert load().engines[engine]["base_url"] == ADDRESS
    found = [path for path in paths.config_dir().iterdir() if b"hunter2" in path.read_bytes()]
    assert [mode(path) for path in found] == [0o600]
