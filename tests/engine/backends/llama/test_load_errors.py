"""Errors in folders that show only when they are loaded."""

from __future__ import annotations

import json

import pytest

from engine.core.errors import EngineError, EngineUnavailable
from tests.engine.backends.llama.conftest import Copy, engine, gather, request_of, text_of
from tests.engine.backends.llama.make_model import BASE, HELLO
from tests.engine.backends.llama.tiny import Tiny

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _failure(**row: str) -> EngineError:
    """Return the error of loading; check that nothing stays loaded."""
    failing = engine(**row)
    assert failing.availability().ready
    try:
        with pytest.raises(EngineError) as failure:
            async for _ in failing.load():
                pass
        assert not failing.loaded
    finally:
        await failing.unload()
    assert "\n" not in str(failure.value)
    return failure.value


async def test_tokenizer_of_another_model(copy: Copy) -> None:
    model = copy("model")
    file = model / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: n for token, n in vocabulary.items() if n < 259}
    content["model"]["merges"] = []
    file.write_text(json.dumps(content), encoding="utf-8")
    error = await _failure(model=str(model))
    assert "its tokenizer has 259 tokens" in error.message


async def test_invalid_tokenizer(copy: Copy) -> None:
    model = copy("model")
    (model / "tokenizer.json").write_text("{}", encoding="utf-8")
    error = await _failure(model=str(model))
    assert isinstance(error, EngineUnavailable)
    assert f"Cannot use the model in {model}: its tokenizer is unreadable" in error.message


async def test_missing_tensor(copy: Copy) -> None:
    model = copy("model")
    file = model / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"model.norm.weight"', b'"model.nrom.weight"'))
    error = await _failure(model=str(model))
    assert "its weights lack 1 tensors, such as model.norm.weight" in error.message


async def test_model_larger_than_the_memory(copy: Copy) -> None:
    model = copy("model")
    size = 1 << 40
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    with (model / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + size)  # a hole: it takes no room on the disk
    error = await _failure(model=str(model))
    assert error.message.startswith("The model needs about 1099.5 GB of memory, and ")


async def test_invalid_adapter_leaves_the_base_usable(tiny: Tiny, copy: Copy) -> None:
    adapter = copy("adapter")
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"r": config["r"] // 2}), encoding="utf-8")
    base = engine(model=str(tiny.model))
    tuned = engine("lora", model=str(tiny.model), adapter=str(adapter))
    tuned._host = base._host
    try:
        with pytest.raises(EngineUnavailable, match="Cannot use the adapter"):
            await gather(tuned, request_of(HELLO))
        assert text_of(await gather(base, request_of(HELLO))) == BASE[HELLO]
    finally:
        await base.unload()
