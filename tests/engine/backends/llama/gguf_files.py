"""Write tiny GGUF files with a trained vocabulary, and ask llama.cpp for its tokens."""

from __future__ import annotations

import json
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.conftest import ROWS

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER_DEFINED = "<tool>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HIDDEN, WIDE, LAYERS, HEADS, KEY_VALUE_HEADS = 64, 96, 2, 4, 2

WORDS = [text for row in ROWS for text in row[1:]] * 4 + [
    "it's 2024, they'll pay R$ 1.234,56 for 12 000 apples",
    "    return x + 1\n\n        if a:\n    pass  \n",
    "Ação e reação — naïve, 日本茶 e 🐱",
] * 4


def trained_bpe(pre_tokenizer: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train a byte-level BPE of 480 tokens; return its tokens and merges."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=[*SPECIAL, USER_DEFINED],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(WORDS, trainer)
    model = json.loads(made.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def write_gguf(file: Path, **changed: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Write a Llama of random weights; return its tensors as they were before quantizing."""
    vocabulary, merges = trained_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    with closing(gguf.GGUFWriter(file, changed.get("architecture", "llama"))) as writer:
        writer.add_block_count(LAYERS)
        writer.add_context_length(640)
        writer.add_embedding_length(HIDDEN)
        writer.add_feed_forward_length(WIDE)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KEY_VALUE_HEADS)
        writer.add_rope_freq_base(100_000.0)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(HIDDEN // HEADS)
        writer.add_vocab_size(len(tokens))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        types = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.USER_DEFINED]
        writer.add_token_types(types + [gguf.TokenType.NORMAL] * (len(tokens) - len(types)))
        writer.add_token_merges([" ".join(pair) for pair in merges])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_pad_token_id(2)
        writer.add_add_bos_token(False)
        writer.add_chat_template(TEMPLATE)
        tensors = _random_tensors(len(tokens))
        for name in changed.get("without", ()):
            del tensors[name]
        for name, (values, kind) in tensors.items():
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    return {name: values for name, (values, _) in tensors.items()}


def _random_tensors(rows: int) -> dict[str, tuple[np.ndarray[Any, Any], Any]]:
    kinds = gguf.GGMLQuantizationType
    random = np.random.default_rng(5)

    def matrix(*shape: int) -> np.ndarray[Any, Any]:
        return random.normal(0.0, 0.1, shape).astype(np.float32)

    keys = HIDDEN // HEADS * KEY_VALUE_HEADS
    tensors = {
        "token_embd.weight": (matrix(rows, HIDDEN), kinds.Q8_0),
        "output_norm.weight": (matrix(HIDDEN), kinds.F32),
    }
    for layer in range(LAYERS):
        shapes = {
            "attn_norm": (HIDDEN,),
            "attn_q": (HIDDEN, HIDDEN),
            "attn_k": (keys, HIDDEN),
            "attn_v": (keys, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN),
            "ffn_norm": (HIDDEN,),
            "ffn_gate": (WIDE, HIDDEN),
            "ffn_up": (WIDE, HIDDEN),
            "ffn_down": (HIDDEN, WIDE),
        }
        for name, shape in shapes.items():
            kind = kinds.F32 if len(shape) == 1 else (kinds.Q4_1, kinds.F16)[layer]
            tensors[f"blk.{layer}.{name}.weight"] = (matrix(*shape), kind)
    return tensors


class LlamaCpp:
    """llama.cpp's server with one model, in this process."""

    def __init__(self, file: Path) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(file)
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 128
        parameters.cache_ram_mib = 0
        parameters.warmup = False
        parameters.verbosity = -1
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = 1
        self._server = xllamacpp.Server(parameters)

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text, special ones recognised, without BOS."""
        asked = {"content": text, "add_special": False, "parse_special": True}
        return list(self._post("tokenize", asked)["tokens"])

    def detokenize(self, tokens: list[int]) -> str:
        """Return the text of tokens."""
        return str(self._post("detokenize", {"tokens": tokens})["content"])

    def _post(self, name: str, asked: dict[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310 - of this process
            f"{self._server.listening_address}/{name}", json.dumps(asked).encode()
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310 - as above
            return json.load(response)
