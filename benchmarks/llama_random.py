"""Write a random Llama in a known model's shape, with a tokenizer and adapters, for benchmarks.

python -m benchmarks.llama_random FOLDER [--shape llama-2-7b]

TinyLlama-1.1B takes 2.2 GB and half a minute; Llama-2-7b takes 13.5 GB and needs a GPU.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from engine.config import paths
from engine.prompts import SYSTEM

VOCABULARY, WORDS = 32_000, 8_000
RANK = 8
ADAPTERS = 3
SHARD = "10GB"
"""The size of Llama 2's own shards."""

SHAPES = {
    "tinyllama-1.1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
    },
    "llama-2-7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    },
}
"""From the models' own config.json."""


def main() -> None:
    """Write `model`, `adapter0`, `adapter1` and `adapter2` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="tinyllama-1.1b")
    given = parser.parse_args()
    folder: Path = given.folder
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        bos_token_id=1,
        eos_token_id=2,
        rms_norm_eps=1e-5,
        **SHAPES[given.shape],
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "model", max_shard_size=SHARD)
    _tokenizer().save_pretrained(folder / "model")
    for number in range(ADAPTERS):
        _write_adapter(folder / f"adapter{number}", config)


def _tokenizer() -> Any:  # noqa: ANN401 - untyped library
    """Train a tokenizer on the sample catalogue; fill the vocabulary with unused words."""
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    lines = paths.sample_source().read_text(encoding="utf-8").splitlines()
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [SYSTEM, *lines],
        trainers.BpeTrainer(
            vocab_size=WORDS, special_tokens=special, initial_alphabet=letters, show_progress=False
        ),
    )
    content = json.loads(tokenizer.to_str())
    names = content["model"]["vocab"]
    names |= {f"w{number}": number for number in range(len(names), VOCABULARY)}
    unknown, begin, end = special
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        unk_token=unknown,
        bos_token=begin,
        eos_token=end,
    )


def _write_adapter(folder: Path, config: LlamaConfig) -> None:
    folder.mkdir(parents=True)
    keys = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    hidden, inner = config.hidden_size, config.intermediate_size
    sizes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    weights = {}
    for layer in range(config.num_hidden_layers):
        for part, (inputs, outputs) in sizes.items():
            name = f"base_model.model.model.layers.{layer}.{part}"
            weights[f"{name}.lora_A.weight"] = torch.randn(RANK, inputs) * 0.01
            weights[f"{name}.lora_B.weight"] = torch.randn(outputs, RANK) * 0.01
    save_file(weights, folder / "adapter_model.safetensors")
    values = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": sorted({part.rpartition(".")[2] for part in sizes}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")


if __name__ == "__main__":
    main()
