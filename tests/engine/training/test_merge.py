"""A merged model answers like base and adapter, and is written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.backends.llama.weights import find_model, read_header
from engine.core.files import describe_file, read_manifest
from engine.core.types import Mode
from engine.prompts import chat_messages
from tests.engine.backends.llama.conftest import engine, gather, request_of, text_of
from tests.engine.backends.llama.make_model import HELLO, LONG, UNUSUAL
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner


@pytest.fixture(scope="module")
def merged(runner: Runner, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "model"
    ended = runner.run(
        "merge", "--base", tiny.model, "--adapter", tiny.adapter, "--out", out, "--precision",
        "bfloat16",
    )  # fmt: skip
    assert ended.status == 0, ended.log
    assert "of 8 equal those of base and adapter, token for token" in ended.log
    assert {one.name for one in out.parent.iterdir()} == {"model", ".model.lock"}
    return out


async def test_the_chat_hears_from_it_what_the_adapter_says(tiny: Tiny, merged: Path) -> None:
    chat = engine("base", model=str(merged))
    try:
        for question in (HELLO, LONG, UNUSUAL):
            said = text_of(await gather(chat, request_of(question))).strip()
            assert said == tiny.expected["tuned"][question]["text"].strip()
    finally:
        await chat.unload()


def test_it_is_a_whole_model_of_16_bits(tiny: Tiny, merged: Path) -> None:
    found = find_model(str(merged), "base")
    assert {one.dtype for one in read_header(found.weights[0]).values()} == {"BF16"}
    assert not [name for name in read_header(found.weights[0]) if "lora" in name]
    assert json.loads((merged / "tokenizer_config.json").read_bytes())["tokenizer_class"]
    template = (merged / "chat_template.jinja").read_text(encoding="utf-8")
    assert "<<SYS>>" in template
    assert "generation" not in template
    assert json.loads((merged / "generation_config.json").read_bytes())["do_sample"] is False
    made = read_manifest(merged)
    assert made.kind == "merged-model"
    assert describe_file(tiny.adapter / "adapter_model.safetensors") in made.inputs
    assert made.settings["agreement"]["agreed"] > 0.98
    assert 0 < made.settings["agreement"]["difference"] < 1
    assert "library_name: transformers" in (merged / "README.md").read_text(encoding="utf-8")


async def test_a_gguf_file_answers_in_llama_cpp_and_in_the_chat(
    runner: Runner, tiny: Tiny, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    given = "--base", tiny.model, "--adapter", tiny.adapter, "--out", out, "--gguf"
    ended = runner.run("merge", *given)
    assert ended.status == 0, ended.log
    # By the file's own chat template and tokenizer, as Ollama and LM Studio ask it.
    assert "llama.cpp 8 of 8 answers are the same" in ended.log
    assert not list(out.glob("*.safetensors*"))
    system = chat_messages("", None, Mode.MEMORY)[0].content
    assert (out / "Modelfile").read_text(encoding="utf-8").endswith(f'SYSTEM """{system}"""\n')
    chat = engine("base", model=str(out), runtime="llama.cpp")
    try:
        said = text_of(await gather(chat, request_of(HELLO))).strip()
        assert said == tiny.expected["tuned"][HELLO]["text"].strip()
    finally:
        await chat.unload()


@pytest.mark.parametrize("trouble", ["quantized", "another shape", "no adapter", "taken"])
def test_what_cannot_be_merged_is_refused(
    runner: Runner, tiny: Tiny, tmp_path: Path, trouble: str
) -> None:
    base, out = Path(shutil.copytree(tiny.model, tmp_path / "base")), tmp_path / "out"
    config = json.loads((base / "config.json").read_bytes())
    adapter, words = tiny.adapter, "is quantized"
    if trouble == "quantized":
        config["quantization_config"] = {"load_in_4bit": True}
    elif trouble == "another shape":
        config["intermediate_size"], words = 256, "trained on another base"
    elif trouble == "no adapter":
        adapter, words = base, "missing"
    else:
        out, words = base, "is not empty and was not written"
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    ended = runner.run("merge", "--base", base, "--adapter", adapter, "--out", out)
    assert ended.status == 2, ended.log
    assert words in ended.log
    assert sorted(tmp_path.rglob("*")) == before
