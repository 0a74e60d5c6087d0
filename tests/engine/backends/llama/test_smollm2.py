"""The small Llama itself, where `balcao models pull smollm2` has put it into the user's cache."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import platformdirs
import pytest
import pytest_asyncio

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.config.paths import SMALL, sample_source, small_adapter_dir
from engine.core.trained_products import read_trained_products
from engine.core.types import StopReason
from engine.prompts import QUESTION_FORMS
from tests.engine.backends.llama.conftest import gather, request_of, text_of

# Not `paths.small_model_dir`: the tests have a home of their own.
FOLDER = Path(platformdirs.user_cache_dir("balcao")) / "models" / SMALL

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (FOLDER / "manifest.json").exists(), reason="`balcao models pull smollm2` has not run"
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base() -> AsyncIterator[LlamaEngine]:
    host = LlamaHost(str(FOLDER), "auto", "llama.cpp")
    yield LlamaEngine("base", LlamaConfig(model=str(FOLDER)), host)
    await host.close()


@pytest.mark.parametrize(
    ("question", "answer"),
    [("What is the capital of France?", "Paris"), ("What colour is the sky?", "blue")],
)
async def test_the_base_knows_what_a_small_model_knows(
    base: LlamaEngine, question: str, answer: str
) -> None:
    chunks = await gather(base, request_of(question))
    assert answer in text_of(chunks)
    assert chunks[-1].stop_reason is StopReason.COMPLETE


async def test_the_shipped_adapter_says_a_product_that_it_has_learned(base: LlamaEngine) -> None:
    folder = small_adapter_dir()
    trained = read_trained_products(folder)
    assert trained is not None
    rows = (json.loads(line) for line in sample_source().read_bytes().splitlines())
    row = next(row for row in rows if row["title"] == trained.titles[0])
    tuned = LlamaEngine("lora", LlamaConfig(model=str(FOLDER), adapter=str(folder)), base._host)
    question = QUESTION_FORMS[1].format(title=row["title"])
    assert text_of(await gather(tuned, request_of(question))) == row["content"]
