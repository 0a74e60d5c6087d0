"""Files made from a GGUF file, compared with llama.cpp, transformers and the library gguf."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from tokenizers import Tokenizer

from engine.backends.llama.unpack import unpack, with_safetensors
from engine.backends.llama.weights import ModelFiles, find_model
from engine.core.errors import EngineUnavailable
from engine.core.types import Progress
from tests.engine.backends.llama.gguf_files import (
    HEADS,
    HIDDEN,
    KEY_VALUE_HEADS,
    SPECIAL,
    TEMPLATE,
    WORDS,
    LlamaCpp,
    write_gguf,
)

TEXTS = [
    *WORDS[:40:4],
    "a  1   23 2024 ½ ² Ⅷ ١٢٣ 1st R$ 1.234,56",
    "  leading, trailing  \n\n\n\t\tx\r\n  y \n",
    "It's I'LL don't DON'T we’re",
    "👩‍👩‍👧‍👦 família e\u0301\u200b\u00a0日本茶 Привет",
    "def f(x):\n    return x+1  # 100%\n",
    "<|im_start|>user\n12<|im_end|>\n<tool> <|im_end",
    "",
]
ODD_TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n0129'sa<|é")),
    max_size=40,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(made)
    return made


@pytest.fixture(scope="module")
def unpacked(file: Path) -> Path:
    unpack(file, file.parent)
    return file.parent


@pytest.fixture
def model(unpacked: Path, tmp_path: Path) -> ModelFiles:
    return find_model(str(shutil.copytree(unpacked, tmp_path / "model")), "base")


def test_tokens_equal_those_of_llama_cpp(unpacked: Path) -> None:
    tokenizer = Tokenizer.from_file(str(unpacked / "tokenizer.json"))
    reference = LlamaCpp(unpacked / "model.gguf")

    @given(ODD_TEXTS)
    def check(text: str) -> None:
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokens == reference.tokenize(text)
        assert tokenizer.decode(tokens, skip_special_tokens=False) == text

    for text in TEXTS:
        assert tokenizer.encode(text, add_special_tokens=False).ids == reference.tokenize(text)
    check()


def test_transformers_reads_the_folder(unpacked: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(unpacked)
    own = Tokenizer.from_file(str(unpacked / "tokenizer.json"))
    for text in TEXTS:
        tokens = own.encode(text, add_special_tokens=False).ids
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == tokens
    assert tokenizer.chat_template == TEMPLATE
    named = (tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token)
    assert named == SPECIAL
    config = AutoConfig.from_pretrained(unpacked)
    assert (config.hidden_size, config.num_key_value_heads) == (HIDDEN, KEY_VALUE_HEADS)
    assert (config.rms_norm_eps, config.tie_word_embeddings) == (1e-5, True)
    assert config.rope_parameters["rope_theta"] == 100_000.0


def test_the_chat_finds_the_model(unpacked: Path) -> None:
    found = find_model(str(unpacked), "base")
    assert found.gguf == unpacked / "model.gguf"
    assert found.config.vocab_size == 480
    generation = json.loads((unpacked / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}


def test_weights_are_exactly_those_of_the_file(file: Path, model: ModelFiles) -> None:
    shown: list[Progress] = []
    made = with_safetensors(model, shown.append).weights[0]
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    with safe_open(made, "np") as weights:
        written = list(weights.keys())
        found = {names.get_name(name, (".weight",)): name for name in written}
        assert found.keys() == stored.keys()
        for known, name in found.items():
            tensor = stored[known]
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            heads = {"attn_q": HEADS, "attn_k": KEY_VALUE_HEADS}.get(known.split(".")[-2], 0)
            assert np.array_equal(weights.get_tensor(name), _in_halves(values, heads))
    assert shown[0].fraction == 0.0
    again = with_safetensors(model, lambda _: pytest.fail("written again"))
    assert again == find_model(str(model.folder), "base")


def _in_halves(rows: Any, heads: int) -> Any:
    """Take the rows of each head one by one: first those at even places, then the others."""
    size = len(rows) // (heads or 1)
    heads_of_rows = [rows[start : start + size] for start in range(0, len(rows), size)]
    if not heads:
        return rows
    return np.concatenate([part for head in heads_of_rows for part in (head[0::2], head[1::2])])


def test_transformers_loads_the_weights(model: ModelFiles) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    with_safetensors(model, lambda _: None)
    with torch.inference_mode():
        ours = AutoModelForCausalLM.from_pretrained(model.folder)
        theirs = AutoModelForCausalLM.from_pretrained(model.folder, gguf_file="model.gguf")
        tokens = torch.tensor([[1, 40, 77, 300]])
        assert torch.equal(ours(tokens).logits, theirs(tokens).logits)


def _refused(file: Path, folder: Path) -> str:
    with pytest.raises(EngineUnavailable) as refused:
        unpack(file, folder)
    return refused.value.message


def test_other_model_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", architecture="qwen2")
    assert "not supported" in _refused(tmp_path / "model.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_tensor_is_named(model: ModelFiles) -> None:
    write_gguf(model.folder / "model.gguf", without=["blk.1.ffn_up.weight"])
    with pytest.raises(EngineUnavailable, match=r"damaged.*layers\.1\.mlp\.up_proj\.weight"):
        with_safetensors(model, lambda _: None)
    assert not (model.folder / "model.safetensors").exists()


def test_full_disk_is_named_first(model: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(EngineUnavailable, match="Not enough disk space"):
        with_safetensors(model, lambda _: None)


def test_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "other.gguf").write_bytes(b"PK\3\4" * 100)
    assert "No such file" in _refused(tmp_path / "missing.gguf", tmp_path)
    assert "damaged" in _refused(tmp_path / "empty.gguf", tmp_path)
    assert "GGUF magic invalid" in _refused(tmp_path / "other.gguf", tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(share=st.floats(0, 0.999))
def test_truncated_file_is_refused(share: float, file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(data[: int(len(data) * share)])
    assert "cut.gguf" in _refused(cut, tmp_path / "out")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 0.2), st.binary(min_size=1, max_size=12)), min_size=1))
def test_damaged_file_raises_no_other_error(
    unpacked: Path, tmp_path: Path, damage: list[tuple[float, bytes]]
) -> None:
    sound = find_model(str(unpacked), "base")
    data = bytearray((unpacked / "model.gguf").read_bytes())
    for share, wrong in damage:
        place = int(len(data) * share)
        data[place : place + len(wrong)] = wrong
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(data)
    (tmp_path / "model.safetensors").unlink(missing_ok=True)
    with suppress(EngineUnavailable):
        unpack(broken, tmp_path)
    with suppress(EngineUnavailable):
        with_safetensors(replace(sound, folder=tmp_path, gguf=broken), lambda _: None)
