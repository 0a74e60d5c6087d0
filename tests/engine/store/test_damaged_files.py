"""Flipped bits in the user's files end in one sentence, and the chat goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.attack.history import attack_files, attack_history, make_files, make_history


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_history(folder / "history")
    make_files(folder / "files")
    return folder


# With 18 and 25, SQLite reports the damage in words that are no UTF-8.
@pytest.mark.parametrize("seed", [18, 25, 300, 301])
def test_a_damaged_history_does_not_end_the_chat(
    made: Path, catalogue_dir: Path, seed: int
) -> None:
    attack_history(made / "history", catalogue_dir, seed)


@pytest.mark.parametrize("seed", range(2))
def test_damaged_settings_keys_and_exports_are_one_error(made: Path, seed: int) -> None:
    attack_files(made / "files", seed)
