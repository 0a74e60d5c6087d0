"""Load the base, put an adapter on it, and set up trl's trainer with the recipe's values.

The rows come in as tokens with labels, so trl neither renders nor cuts them. Imports torch and trl.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import datasets
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Sampler
from transformers import AttentionInterface, AttentionMaskInterface, PrinterCallback, set_seed
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.utils.logging import disable_progress_bar
from trl import SFTConfig, SFTTrainer
from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

from engine.backends.llama.loading import is_out_of_memory, load_base, quantization_config
from engine.backends.llama.weights import FP32_UP_TO, ModelFiles, resolve_quantization
from engine.core.errors import UsageError
from engine.core.files import check_space
from engine.core.process import give_back_blocks
from engine.core.text import one_line
from engine.training.encode import TokenizedAnswer
from engine.training.failures import StepOutOfMemory
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.refusals import drawn_rows

TENSORBOARD = "tensorboard"
"""The folder, inside a run's, of TensorBoard's files."""
ROW_BY_ROW = "row_by_row"
"""The name of `attend` among the implementations of transformers."""
_IGNORED = -100
"""The label that torch's cross-entropy skips."""
_BLANK_TOKENS = 2
"""The loss is on the next token, so a row needs two."""
_STATES = 11
"""Numbers on disk for each trained one: three checkpoints (two and the one being written), each
with the weight and the optimizer's two moments; the best adapter, and the one that replaces it."""

# On a CPU trl would compute the logits of every position: a third of the time goes into prompts.
trl_utils._use_triton = lambda _device: True  # noqa: SLF001 - it has no public way
if not torch.cuda.is_available():
    # Half a dozen tables of logits exist at once: a processor's cache holds smaller ones.
    chunked_logprob.TOKEN_CHUNK_SIZE = 256


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add a product to `total` in its factors' precision, as torch does for the other layers.

    trl multiplies in fp32, a tenth of a step in bf16, because the rounding of many parts would add
    up; here a vocabulary has one or two parts.
    """
    total.add_(left @ right)


if not torch.cuda.is_available():
    chunked_logprob._addmm_fp32 = _add_product  # noqa: SLF001 - it has no public way


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    **values: Any,  # noqa: ANN401 - of transformers
) -> tuple[torch.Tensor, None]:
    """Attend within the rows that begin at `cu_seq_lens_q`; without it, as transformers does.

    torch's own attention would compare each token of joined rows with those of all rows, and every
    layer would keep a mask as large as the square of their tokens for the backward pass.

    Shapes: query (1, heads, tokens, size), key and value (1, their heads, tokens, size); result
    (1, tokens, heads, size).
    """
    if cu_seq_lens_q is None:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, mask, **values
        )
        return found
    lengths = cu_seq_lens_q.diff().tolist()
    options = {"dropout_p": values.get("dropout", 0.0), "scale": values.get("scaling")}
    parts: Any = (torch.split(part, lengths, 2) for part in (query, key, value))
    # torch's attention on a CPU takes twice as long in 16 bits.
    with torch.autocast("cpu", enabled=False):
        rows = [
            scaled_dot_product_attention(
                q.float(), k.float(), v.float(), is_causal=True, enable_gqa=True, **options
            )
            for q, k, v in zip(*parts, strict=True)
        ]
    return torch.cat(rows, 2).transpose(1, 2).to(query.dtype), None


AttentionInterface.register(ROW_BY_ROW, attend)
AttentionMaskInterface.register(ROW_BY_ROW, sdpa_mask)


@dataclass(frozen=True, slots=True)
class Numerics:
    """The device and the precision of a run."""

    on_gpu: bool
    bf16: bool
    nf4: bool

    @classmethod
    def choose(cls, recipe: Recipe, base: ModelFiles, processes: Processes) -> Self:
        """Resolve the recipe's "auto" for `base` on this machine, as the chat would."""
        on_gpu = torch.cuda.is_available()
        if recipe.quantization == "nf4" and processes.sharded:
            raise UsageError(
                "FSDP cannot shard a base in NF4.",
                'Set `quantization = "none"`, or launch with data_parallel.yaml.',
            )
        # A sharded base fits without quantization.
        supported = on_gpu and not processes.sharded
        quantization = resolve_quantization(
            recipe.quantization, base.weight_bytes, supported=supported
        )
        nf4 = quantization == "nf4"
        bf16 = recipe.precision == "bf16" or (
            recipe.precision == "auto"
            and base.weight_bytes > FP32_UP_TO
            and (torch.cuda.is_bf16_supported() if on_gpu else _has_fast_bf16() and not nf4)
        )
        return cls(on_gpu, bf16, nf4)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of computing, and of the base's weights unless they are quantized."""
        return torch.bfloat16 if self.bf16 else torch.float32

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Compute outside the trainer in the trainer's precision."""
        device = "cuda" if self.on_gpu else "cpu"
        return torch.autocast(device, torch.bfloat16, enabled=self.bf16)

    def __str__(self) -> str:
        nf4 = "NF4, " if self.nf4 else ""
        return f"{nf4}{'bf16' if self.bf16 else 'fp32'} on the {'GPU' if self.on_gpu else 'CPU'}"


