"""A Llama by transformers and peft: loads it, sets adapters, answers. Runs in the worker alone.

The heavy imports are here; importing this module takes seconds. `generate` is the library's own,
and what a person sees comes out of its stopping criteria, which see every token first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - the worker's module, loaded on Open
from jinja2 import TemplateError
from transformers import (  # noqa: TID253 - as above
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)

from engine.backends.llama_loading_runtime import load_model, load_tokenizer, memory_ran_out
from engine.backends.llama_messages import Ask, Done, Open
from engine.backends.llama_prompt import Fitted, fit
from engine.backends.llama_text import TokenText, TurnEnd, loops
from engine.errors import EngineFailed, EngineUnavailable
from engine.prompt_tokens_runtime import PromptTokens
from engine.text import one_line
from engine.types import Message, StopReason

_LOOK_FOR_LOOPS_EVERY = 8
"""Tokens."""

_TURN_TOKENS = (
    "</s>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|endoftext|>",
)
_LOOPED = "The model began to repeat itself and was stopped."


class LlamaRuntime:
    """One base model with any number of adapters beside it, one of which is in force, or none."""

    def __init__(self, request: Open) -> None:
        self._model = load_model(request)
        self._tokenizer = load_tokenizer(Path(request.folder), self._model)
        self._tokens = PromptTokens(self._tokenizer)
        self._ends = self._end_tokens()
        # What the model's makers preset (penalties, sampling) would change the catalogue's words.
        self._model.generation_config = GenerationConfig()
        self._peft: Any = None
        self._names: dict[str, str] = {}
        self._in_force: str | None = None
        self.spoiled = False
        self._cancelled: Callable[[], bool] = lambda: False
        for layer in self._model.model.layers:
            layer.register_forward_pre_hook(self._stop_if_cancelled)

    def attach(self, folder: str) -> None:
        """Load the adapter in `folder` beside the base, unless it is there.

        Raises EngineError; `spoiled` then says that the base may hold a half of it.
        """
        if folder in self._names:
            return
        self.spoiled = True
        name = f"adapter{len(self._names)}"
        try:
            with memory_ran_out("load the adapter"):
                self._read_adapter(folder, name)
        except (RuntimeError, ValueError, KeyError, TypeError, OSError, UserWarning) as error:
            raise EngineUnavailable(
                f"The adapter in {folder} does not fit the model: {one_line(str(error), 200)}.",
                "Choose the base that it was trained on, or train it again with `balcao train`.",
            ) from error
        self._names[folder] = name
        self._put_in_force(folder)
        self.spoiled = False

    def answer(
        self, ask: Ask, emit: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> Done | None:
        """Answer, giving text to `emit` as it comes; None if cancelled. Raises EngineFailed."""
        self._cancelled = cancelled
        if ask.adapter is not None:
            self.attach(ask.adapter)
        self._put_in_force(ask.adapter)
        fitted = fit(ask.messages, self._encode, self._context(ask), ask.max_tokens)
        watch = _Watch(self._tokens.decode, self._ends, self._tokens.template, emit)
        try:
            with memory_ran_out("answer"), torch.inference_mode():
                self._generate(fitted, _sampling(ask), watch)
        except _CancelledError:
            return None
        watch.finish()
        notice = " ".join(filter(None, (fitted.notice, watch.notice)))
        return Done(
            watch.stop_reason, len(fitted.tokens), len(watch.tokens), notice, number=ask.number
        )

    def _read_adapter(self, folder: str, name: str) -> None:
        from peft import PeftModel

        with warnings.catch_warnings():
            # It would answer as the plain base does, and nobody would know why.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self._model, folder, adapter_name=name)
            else:
                self._peft.load_adapter(folder, adapter_name=name)
        self._peft.eval()

    def _generate(self, fitted: Fitted, sampling: dict[str, Any], watch: _Watch) -> None:
        tokens = torch.tensor([fitted.tokens], device=self._model.device)
        self._model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=GenerationConfig(
                max_new_tokens=fitted.room,
                eos_token_id=sorted(self._ends) or None,
                pad_token_id=min(self._ends, default=0),
                **sampling,
            ),
            stopping_criteria=StoppingCriteriaList([watch]),
        )

    def _context(self, ask: Ask) -> int:
        own: int = self._model.config.max_position_embeddings
        return min(own, ask.context or own)

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        try:
            tokens = self._tokens.encode(messages, ask=True)
        except TemplateError as error:
            raise EngineFailed(
                "The model's chat template does not take this conversation:"
                f" {one_line(str(error), 200).rstrip('.')}.",
                "Begin a new conversation, or put another chat_template.jinja beside the model.",
            ) from error
        rows = self._model.get_input_embeddings().num_embeddings
        if max(tokens) >= rows:
            raise EngineFailed(
                f"The tokenizer does not fit the model: it gives token {max(tokens)}, the model"
                f" has {rows}.",
                "Put the tokenizer that belongs to the model into its folder.",
            )
        return tokens

    def _end_tokens(self) -> set[int]:
        named = (
            self._model.generation_config.eos_token_id,
            self._model.config.eos_token_id,
            self._tokenizer.eos_token_id,
        )
        ends = {one for ids in named for one in (ids if isinstance(ids, list) else [ids])}
        known = self._tokenizer.get_added_vocab()
        return (ends | {known.get(token) for token in _TURN_TOKENS}) - {None}

    def _put_in_force(self, folder: str | None) -> None:
        if folder == self._in_force:
            return
        if folder is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(self._names[folder], inference_mode=True)
        self._in_force = folder

    def _stop_if_cancelled(self, *_: object) -> None:
        """Before every layer: reading a long prompt takes many seconds on a CPU."""
        if self._cancelled():
            raise _CancelledError


def _sampling(ask: Ask) -> dict[str, Any]:
    """How the next token is chosen, in `generate`'s own names."""
    if ask.temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": ask.temperature, "top_k": 0, "top_p": ask.top_p}


class _CancelledError(Exception):
    """The person no longer wants the answer."""


class _Watch(StoppingCriteria):  # type: ignore[misc] # untyped library
    """Sees each token as it is chosen: makes text of it, and decides whether it was the last."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        ends: set[int],
        template: str,
        emit: Callable[[str], None],
    ) -> None:
        self.tokens: list[int] = []
        self.notice = ""
        self.stop_reason = StopReason.LENGTH
        self._ends = ends
        self._text = TokenText(decode)
        self._turn = TurnEnd(template)
        self._emit = emit

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        last = self._add(int(input_ids[0, -1]))
        return torch.tensor([last], device=input_ids.device)

    def finish(self) -> None:
        """Give out what was held back."""
        if not self._turn.reached:
            self._say(self._turn.add(self._text.rest()) + self._turn.rest())

    def _add(self, token: int) -> bool:
        self.tokens.append(token)
        if token in self._ends:
            self.stop_reason = StopReason.COMPLETE
            return True
        self._say(self._turn.add(self._text.add(token)))
        if self._turn.reached:
            self.stop_reason = StopReason.COMPLETE
            return True
        if len(self.tokens) % _LOOK_FOR_LOOPS_EVERY == 0 and loops(self.tokens):
            self.notice = _LOOPED
            return True
        return False

    def _say(self, text: str) -> None:
        if text:
            self._emit(text)
