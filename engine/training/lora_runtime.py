"""Fine-tunes a Llama by LoRA: trl's SFTTrainer over peft, QLoRA by bitsandbytes. Imported late.

The rows come in as tokens with their labels (lora_prompt_runtime), so trl renders and cuts nothing.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets  # noqa: TID253 - this module is imported lazily
import torch  # noqa: TID253 - as above
from peft import LoraConfig  # noqa: TID253 - as above
from transformers import (  # noqa: TID253 - as above
    BitsAndBytesConfig,
    GenerationConfig,
    LlamaForCausalLM,
    PrinterCallback,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar  # noqa: TID253 - as above
from trl import SFTConfig, SFTTrainer  # noqa: TID253 - as above

from engine.errors import BalcaoError, UsageError
from engine.text import one_line
from engine.training.lora_folder import CHECKPOINTS, Metrics, step_of
from engine.training.lora_order_runtime import OrderedTrainer
from engine.training.lora_prompt_runtime import Encoder, Example
from engine.training.lora_recipe import Recipe
from engine.training.lora_trouble import explained, quiet
from engine.training.lora_watch_runtime import Watch
from engine.types import Progress

_IGNORED = -100
"""The label that torch's cross-entropy passes over."""
_STATES = 9
"""Numbers on disk for each that is trained: two checkpoints and the one being written, each with
the weight and the optimizer's two moments."""
_SPARE_ANSWER_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a run came: optimizer steps, the last epoch's mean loss, `done` at the last step."""

    steps: int
    loss: float | None
    done: bool


@dataclass(frozen=True, slots=True)
class Score:
    """Of `asked` questions, how many were answered word for word by greedy decoding."""

    asked: int
    right: int


