"""Makes the demo model's tokenizer: sentencepiece BPE with bytes for what it has not met.

Imports sentencepiece and transformers: imported late.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken
from transformers import LlamaTokenizer

from engine.core.types import Product
from engine.prompts import SYSTEM
from tools.demo.texts import FORMS

ASK_BEGINS, ASK_ENDS = "[INST]", "[/INST]"
HEAD = f"<<SYS>>\n{SYSTEM}\n<</SYS>>"
"""The system prompt, which is one token of this tokenizer: it stands before every question, and a
small model on a slow machine has better things to read."""

TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>' %}"
    "{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST]' + (system if loop.first else '') + ' ' + message['content']"
    " + ' [/INST]' }}"
    "{% else %}"
    "{{ ' ' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
"""As Llama 2's, but that blanks stand where a word's first token has one anyway."""

_PIECES = 3064
_OWN_WORDS = 50
"""How often the prompt's own words are repeated, so that they get tokens."""


def make_tokenizer(products: Sequence[Product], folder: Path) -> Any:  # noqa: ANN401 - untyped library
    """Train on the words of `products`, write the tokenizer into `folder` and return it."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_texts(products)),
        model_writer=made,
        model_type="bpe",
        vocab_size=_PIECES,
        byte_fallback=True,
        character_coverage=1.0,
        # The text is to come back as it was: nothing is folded, no blank is added or taken.
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_digits=True,
        max_sentence_length=20_000,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    file = folder / "tokenizer.model"
    file.write_bytes(made.getvalue())
    tokenizer = LlamaTokenizer.from_pretrained(folder, legacy=False, add_prefix_space=False)
    file.unlink()  # tokenizer.json has all of it, and the whole-sentence token as well
    tokenizer.add_tokens(
        [AddedToken(text, normalized=False, special=False) for text in (ASK_BEGINS, ASK_ENDS, HEAD)]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def _texts(products: Sequence[Product]) -> list[str]:
    texts = [
        text for one in products for text in (one.description, f" {one.title}", one.title.lower())
    ]
    texts += [form.format(title=products[place].title) for form in FORMS for place in range(30)]
    return texts + ["The catalogue's record:", "Title:", "Description:"] * _OWN_WORDS
