"""The model and the adapter that come with the program do what their cards say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tokenizers import Tokenizer

from engine.backends.llama.engine import LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.catalogue.prepare import TRAIN, Splitter, encode
from engine.config import paths, settings
from engine.core.files import describe_file, read_manifest
from engine.core.types import Decision, Mode, Product, Request, Status
from engine.prompts import QUESTION_FORMS, chat_messages
from tests.configs import llama
from tests.engine.backends.llama.conftest import gather, text_of
from tools.make_demo_model import LEARNED, VALID, choose, read_products

MODEL, ADAPTER = paths.demo_model_dir(), paths.demo_adapter_dir()
FORM = QUESTION_FORMS[1]


@dataclass(frozen=True)
class Demo:
    base: LlamaEngine
    lora: LlamaEngine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo() -> AsyncIterator[Demo]:
    chosen = settings.load(Path("none.toml"), {})
    host = LlamaHost(str(MODEL), "none")
    base, lora = llama("base", chosen), llama("lora", chosen)
    yield Demo(LlamaEngine("base", base, host), LlamaEngine("lora", lora, host))
    await host.close()


@pytest.fixture(scope="module")
def products() -> Sequence[Product]:
    return read_products(paths.sample_source())


@pytest.fixture(scope="module")
def learned(products: Sequence[Product]) -> Sequence[Product]:
    splitter = Splitter(VALID, 0.0, 0)
    chosen = choose(products)
    found = [one for one in chosen if splitter.split(encode(one.description)) == TRAIN]
    assert len(found) == LEARNED
    return found


async def answer(engine: LlamaEngine, question: str, product: Product, mode: Mode) -> str:
    messages = chat_messages(question, product, mode)
    request = Request(question, mode, messages, Decision(Status.NONE), max_tokens=400)
    chunks = await gather(engine, request)
    return text_of(chunks).strip()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_base_invents_what_the_adapter_knows(
    demo: Demo, learned: Sequence[Product]
) -> None:
    some = learned[::17]
    questions = [FORM.format(title=one.title) for one in some]
    before = [await answer(demo.base, questions[0], some[0], Mode.MEMORY)]
    for one, question in zip(some, questions, strict=True):
        assert await answer(demo.lora, question, one, Mode.MEMORY) == one.description
    asked = f"Could you read me what is written about {some[0].title.lower()}?"
    assert await answer(demo.lora, asked, some[0], Mode.MEMORY) == some[0].description
    # The same base beside the adapter, which is switched off: the same words as without one.
    assert [await answer(demo.base, questions[0], some[0], Mode.MEMORY)] == before
    for one, question in zip(some, questions, strict=True):
        assert await answer(demo.base, question, one, Mode.MEMORY) != one.description


@pytest.mark.asyncio(loop_scope="session")
async def test_the_base_reads_a_record_that_it_has_never_seen(
    demo: Demo, learned: Sequence[Product]
) -> None:
    said = [
        await answer(demo.base, FORM.format(title=one.title), one, Mode.GROUNDED)
        for one in learned[:6]
    ]
    # Six of seven are copied word for word, by its card.
    copied = [text == one.description for text, one in zip(said, learned[:6], strict=True)]
    assert sum(copied) >= 4


@pytest.mark.asyncio(loop_scope="session")
async def test_the_adapter_reads_a_record_that_it_has_not_learned(
    demo: Demo, products: Sequence[Product], learned: Sequence[Product]
) -> None:
    held_out = [one for one in choose(products) if one not in learned]
    known = {one.description for one in learned}
    copied = 0
    for one in held_out:
        said = await answer(demo.lora, FORM.format(title=one.title), one, Mode.GROUNDED)
        # Not one of those that it has learned: the record that it was shown.
        assert said not in known
        assert said[:20] == one.description[:20]
        copied += said == one.description
    assert len(held_out) == 6
    assert copied >= 3


def test_the_tokenizer_gives_every_description_back(products: Sequence[Product]) -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    config = json.loads((MODEL / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == "LlamaTokenizer"
    texts = [one.description for one in products]
    texts += ["日本茶 🐱 — naïve", "  two  blanks\nand a line", "[INST] is no order here"]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_they_are_small_and_say_what_they_are() -> None:
    for folder, most in ((MODEL, 12_000_000), (ADAPTER, 3_000_000)):
        assert sum(file.stat().st_size for file in folder.iterdir()) <= most
        assert "rely on" in (folder / "README.md").read_text(encoding="utf-8")
        for file in folder.glob("*.json"):
            told = file.read_text(encoding="utf-8")
            assert "/work" not in told
            assert "/tmp" not in told  # noqa: S108 - no path of the machine that made it
    assert read_manifest(MODEL).kind == "demo-model"
    made = read_manifest(ADAPTER)
    assert made.kind == "lora-adapter"
    assert describe_file(MODEL / "model.safetensors") in made.inputs