def make_arguments(recipe: Recipe, numerics: Numerics, checkpoints: Path) -> SFTConfig:
    """Translate the recipe into trl's names, and join the other processes before the base loads."""
    if TENSORBOARD in recipe.report_to:
        # By default its files go among the checkpoints, which are deleted at the end.
        folder = checkpoints.parent / TENSORBOARD
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder))
    arguments = SFTConfig(
        output_dir=str(checkpoints),
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
        padding_free=recipe.packing,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=recipe.checkpoint_activations,
        bf16=numerics.bf16,
        use_cpu=not numerics.on_gpu,
        dataloader_pin_memory=numerics.on_gpu,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps" if recipe.save_every else "epoch",
        save_steps=recipe.save_every or 500,
        save_total_limit=2,
        report_to=recipe.report_to,
        disable_tqdm=True,
        seed=recipe.seed,
        # Every process uses every weight of the adapter in every step.
        ddp_find_unused_parameters=False,
    )
    # By default one process would spread itself over all GPUs: here each process has one.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - it has no public way
    return arguments


def load_model(base: ModelFiles, recipe: Recipe, numerics: Numerics, processes: Processes) -> Any:  # noqa: ANN401 - untyped library
    """Load the base onto this process's device. Raise whatever the library does."""
    disable_progress_bar()  # it would share the line with ours
    device = processes.local_index if numerics.on_gpu else "cpu"
    if recipe.checkpoint_activations:
        give_back_blocks()
    model = load_base(
        base.folder,
        dtype=numerics.dtype,
        quantization=quantization_config(
            "nf4" if numerics.nf4 else "none",
            numerics.dtype,
            double_quantization=recipe.double_quantization,
        ),
        device=None if processes.sharded else device,
    )
    if not numerics.on_gpu:
        if recipe.packing:
            model.set_attn_implementation(ROW_BY_ROW)
        if not recipe.checkpoint_activations:
            _compute_gates_twice(model)
    return model


