"""A model in 4 bits, which also runs on a CPU."""

from __future__ import annotations

import sys

import pytest

from tests.engine.backends.llama.conftest import engine, gather, request_of, text_of
from tests.engine.backends.llama.make_model import HELLO
from tests.engine.backends.llama.tiny import Tiny

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.skipif(sys.platform == "darwin", reason="bitsandbytes is not installed there")
async def test_adapter_leaves_the_quantized_base_unchanged(tiny: Tiny) -> None:
    base = engine(model=str(tiny.model), quantization="nf4")
    tuned = engine("lora", model=str(tiny.model), adapter=str(tiny.adapter), quantization="nf4")
    tuned._host = base._host
    try:
        before = text_of(await gather(base, request_of(HELLO, max_tokens=20)))
        between = text_of(await gather(tuned, request_of(HELLO, max_tokens=20)))
        after = text_of(await gather(base, request_of(HELLO, max_tokens=20)))
    finally:
        await base.unload()
    assert before == after != between
