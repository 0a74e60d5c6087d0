"""Merge a LoRA adapter into its base: one model, for servers that take no adapters.

balcao merge --base models/llama --adapter models/lora --out models/merged
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.backends.llama.adapters import find_adapter
from engine.core.errors import EngineUnavailable, UsageError
from engine.training.data import find_base, go_offline, require_packages
from scripts.common import DONE, ProgressLine, command, say


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao merge",
        description="Merge a LoRA adapter into its base: one model, for vLLM or llama.cpp.",
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
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    require_packages(("torch", "transformers", "peft"), "gpu")
    base = find_base(options.base)
    try:
        adapter = find_adapter(options.adapter, base)
    except EngineUnavailable as error:
        raise UsageError(error.message, "Set --adapter to an adapter of this base.") from error
    if adapter.warning:
        say(f"balcao: {adapter.warning}")
    go_offline()
    from engine.training.merge import choose_prompts, merge, merge_summary

    prompts = choose_prompts(options.data)
    with ProgressLine(sys.stderr) as line:
        manifest = merge(base, adapter.folder, options.out, options.precision, prompts, line.show)
    print(merge_summary(options.out, manifest))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