class Tuner:
    """A base model with an adapter to train, and the trainer for it."""

    def __init__(
        self,
        base: Path,
        out: Path,
        recipe: Recipe,
        encoder: Encoder,
        examples: Sequence[Example],
    ) -> None:
        """Load the base. Raises BalcaoError where memory or disk do not suffice."""
        self._encoder = encoder
        self._recipe = recipe
        self._out = out
        self._on_gpu = torch.cuda.is_available()
        disable_progress_bar()  # ours is on the same line
        set_seed(recipe.seed)  # peft draws the adapter's first values
        with explained(recipe), quiet():
            self._trainer = self._make_trainer(self._load(base), examples)
        self._trainer.remove_callback(PrinterCallback)
        self._check_disk()

    @property
    def precision(self) -> str:
        """What the base is computed in, for the person and the manifest."""
        kind = "GPU" if self._on_gpu else "CPU"
        nf4 = "NF4, " if self._quantized else ""
        return f"{nf4}{'bf16' if self._bf16 else 'fp32'} on the {kind}"

    @property
    def trained(self) -> int:
        """How many numbers are trained."""
        return sum(one.numel() for one in self._parameters())

    def train(
        self,
        checkpoint: Path | None,
        show: Callable[[Progress], None],
        stopping: Callable[[], bool],
    ) -> Outcome:
        """Train to the end, or until `stopping`, which is asked after every step.

        Goes on from `checkpoint` where there is one. Raises BalcaoError.
        """
        metrics = Metrics(self._out, step_of(checkpoint))
        self._trainer.add_callback(Watch(metrics, show, stopping, step_of(checkpoint)))
        with explained(self._recipe), quiet():
            self._trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        state = self._trainer.state
        return Outcome(state.global_step, _last_loss(state), state.global_step >= state.max_steps)

    def save(self, folder: Path, base_name: str) -> None:
        """Write the adapter in peft's format. `base_name` is what it says that it was made for."""
        model = self._trainer.model
        model.peft_config["default"].base_model_name_or_path = base_name
        with quiet():
            # Else peft asks the hub whether the base's vocabulary has changed.
            model.save_pretrained(str(folder), save_embedding_layers=False)

    def score(self, examples: Sequence[Example], show: Callable[[Progress], None]) -> Score:
        """Ask every example's question and compare, blanks aside."""
        model = self._trainer.model.eval()
        right = 0
        for number, example in enumerate(examples):
            show(Progress(f"asking, {right} of {number} word for word", number / len(examples)))
            with explained(self._recipe), quiet(), torch.inference_mode(), self._autocast():
                right += self._answer(model, example).split() == example.answer.split()
        return Score(len(examples), right)

    def _answer(self, model: Any, example: Example) -> str:  # noqa: ANN401 - untyped library
        prompt = torch.tensor([example.prompt], device=model.device)
        end = example.completion[-1]
        tokens = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=GenerationConfig(
                # An answer that is right has ended by then.
                max_new_tokens=len(example.completion) + _SPARE_ANSWER_TOKENS,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            ),
        )
        return self._encoder.text(tokens[0, prompt.shape[1] :].tolist())

    @property
    def _quantized(self) -> bool:
        wanted = self._recipe.quantization
        return wanted == "nf4" or (wanted == "auto" and self._on_gpu)

    @property
    def _bf16(self) -> bool:
        wanted = self._recipe.precision
        if wanted == "auto":
            return self._on_gpu and torch.cuda.is_bf16_supported()
        return wanted == "bf16"

    def _load(self, base: Path) -> Any:  # noqa: ANN401 - untyped library
        dtype = torch.bfloat16 if self._bf16 else torch.float32
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=self._recipe.double_quantization,
            bnb_4bit_compute_dtype=dtype,
        )
        return LlamaForCausalLM.from_pretrained(
            base,
            dtype=dtype,
            device_map={"": 0 if self._on_gpu else "cpu"},
            quantization_config=nf4 if self._quantized else None,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )

    def _make_trainer(self, model: Any, examples: Sequence[Example]) -> Any:  # noqa: ANN401 - as above
        recipe = self._recipe
        try:
            trainer = (OrderedTrainer if recipe.length_grouped else SFTTrainer)(
                model=model,
                args=self._arguments(),
                train_dataset=_dataset(examples, everything=recipe.loss_on == "everything"),
                processing_class=self._encoder.tokenizer,
                peft_config=LoraConfig(
                    r=recipe.rank,
                    lora_alpha=recipe.alpha,
                    lora_dropout=recipe.dropout,
                    target_modules=recipe.targets,
                    task_type="CAUSAL_LM",
                ),
            )
        except ValueError as error:
            raise UsageError(
                f"The recipe does not fit the base: {one_line(str(error), 200).rstrip('.')}.",
                "docs/training.md explains the values; `targets` names the base's layers.",
            ) from error
        # trl makes the adapter of a quantized base bf16, in which a small step is no step at all.
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        return trainer

    def _arguments(self) -> SFTConfig:
        recipe = self._recipe
        return SFTConfig(
            output_dir=str(self._out / CHECKPOINTS),
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            gradient_accumulation_steps=recipe.accumulate,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.schedule,
            warmup_steps=recipe.warmup,  # below 1 it is a share of all steps
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            optim=recipe.optimizer,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            gradient_checkpointing=recipe.checkpoint_activations,
            bf16=self._bf16,
            use_cpu=not self._on_gpu,
            dataloader_pin_memory=self._on_gpu,
            logging_steps=recipe.log_every,
            logging_nan_inf_filter=False,
            save_strategy="steps" if recipe.save_every else "epoch",
            save_steps=recipe.save_every or 500,
            save_total_limit=2,
            report_to="none",
            disable_tqdm=True,
            seed=recipe.seed,
        )

    def _check_disk(self) -> None:
        needed = self.trained * 4 * _STATES
        free = shutil.disk_usage(self._out).free
        if needed > free:
            raise BalcaoError(
                f"The disk of {self._out} has {free / 1e6:,.0f} MB free; the checkpoints of this"
                f" run take up to {needed / 1e6:,.0f} MB.",
                "Make room, name a folder on another disk, or lower `rank`.",
            )

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        return (one for one in self._trainer.model.parameters() if one.requires_grad)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        device = "cuda" if self._on_gpu else "cpu"
        return torch.autocast(device, torch.bfloat16, enabled=self._bf16)


def _dataset(examples: Sequence[Example], *, everything: bool) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [
            {
                "input_ids": one.prompt + one.completion,
                "labels": (one.prompt if everything else [_IGNORED] * len(one.prompt))
                + one.completion,
            }
            for one in examples
        ]
    )


def _last_loss(state: Any) -> float | None:  # noqa: ANN401 - untyped library
    """The mean of what was logged in the last epoch."""
    last = [
        entry["loss"]
        for entry in state.log_history
        if "loss" in entry and entry["epoch"] > (state.epoch or 0) - 1
    ]
    return sum(last) / len(last) if last else None