def _compute_gates_twice(model: torch.nn.Module) -> None:
    """Compute the product inside each MLP again in the backward pass, instead of keeping it.

    That takes no time to speak of and a fifth less memory (docs/measurements/training.md).
    """

    def forward(mlp: Any, inputs: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - untyped library
        def project(gate: torch.Tensor, up: torch.Tensor) -> Any:  # noqa: ANN401 - as above
            return mlp.down_proj(mlp.act_fn(gate) * up)

        gate, up = mlp.gate_proj(inputs), mlp.up_proj(inputs)
        found: torch.Tensor = checkpoint(project, gate, up, use_reentrant=False)
        return found

    for module in model.modules():
        if isinstance(module, LlamaMLP):
            module.forward = partial(forward, module)


def _has_fast_bf16() -> bool:
    """Whether the processor has instructions that multiply bf16."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


class ShuffledSampler(Sampler[int]):
    """Yield the rows in a new order each epoch; `grouped` puts rows of similar length in a step.

    `lengths` are tokens, `batch` is rows per optimizer step. Of the last `pool` rows, each epoch
    draws `drawn`. Rows of length 0 are blanks that fill the last batches: they come last.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch: int,
        seed: int,
        *,
        grouped: bool,
        pool: int = 0,
        drawn: int = 0,
    ) -> None:
        self._lengths = [length for length in lengths if length]
        self._blanks = len(lengths) - len(self._lengths)
        self._pool = pool
        self.drawn = drawn
        self._batch = batch
        self._seed = seed
        self._grouped = grouped
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths) - self._pool + self.drawn + self._blanks

    def __iter__(self) -> Iterator[int]:
        yield from self._order()
        yield from range(len(self._lengths), len(self._lengths) + self._blanks)

    def ordered_lengths(self) -> list[int]:
        """Return the tokens of the epoch's rows in their order, without blanks."""
        return [self._lengths[row] for row in self._order()]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls this, also after a resume."""
        self._epoch = epoch

    def _order(self) -> list[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        own = len(self._lengths) - self._pool
        drawn = drawn_rows(self._pool, self.drawn, self._epoch, self._seed)
        rows = [*range(own), *(own + place for place in drawn)]
        if self._grouped:
            lengths = [self._lengths[row] for row in rows]
            order = get_length_grouped_indices(lengths, self._batch, generator=generator)
        else:
            order = torch.randperm(len(rows), generator=generator).tolist()
        return [rows[place] for place in order]


class LoraTrainer(SFTTrainer):  # type: ignore[misc] # untyped library
    """trl's trainer: rows in the order of `sampler`, no gradient from tokens above `known_above`.

    Greedy decoding says a token whose probability is above one half (MemFT, arXiv 2605.30260).
    """

    def __init__(
        self,
        sampler: ShuffledSampler,
        known_above: float,
        **arguments: Any,  # noqa: ANN401 - as above
    ) -> None:
        self.sampler = sampler
        self._known_above = math.log(known_above) if known_above else math.inf
        super().__init__(**arguments)

    def compute_loss(self, model: Any, *others: Any, **named: Any) -> Any:  # noqa: ANN401 - as above
        """Compute the loss of all tokens; only the unknown ones have a gradient."""

        def forward(**inputs: Any) -> Any:  # noqa: ANN401 - as above
            found = model(**inputs)
            known = found.log_probs.detach() > self._known_above
            found.log_probs = torch.where(known, found.log_probs.detach(), found.log_probs)
            return found

        masked = self._known_above < math.inf
        return super().compute_loss(forward if masked else model, *others, **named)

    def training_step(self, model: Any, inputs: Any, *others: Any) -> Any:  # noqa: ANN401 - as above
        """Train on a batch. Raise StepOutOfMemory, which names the batch's size."""
        rows, tokens = inputs["input_ids"].shape
        try:
            return super().training_step(model, inputs, *others)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise StepOutOfMemory(self.state.global_step + 1, rows, tokens) from error
            raise

    def trained_weights(self) -> list[torch.nn.Parameter]:
        """Return the weights of the adapter."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def trained_count(self) -> int:
        """Count the numbers that are trained."""
        return sum(weight.numel() for weight in self.trained_weights())

    def _get_train_sampler(self, _rows: Any = None) -> Sampler[int]:  # noqa: ANN401 - as above
        return self.sampler


def make_trainer(
    model: Any,  # noqa: ANN401 - untyped library
    tokenizer: Any,  # noqa: ANN401 - as above
    answers: Sequence[TokenizedAnswer],
    arguments: SFTConfig,
    recipe: Recipe,
    numerics: Numerics,
    processes: Processes,
    refusals: Sequence[TokenizedAnswer] = (),
    drawn: int = 0,
) -> LoraTrainer:
    """Set up the trainer of an adapter on `model`. Raise UsageError if the recipe does not fit.

    Each epoch draws `drawn` of the `refusals`.
    """
    set_seed(recipe.seed)  # peft draws the adapter's first values
    together = recipe.batch_size * arguments.world_size
    blanks = -(len(answers) + drawn) % together if arguments.world_size > 1 else 0
    rows = [*answers, *refusals]
    lengths = [one.length for one in rows] + [0] * blanks
    step = together * recipe.accumulate
    try:
        trainer = LoraTrainer(
            ShuffledSampler(
                lengths,
                step,
                recipe.seed,
                grouped=recipe.length_grouped,
                pool=len(refusals),
                drawn=drawn,
            ),
            recipe.known_above,
            model=model,
            args=arguments,
            train_dataset=_dataset(rows, blanks, everything=recipe.loss_on == "everything"),
            processing_class=tokenizer,
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
            "docs/guide/training.md explains the values; `targets` names the base's layers.",
        ) from error
    if processes.sharded and not trainer.is_fsdp_enabled:
        raise UsageError(
            "accelerate shards a model only over GPUs; here each process would load all of it.",
            "Launch with data_parallel.yaml instead, which also works on a CPU.",
        )
    # trl makes the adapter of a quantized base bf16, which rounds small steps away.
    for weight in trainer.trained_weights():
        weight.data = weight.data.float()
    if numerics.bf16 and not numerics.on_gpu:
        _keep_inputs_in_bf16(trainer.model)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _keep_inputs_in_bf16(model: torch.nn.Module) -> None:
    """Let autocast convert the adapter's weights; peft would keep a 32-bit copy of each input."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False


def check_disk(trainer: LoraTrainer, out: Path, saved: int) -> None:
    """Raise BalcaoError if the disk of `out` has too little space for more than `saved` bytes."""
    remedy = "Free some space, choose a folder on another disk, or lower `rank`."
    if saved:  # a resumed run keeps its folder and its rank
        remedy = "Free some space."
    needed = trainer.trained_count() * 4 * _STATES - saved
    check_space(out, needed, "the checkpoints", remedy=remedy)


def _dataset(
    answers: Sequence[TokenizedAnswer], blanks: int, *, everything: bool
) -> datasets.Dataset:
    rows = [
        {
            "input_ids": one.prompt + one.completion,
            "labels": (one.prompt if everything else [_IGNORED] * len(one.prompt)) + one.completion,
        }
        for one in answers
    ]
    blank = {
        "input_ids": rows[0]["input_ids"][:_BLANK_TOKENS],
        "labels": [_IGNORED] * _BLANK_TOKENS,
    }
    return datasets.Dataset.from_list(rows + [blank] * blanks)
