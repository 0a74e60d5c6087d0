"""Merge a LoRA adapter into its base: one model, for programs that take no adapters.

balcao merge --base models/llama --adapter models/lora --out models/merged
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.backends.llama.adapters import find_adapter
from engine.core.errors import EngineUnavailable, UsageError
from engine.core.files import check_target
from engine.training.data import find_base, go_offline, read_data, require_packages
from scripts.common import DONE, ProgressLine, command, say_folded


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao merge",
        description="Merge a LoRA adapter into its base: one model, for vLLM, or with --gguf for"
        " llama.cpp, Ollama and LM Studio.",
    )
    add = parser.add_argument
    add("--base", required=True, metavar="MODEL", help="folder, hub id or smollm2")
    add("--adapter", required=True, metavar="DIR", help="adapter that was trained on the base")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the merged model")
    add("--data", type=Path, metavar="DIR", help="compare answers to questions of these rows")
    add(
        "--precision",
        choices=("auto", "float16", "bfloat16"),
        default="auto",
        help="of the weights; auto keeps 16 bits and writes 32 bits as float16",
    )
    add(
        "--gguf",
        nargs="?",
        const="f16",
        default="",
        choices=("f16", "q8_0", "q4_k_m"),
        metavar="KIND",
        help="write one GGUF file for llama.cpp, Ollama and LM Studio, and compare its answers:"
        " f16 (default), q8_0 or q4_k_m",
    )
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    require_packages(("torch", "transformers", "peft", "gguf", "xllamacpp"), "gpu")
    base = find_base(options.base)
    try:
        adapter = find_adapter(options.adapter, base)
    except EngineUnavailable as error:
        raise UsageError(error.message, "Set --adapter to an adapter of this base.") from error
    check_target(options.out.resolve(), "merged-model")
    if options.data:
        read_data(options.data)
    if adapter.warning:
        say_folded(f"balcao: {adapter.warning}")
    go_offline()
    from engine.training.merge import choose_prompts, merge, merge_summary

    prompts = choose_prompts(options.data)
    with ProgressLine(sys.stderr) as line:
        manifest = merge(
            base, adapter.folder, options.out, options.precision, prompts, line.show, options.gguf
        )
    print(merge_summary(options.out, manifest))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
