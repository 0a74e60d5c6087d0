"""Put a LoRA adapter into its base: one model, for servers that take no adapters.

balcao merge --base models/llama --adapter models/lora --out models/merged
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from engine.config import paths
from engine.core.errors import EngineUnavailable, UsageError
from engine.training.merge import Precision, merge, merged_text, questions_of
from engine.training.train import Base
from scripts.common import DONE, ProgressLine, guarded, say


def make_parser() -> argparse.ArgumentParser:
    """The options of `balcao merge`."""
    parser = argparse.ArgumentParser(
        prog="balcao merge",
        description="Put a LoRA adapter into its base: one model, for vLLM or llama.cpp.",
    )
    parser.add_argument("--base", required=True, metavar="MODEL", help="folder, hub id or demo")
    parser.add_argument("--adapter", required=True, metavar="DIR", help="what was trained on it")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the merged model's")
    parser.add_argument("--data", type=Path, metavar="DIR", help="ask questions of these rows")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="of the weights; auto: the base's own, float16 for one of 32 bits",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when done, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    base, adapter = _found(options.base, options.adapter)
    prompts = questions_of(options.data)
    with ProgressLine(sys.stderr) as line:
        made = merge(base, adapter, options.out, options.precision, prompts, line.show)
    print(merged_text(options.out, made))
    return DONE


def _found(model: str, adapter: str) -> tuple[Base, Path]:
    """The two on disk, checked as the chat checks them."""
    from engine.backends.llama.adapters import find_adapter
    from engine.backends.llama.weights import find_model

    try:
        found = find_model(paths.model_named(model), "base")
        tuned = find_adapter(adapter, found)
    except EngineUnavailable as error:
        raise UsageError(error.message, "Name a whole Llama and its adapter.") from error
    if tuned.warning:
        say(f"balcao: {tuned.warning}")
    name = str(found.folder) if Path(model).expanduser().is_dir() else model
    return Base(name, found.folder, found.weights), tuned.folder


if __name__ == "__main__":
    sys.exit(main())
