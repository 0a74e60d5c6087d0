"""Measure the largest batch that fits a GPU: `balcao train` and plain TRL with the same values.

    python -m benchmarks.train_largest models/random-7b/model --recipe seed [--set NAME=VALUE …]

A binary search over the number of copies of one row, with a whole optimizer step for each. The
estimate of `balcao train` is lower, since it only tries 1, 2, 4, … rows.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.train import RECIPES, bare_trainer, write_rows
from engine.training.data import find_base, go_offline, read_data
from engine.training.processes import Processes
from engine.training.recipe import Recipe, read_recipe

MOST = 2048


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("--recipe", default="seed", help="one of scripts/recipes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    recipe = read_recipe(RECIPES / f"{given.recipe}.toml", given.set)
    with tempfile.TemporaryDirectory() as name:
        rows, out = Path(name) / "rows", Path(name) / "out"
        write_rows(rows)
        for who, make in (("balcao train", balcao_trainer), ("bare TRL", bare_trainer)):
            largest(who, make(rows, given.base, recipe, str(out)), recipe)
            gc.collect()


def balcao_trainer(rows: Path, base: Path, recipe: Recipe, out: str) -> Any:  # noqa: ANN401 - untyped library
    """Set up the trainer as the command does."""
    go_offline()
    from engine.training.encode import Encoder
    from engine.training.trainer import Numerics, load_model, make_arguments, make_trainer

    processes = Processes()
    files, encoder = find_base(str(base)), Encoder(base)
    answers = encoder.encode(read_data(rows).train, files.config.max_position_embeddings).answers
    numerics = Numerics.choose(recipe, files, processes)
    arguments = make_arguments(recipe, numerics, Path(out) / "checkpoints")
    model = load_model(files, recipe, numerics, processes)
    return make_trainer(model, encoder.tokenizer, answers, arguments, recipe, numerics, processes)


def largest(who: str, trainer: Any, recipe: Recipe) -> None:  # noqa: ANN401 - untyped library
    """Print how many rows fit, and the speed and memory of a step on them."""
    import torch

    trainer.create_optimizer()
    rows = sorted(trainer.train_dataset, key=lambda one: len(one["input_ids"]))
    row = rows[len(rows) // 2]
    step = stepping(trainer, row)
    step(1)
    fits, fails = 1, MOST
    taken = (0.0, 0)
    while fails - fits > max(fits // 32, 1):
        tried = (fits + fails) // 2 if fails < MOST else fits * 2
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            began = time.perf_counter()
            step(tried)
            torch.cuda.synchronize()
        except torch.OutOfMemoryError:
            fails = tried
        else:
            fits = tried
            taken = (time.perf_counter() - began, torch.cuda.max_memory_reserved())
        trainer.model.zero_grad()
    tokens = fits * len(row["input_ids"])
    print(
        f"{who:13} {fits} rows of {len(row['input_ids'])} tokens at once ({fails} do not fit):"
        f" {tokens / taken[0]:,.0f} tokens/s, {taken[1] / 1e9:.1f} GB;"
        f" checkpointed: {recipe.checkpoint_activations}",
        flush=True,
    )


def stepping(trainer: Any, row: Any) -> Callable[[int], None]:  # noqa: ANN401 - untyped library
    """Return a function that makes a whole training step on copies of `row`."""
    import torch

    trainer.model.train()
    if trainer.args.gradient_checkpointing:
        trainer.model.activation_checkpointing_enable()
    device = trainer.model.device.type

    def step(count: int) -> None:
        batch = trainer._prepare_inputs(trainer.data_collator([row] * count))  # noqa: SLF001 - as in the trainer
        with torch.autocast(device, torch.bfloat16):
            loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
