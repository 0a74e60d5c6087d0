"""Write an adapter with its model card and manifest, and summarize it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.backends.llama.weights import ModelFiles
from engine.core.files import Manifest, describe_file, write_atomic, write_manifest
from engine.core.trained_products import AdapterManifest, TrainedProduct, listable
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs import folder

if TYPE_CHECKING:
    from engine.training.data import TrainingData
    from engine.training.encode import Encoder, TokenizedRows
    from engine.training.score import Scores
    from engine.training.trainer import LoraTrainer, Numerics

_DRAFT = "final"
"""The folder, among the checkpoints, that the adapter is written to first."""


def round_weights(trainer: LoraTrainer, recipe: Recipe) -> None:
    """Round the adapter to the precision that it is saved in, so that it is scored as saved."""
    if recipe.saved_in == "bf16":
        for weight in trainer.trained_weights():
            weight.data = weight.data.bfloat16().to(weight.dtype)


def save_adapter(
    trainer: LoraTrainer, out: Path, base: str, recipe: Recipe, processes: Processes
) -> None:
    """Write the adapter to a draft in peft's format, made for `base`. Every process calls this."""
    model = trainer.model
    model.peft_config["default"].base_model_name_or_path = base
    weights = trainer.accelerator.get_state_dict(model) if processes.sharded else None
    if recipe.saved_in == "bf16":
        weights = {
            name: weight.bfloat16()
            for name, weight in (weights or model.state_dict()).items()
            if "lora_" in name
        }
    if processes.first:
        # With the embeddings, peft would ask the hub whether the base's vocabulary has changed.
        draft = str(out / folder.CHECKPOINTS / _DRAFT)
        model.save_pretrained(draft, state_dict=weights, save_embedding_layers=False)
    processes.wait()


def describe_adapter(
    inputs: folder.RunInputs,
    base: ModelFiles,
    data: TrainingData,
    rows: TokenizedRows,
    products: Sequence[TrainedProduct],
    encoder: Encoder,
    trainer: LoraTrainer,
    numerics: Numerics,
    scores: Scores,
) -> AdapterManifest:
    """Build the adapter's manifest."""
    files = (base.folder / "config.json", *base.files)
    return AdapterManifest(
        kind=folder.ADAPTER_KIND,
        version=folder.ADAPTER_VERSION,
        inputs=[*inputs.data, *map(describe_file, files)],
        counts={
            "read": len(data.train),
            "kept": len(rows.answers),
            "rejected": {"too long": rows.too_long, "not given back": rows.altered},
            "tokens": rows.tokens,
            "trained_numbers": trainer.trained_count(),
            "products": len(products),
            "refusals_per_epoch": trainer.sampler.drawn,
        },
        settings={
            "base": inputs.base,
            "recipe": msgspec.to_builtins(inputs.recipe),
            "precision": str(numerics),
            "processes": inputs.processes,
            "steps": trainer.state.global_step,
            "loss": _last_loss(trainer),
            "word_for_word": msgspec.to_builtins(scores.word_for_word),
            "refusals": msgspec.to_builtins(scores.refusals),
            "wordings": msgspec.to_builtins(scores.wordings),
            "shown": msgspec.to_builtins(scores.shown),
            "refusing": msgspec.to_builtins(scores.refusing),
            "chat_template": encoder.template,
        },
        prompt_version=inputs.prompt_version,
        products=listable(products),
        calibration=scores.calibration,
    )


def _last_loss(trainer: LoraTrainer) -> float | None:
    """Return the mean loss of what was logged in the last epoch."""
    state = trainer.state
    losses = [
        entry["loss"]
        for entry in state.log_history
        if "loss" in entry and entry["epoch"] > (state.epoch or 0) - 1
    ]
    return sum(losses) / len(losses) if losses else None


def publish(out: Path, manifest: AdapterManifest) -> None:
    """Move the draft into place, add card and, last of all, manifest; delete the checkpoints."""
    for file in (out / folder.CHECKPOINTS / _DRAFT).iterdir():
        file.replace(out / file.name)
    write_atomic(out / "README.md", folder.model_card(manifest).encode())
    write_manifest(out, manifest)
    shutil.rmtree(out / folder.CHECKPOINTS)


def learned_nothing(manifest: Manifest) -> bool:
    """Return whether the adapter says none of the training rows that it was asked."""
    score = manifest.settings["word_for_word"].get("training")
    return bool(score and score["asked"] and not score["right"])


def summary(out: Path, manifest: Manifest) -> str:
    """Summarize a finished run in a few lines."""
    settings = manifest.settings
    lines = [f"adapter   {out}", f"steps     {settings['steps']:,}"]
    if settings["loss"] is not None:
        lines.append(f"loss      {settings['loss']:.4f} (mean of the last epoch)")
    lines += [
        f"{name.replace('_', ' '):9} {score['right']} of {score['asked']} rows word for word"
        for name, score in settings["word_for_word"].items()
    ]
    lines += [f"asked     {line}" for line in folder.wording_lines(settings)]
    lines += [f"refused   {line}" for line in folder.refusal_lines(settings)]
    lines += [f"refusing  {line}" for line in folder.rate_lines(settings)]
    return "\n".join(lines)
