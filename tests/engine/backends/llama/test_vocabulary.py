"""The vocabulary that a GGUF file takes from a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.backends.llama.tokens import read_vocabulary
from engine.core.errors import EngineUnavailable
from tests.engine.backends.llama.gguf_files import SPECIAL, USER_DEFINED, write_gguf
from tests.engine.backends.llama.tiny import Tiny


def test_byte_level_vocabulary_is_that_of_the_file_it_came_from(tmp_path: Path) -> None:
    from engine.backends.llama.unpack import unpack

    write_gguf(tmp_path / "model.gguf")
    unpack(tmp_path / "model.gguf", tmp_path)
    found = read_vocabulary(tmp_path, 484)
    assert (found["tokenizer_model"], found.get("token_scores")) == ("gpt2", None)
    assert found["token_list"][:4] == [*SPECIAL, USER_DEFINED]
    assert found["token_types"] == [3, 3, 3, 4] + [1] * 476 + [5] * 4
    assert len(set(found["token_list"])) == 484
    ids = [found[f"{name}_token_id"] for name in ("bos", "eos", "unk", "pad")]
    assert ids == [1, 2, 0, 2]
    written = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert found["tokenizer_pre"] == "smollm"  # by digits
    assert found["token_merges"] == [" ".join(pair) for pair in written["model"]["merges"]]


def test_sentencepiece_vocabulary_has_byte_tokens_and_scores(tiny: Tiny) -> None:
    found = read_vocabulary(tiny.model, 480)
    assert (found["tokenizer_model"], found.get("token_merges")) == ("llama", None)
    types = found["token_types"]
    assert [types[found[f"{name}_token_id"]] for name in ("unk", "bos", "eos")] == [2, 3, 3]
    assert types.count(6) == 256
    assert types[found["token_list"].index("<0x0A>")] == 6
    merged = sorted((score for score in found["token_scores"] if score), reverse=True)
    assert merged == [-float(rank) for rank in range(1, len(merged) + 1)]


def test_vocabulary_larger_than_the_model_is_refused(tiny: Tiny) -> None:
    with pytest.raises(EngineUnavailable, match=r"has \d+ tokens, its weights 400"):
        read_vocabulary(tiny.model, 400)
