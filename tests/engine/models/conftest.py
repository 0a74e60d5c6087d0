"""A fake hub with a model of random weights, large enough to interrupt."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from engine.config.paths import hub_cache
from engine.models.pull import Hub
from tests.engine.models.hub import FakeHub, running

MEGABYTE = 1 << 20
CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 480,
}


def safetensors(size: int, seed: int = 0, dtype: str = "BF16") -> bytes:
    """Return a safetensors file with one tensor of `size` bytes."""
    width = {"BF16": 2, "F32": 4}[dtype]
    tensor = {"dtype": dtype, "shape": [size // width], "data_offsets": [0, size]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + _noise(seed, size)


@cache
def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - to tell one file from another


def files_of(config: dict[str, object] | None = None) -> dict[str, bytes]:
    return {
        "README.md": b"read me",
        "model.safetensors": safetensors(12 * MEGABYTE),
        "pytorch_model.bin": b"pickle",
        "original/consolidated.00.pth": b"pickle",
        "run.py": b"print('owned')",
        "config.json": json.dumps(CONFIG | (config or {})).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "LICENSE.txt": b"free",
    }


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running(FakeHub(files=files_of(), large={"model.safetensors"})) as server:
        yield server


@pytest.fixture
def to(hub: FakeHub) -> Hub:
    """The fake hub and the cache."""
    return Hub(hub_cache(), endpoint=hub.url)


def blobs(hub: FakeHub) -> Path:
    return hub_cache() / f"models--{hub.model.replace('/', '--')}" / "blobs"
