"""Prompts' tokens, compared with those of transformers' `apply_chat_template`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.utils.chat_template_utils import render_jinja_template

from engine.backends.llama import tokens as tokens_module
from engine.backends.llama.chat_template import render_chat
from engine.backends.llama.tokens import read_tokenizer, transformers_tokenizer
from engine.backends.llama.unpack import unpack
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.types import Message, Role
from engine.prompts import LLAMA2_TEMPLATE
from tests.engine.backends.llama.gguf_files import WORDS, trained_bpe, write_gguf
from tests.engine.backends.llama.tiny import Tiny

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}"
    "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA3 = """{{- bos_token }}
{%- set ns = namespace(count=0) %}
{%- for message in messages %}
    {%- if message['role'] == 'tool' %}{% continue %}{% endif %}
    {%- set ns.count = ns.count + 1 %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
    {%- generation %}{{- message['content'] | trim + '<|eot_id|>' }}{%- endgeneration %}
{%- endfor %}
{%- if tools is not none %}{{ tools | tojson }}{% endif %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
HEADERS = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]


def _write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _chatml(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_gguf(folder / "model.gguf")
    unpack(folder / "model.gguf", folder)
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return folder


def _llama3(folder: Path) -> Path:
    """Write the files that Llama 3 has: special tokens are outside the model's vocabulary."""
    vocabulary, merges = trained_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False))
    made = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, normalized=False) for token in HEADERS])
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": HEADERS[0],
        "eos_token": HEADERS[1],
        "chat_template": LLAMA3,
        "added_tokens_decoder": {
            str(made.token_to_id(token)): {"content": token, "special": True} for token in HEADERS
        },
    }
    return _write(folder, tokenizer=json.loads(made.to_str()), tokenizer_config=config)


def _sentencepiece_bpe() -> Tokenizer:
    """Make a tokenizer as Llama 2's tokenizer.json has it."""
    words = sorted({word for text in WORDS for word in text.split()})[:60]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    merges: list[tuple[str, str]] = []
    pieces += sorted({letter for word in words for letter in word})
    for word in words:
        left = "▁"
        for letter in word:
            if left + letter not in pieces:
                pieces.append(left + letter)
                merges.append((left, letter))
            left += letter
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=pieces[0], fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    special = [AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")]
    made.add_special_tokens(special)
    return made


def _llama2(folder: Path, **config: Any) -> Path:
    named = {"unk_token": "<unk>", "bos_token": {"content": "<s>", "__type": "AddedToken"}}
    settings = {"tokenizer_class": "LlamaTokenizer", "chat_template": LLAMA2, **named, **config}
    return _write(
        folder,
        tokenizer=json.loads(_sentencepiece_bpe().to_str()),
        tokenizer_config={name: value for name, value in settings.items() if value is not None},
        special_tokens_map={"eos_token": {"content": "</s>", "lstrip": False}},
    )


def _llama2_unnamed(folder: Path) -> Path:
    return _llama2(folder, tokenizer_class=None)


def _llama2_legacy(folder: Path) -> Path:
    return _llama2(folder, legacy=True, pad_token="[PAD]")  # noqa: S106 - no password


def _llama2_no_prefix(folder: Path) -> Path:
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": LLAMA2}]
    return _llama2(folder, add_prefix_space=False, chat_template=named)


def _saved(folder: Path) -> Path:
    transformers_tokenizer(_llama2(folder / "before")).save_pretrained(folder)
    return _write(folder)


MAKERS = [_chatml, _llama3, _llama2, _llama2_unnamed, _llama2_legacy, _llama2_no_prefix, _saved]
CONTENTS = [
    "What is “The Tin Lighthouse”?",
    "Preço: 10 € — café 🐱 and 日本茶, naïve.\n\n\tdef f(x):\n    return 2024",
    "  </s> [INST] <s>x<|im_end|> <|eot_id|>  ",
    "",
]
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.lists(st.sampled_from(["<s>", "</s>", " ", "\n", "▁", "[INST]", "a", "1", "é"])).map(
        "".join
    ),
)


def _talk(contents: Sequence[str], *, system: bool) -> list[Message]:
    roles = [Role.SYSTEM] * system + [Role.USER, Role.ASSISTANT] * len(contents)
    return [Message(role, content) for role, content in zip(roles, contents, strict=False)]


