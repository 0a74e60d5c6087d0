"""Adds an adapter to its base's weights, and asks what is on the disk then. Imported late."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaForCausalLM,
)
from transformers.utils.logging import disable_progress_bar

from engine.backends.llama.tokens import PromptTokens, read_tokenizer
from engine.core.errors import DataError
from engine.core.types import Message, Progress
from engine.training.failures import explained_merge, quiet
from engine.training.merge import Agreement, Precision

_NEW_TOKENS = 64
_SHARD = "5GB"
_SENTENCEPIECE = "tokenizer.model"


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt's tokens, the answer's, and the logits that it was chosen from, by place."""

    prompt: list[int]
    tokens: list[int]
    logits: torch.Tensor


class Merger:
    """A base with its adapter beside it, which becomes one."""

    def __init__(self, base: Path, adapter: Path) -> None:
        """Raises DataError if they do not fit, BalcaoError where memory does not suffice."""
        self._base = base
        disable_progress_bar()  # ours is on the same line
        with explained_merge(), quiet():
            model = _load(base)
            self._model = _with_adapter(model, adapter)

    def answers(
        self, prompts: Sequence[Sequence[Message]], show: Callable[[Progress], None]
    ) -> list[Answer]:
        """What base and adapter answer, greedily."""
        tokens = PromptTokens(read_tokenizer(self._base))
        found = []
        with explained_merge(), torch.inference_mode():
            for number, messages in enumerate(prompts):
                show(Progress("asking base and adapter", number / len(prompts)))
                found.append(_answer(self._model, tokens.encode(messages, ask=True)))
        return found

    def write(self, folder: Path, precision: Precision) -> str:
        """Merge and write; returns the precision of what is written. Raises BalcaoError."""
        with explained_merge(), quiet():
            merged = self._model.merge_and_unload(safe_merge=True)
            dtype = _written_as(merged, precision)
            merged.to(dtype).generation_config = _greedy(merged)
            merged.save_pretrained(folder, max_shard_size=_SHARD)
            _write_tokenizer(self._base, folder)
        return str(dtype).removeprefix("torch.")


def compare(
    folder: Path,
    base: Path,
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[Answer],
    show: Callable[[Progress], None],
) -> Agreement:
    """Ask the model in `folder` what base and adapter were asked.

    Raises DataError if its tokenizer makes other tokens of a prompt than the base's does.
    """
    _check_tokenizer(folder, base, prompts)
    same, agreed, difference = 0, 0, 0.0
    with explained_merge(), torch.inference_mode():
        model = _load(folder)
        for number, answer in enumerate(answers):
            show(Progress("asking the merged model", number / len(answers)))
            same += _answer(model, answer.prompt).tokens == answer.tokens
            logits = _logits(model, answer.prompt, answer.tokens)
            agreed += int((logits.argmax(-1) == answer.logits.argmax(-1)).sum())
            difference = max(difference, float((logits - answer.logits).abs().max()))
    total = sum(len(answer.tokens) for answer in answers)
    return Agreement(len(answers), same, agreed / total, difference)


def _load(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    return LlamaForCausalLM.from_pretrained(
        folder,
        dtype="auto",  # as it was written: the merge rounds once, if at all
        device_map={"": 0 if torch.cuda.is_available() else "cpu"},
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    ).eval()


def _with_adapter(model: Any, adapter: Path) -> Any:  # noqa: ANN401 - untyped library
    try:
        with warnings.catch_warnings():
            # It would answer as the plain base does, and nobody would know why.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, str(adapter)).eval()
    except (ValueError, KeyError, TypeError, UserWarning) as error:
        raise DataError(
            f"The adapter in {adapter} does not fit the base.",
            "Name the base that it was trained on.",
        ) from error


def _answer(model: Any, prompt: list[int]) -> Answer:  # noqa: ANN401 - untyped library
    asked = torch.tensor([prompt], device=model.device)
    ends = model.generation_config.eos_token_id
    found = model.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        generation_config=GenerationConfig(
            max_new_tokens=_NEW_TOKENS, do_sample=False, eos_token_id=ends, pad_token_id=0
        ),
    )
    tokens: list[int] = found[0, len(prompt) :].tolist()
    return Answer(prompt, tokens, _logits(model, prompt, tokens))


def _logits(model: Any, prompt: list[int], tokens: list[int]) -> torch.Tensor:  # noqa: ANN401 - as above
    whole = torch.tensor([[*prompt, *tokens]], device=model.device)
    logits: torch.Tensor = model(whole).logits[0, len(prompt) - 1 : -1]
    return logits.float().cpu()


def _written_as(model: Any, precision: Precision) -> torch.dtype:  # noqa: ANN401 - as above
    """16 bits: the base's own kind; of 32 bits the finer one, unless a weight is too large."""
    if precision != "auto":
        return torch.float16 if precision == "float16" else torch.bfloat16
    own: torch.dtype = model.dtype
    if own in (torch.float16, torch.bfloat16):
        return own
    largest = max(float(weight.abs().max()) for weight in model.parameters())
    return torch.float16 if largest < torch.finfo(torch.float16).max else torch.bfloat16


def _greedy(model: Any) -> GenerationConfig:  # noqa: ANN401 - as above
    """What servers take as their preset: the exact words, not one of many ways to say them."""
    preset = model.generation_config
    return GenerationConfig(
        bos_token_id=preset.bos_token_id,
        eos_token_id=preset.eos_token_id,
        pad_token_id=preset.pad_token_id,
        do_sample=False,
    )


def _write_tokenizer(base: Path, folder: Path) -> None:
    tokenizer = read_tokenizer(base)
    tokenizer.chat_template = _for_servers(PromptTokens(tokenizer).template)
    tokenizer.save_pretrained(folder)
    if (base / _SENTENCEPIECE).is_file():
        shutil.copyfile(base / _SENTENCEPIECE, folder / _SENTENCEPIECE)


def _for_servers(template: str) -> str:
    """The template without the marks that only trainers read, and not every server knows."""
    return template.replace("{% generation %}", "").replace("{% endgeneration %}", "")


def _check_tokenizer(folder: Path, base: Path, prompts: Sequence[Sequence[Message]]) -> None:
    written = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    before, after = PromptTokens(read_tokenizer(base)), PromptTokens(written)
    if any(before.encode(one, ask=True) != after.encode(one, ask=True) for one in prompts):
        raise DataError(
            "The tokenizer of the base is not the same once it is written again.",
            "Its tokenizer_config.json has to name the class that reads it (tokenizer_class).",
        )
