"""A base that is only a GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends.llama.unpack import unpack, with_safetensors
from engine.core.types import Progress
from engine.training.data import find_base
from tests.engine.backends.llama.gguf_files import write_gguf


def test_weights_of_a_gguf_file_are_made_once_for_training(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf")
    unpack(tmp_path / "model.gguf", tmp_path)
    base = find_base(str(tmp_path))
    assert base.weights == ()
    shown: list[Progress] = []
    with_safetensors(base, shown.append)
    assert shown
    base = find_base(str(tmp_path))
    assert base.weights == (tmp_path / "model.safetensors",)
    with_safetensors(base, lambda _: pytest.fail("made again"))