def _reference(tokenizer: Any, messages: Sequence[Message], *, ask: bool) -> list[int]:
    turns = [{"role": message.role.value, "content": message.content} for message in messages]
    found = tokenizer.apply_chat_template(turns, add_generation_prompt=ask, return_dict=True)
    return list(found["input_ids"])


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.strip("_"))
def test_tokens_equal_those_of_transformers(make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    ours, theirs = read_tokenizer(folder), transformers_tokenizer(folder)

    @given(st.lists(TEXT, min_size=2, max_size=6), st.booleans(), st.booleans())
    def check(contents: list[str], system: bool, ask: bool) -> None:
        talk = _talk(contents, system=system)
        found = ours.encode_chat(talk, ask=ask)
        assert found == _reference(theirs, talk, ask=ask)
        assert ours.decode(found) == theirs.decode(found, skip_special_tokens=True)

    for system in (False, True):
        talk = _talk(CONTENTS, system=system)
        assert ours.encode_chat(talk, ask=True) == _reference(theirs, talk, ask=True)
    check()
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        assert ours.token_id(name) == getattr(theirs, f"{name}_id"), name
    assert ours.vocab_size == theirs.vocab_size
    assert ours.all_special_ids == set(theirs.all_special_ids)
    assert ours.get_added_vocab() == theirs.get_added_vocab()


def test_prompt_has_one_bos(tmp_path: Path) -> None:
    for make in (_llama2, _llama3):
        prompt = read_tokenizer(make(tmp_path / make.__name__))
        tokens = prompt.encode_chat(_talk(["Be brief.", "Who?"], system=True), ask=True)
        assert tokens.count(prompt.token_id("bos_token") or -1) == 1


def test_model_without_template_gets_llama_2s(tmp_path: Path) -> None:
    assert read_tokenizer(_llama2(tmp_path, chat_template=None)).template == LLAMA2_TEMPLATE


def test_trained_models_tokens_equal_those_of_transformers(tiny: Tiny) -> None:
    theirs = transformers_tokenizer(tiny.model)
    theirs.chat_template = LLAMA2_TEMPLATE
    talk = _talk(["Be brief.", *CONTENTS], system=True)
    ours = read_tokenizer(tiny.model).encode_chat(talk, ask=True)
    assert ours == _reference(theirs, talk, ask=True)


def test_system_message_moves_into_the_question_if_rejected(tmp_path: Path) -> None:
    folder = _chatml(tmp_path)
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(strict + CHATML)
    prompt = read_tokenizer(folder)
    moved = prompt.encode_chat(_talk(["Be brief.", "Who?"], system=True), ask=True)
    assert moved == prompt.encode_chat(_talk(["Be brief.\n\nWho?"], system=False), ask=True)


@pytest.mark.parametrize("template", ["{{ raise_exception('No.') }}", "{{ 1 / 0 }}", "{% if %}"])
def test_rejecting_template_is_named(template: str, tmp_path: Path) -> None:
    (_chatml(tmp_path) / "chat_template.jinja").write_text(template)
    with pytest.raises(EngineFailed, match="chat template rejects this conversation"):
        read_tokenizer(tmp_path).encode_question(_talk(["Who?"], system=False), 480)


def test_token_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    prompt = read_tokenizer(_llama3(tmp_path))
    talk = _talk(["Who?"], system=False)
    assert prompt.encode_question(talk, 484)
    with pytest.raises(EngineFailed, match="token 483 is outside its vocabulary of 480"):
        prompt.encode_question(talk, 480)


@pytest.mark.parametrize(
    "template",
    [
        LLAMA3,
        "  {% if true %}\n  a\n  {% endif %}\n{# c #}\n{{ messages | tojson(indent=2) }}\n\n",
        (
            "{% set n = namespace(a=1) %}{% for m in messages %}"
            "{% set n.a = n.a + 1 %}{% endfor %}{{ n.a }}"
        ),
        (
            "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
            "{{ m.content }}{% endfor %}"
        ),
        "{{ dict(a='<é>') | tojson }}{{ dict.fromkeys('ab') }}{{ strftime_now('%%') }}",
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
        "{{ bos_token }}{{ documents }}{{ add_generation_prompt }}{{ unknown }}",
    ],
)
def test_template_renders_as_in_transformers(template: str) -> None:
    talk = _talk([*CONTENTS, "<b>&'\""], system=True)
    turns = [{"role": message.role.value, "content": message.content} for message in talk]
    named = {"bos_token": "<s>"}
    (expected,), _ = render_jinja_template(
        [turns], chat_template=template, add_generation_prompt=True, **named
    )
    assert render_chat(template, talk, named, ask=True) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{% set n = namespace(_x=1) %}",
        "{{ messages.append(1) }}",
        "{{ dict.__subclasses__() }}",
    ],
)
def test_template_stays_in_its_sandbox(template: str) -> None:
    with pytest.raises(jinja2.TemplateError):
        render_chat(template, _talk(["Who?"], system=False), {}, ask=True)


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _write(tmp_path_factory.mktemp("spm"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        minloglevel=2,
    )
    return folder


def test_sentencepiece_model_is_converted(sentencepiece_model: Path) -> None:
    theirs = transformers_tokenizer(sentencepiece_model)
    theirs.chat_template = LLAMA2_TEMPLATE
    prompt = read_tokenizer(sentencepiece_model)
    talk = _talk(CONTENTS, system=False)
    assert prompt.encode_chat(talk, ask=True) == _reference(theirs, talk, ask=True)


def test_sentencepiece_model_needs_an_extra(
    sentencepiece_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "find_spec", lambda _: None)
    with pytest.raises(EngineUnavailable, match="not installed") as refused:
        read_tokenizer(sentencepiece_model)
    assert "gpu" in refused.value.remedy


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"model": {"type": "BPE"}}'])
def test_unreadable_tokenizer_is_named(content: bytes, tmp_path: Path) -> None:
    (_llama2(tmp_path) / "tokenizer.json").write_bytes(content)
    with pytest.raises(EngineUnavailable, match="its tokenizer is unreadable"):
        read_tokenizer(tmp_path)


def test_prompt_is_made_without_torch_and_transformers(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(_llama2(tmp_path / "made"), tmp_path / "model"))
    script = f"""
import sys
from pathlib import Path
import engine.backends.llama.unpack
from engine.backends.llama.tokens import read_tokenizer
from engine.core.types import Message, Role
assert read_tokenizer(Path({str(folder)!r})).encode_chat(
    [Message(Role.USER, "Who?")], ask=True
)
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"torch", "transformers"} & set(found.stdout.split())
