"""A Llama by transformers and peft: loads it, sets adapters, answers. Runs in the worker alone.

The heavy imports are here; importing this module takes seconds. `generate` is the library's own,
and what a person sees comes out of its stopping criteria, which see every token first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)

from engine.backends.llama.loading import explain_out_of_memory, load_model, load_tokenizer
from engine.backends.llama.messages import Ask, Done, Open
from engine.backends.llama.text import AnswerWatch, end_tokens
from engine.backends.llama.tokens import Fitted, PromptTokens, common, encode, fit
from engine.core.errors import EngineUnavailable
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Message

_SOON = 0.05
"""Seconds that a person who presses Escape may wait for a token."""


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
        self._kept: list[int] = []
        """The tokens whose keys and values the cache holds, for the adapter in force."""
        self._cache: Any = None
        self.spoiled = False

    def attach(self, folder: str) -> None:
        """Load the adapter in `folder` beside the base, unless it is there.

        Raises EngineError; `spoiled` then says that the base may hold a half of it.
        """
        if folder in self._names:
            return
        self.spoiled = True
        name = f"adapter{len(self._names)}"
        try:
            with explain_out_of_memory(tr("Memory ran out: the adapter could not be loaded.")):
                self._read_adapter(folder, name)
        except (RuntimeError, ValueError, KeyError, TypeError, OSError, UserWarning) as error:
            raise EngineUnavailable(
                tr(
                    "The adapter in {folder} does not fit the model: {error}.",
                    folder=folder,
                    error=one_line(str(error), 200),
                ),
                tr(
                    "Choose the base that it was trained on, or train it again with `balcao train`."
                ),
            ) from error
        self._names[folder] = name
        self._put_in_force(folder)
        self.spoiled = False

    def gpu_bytes(self) -> int:
        """What it holds of a GPU's memory, in bytes, the allocator's reserve included."""
        return int(torch.cuda.memory_reserved()) if torch.cuda.is_available() else 0

    def answer(
        self, ask: Ask, emit: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> Done | None:
        """Answer, giving text to `emit` as it comes; None if cancelled. Raises EngineFailed."""
        if ask.adapter is not None:
            self.attach(ask.adapter)
        self._put_in_force(ask.adapter)
        fitted = fit(ask.messages, self._encode, self._context(ask), ask.max_tokens)
        watch = AnswerWatch(self._tokens.decode, self._ends, self._tokens.template, emit)
        try:
            told = tr("Memory ran out: the model could not answer.")
            with explain_out_of_memory(told), torch.inference_mode():
                self._generate(fitted, _sampling(ask), watch, cancelled)
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

    def _generate(
        self,
        fitted: Fitted,
        sampling: dict[str, Any],
        watch: AnswerWatch,
        cancelled: Callable[[], bool],
    ) -> None:
        tokens = torch.tensor([fitted.tokens], device=self._model.device)
        cache = self._cache_for(fitted.tokens)
        looking = _Looking(self._model.model.layers, cancelled)
        stop = _Stop(watch, looking, tokens.device)
        try:
            self._model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                past_key_values=cache,
                generation_config=GenerationConfig(
                    # Without the tokens that end an answer: the watch knows them, and stops there.
                    max_new_tokens=fitted.room,
                    pad_token_id=0,
                    **sampling,
                ),
                stopping_criteria=StoppingCriteriaList([stop]),
            )
        except _CancelledError:
            self._keep(cache, [*fitted.tokens, *watch.tokens])
            raise
        finally:
            looking.end()
        self._keep(cache, [*fitted.tokens, *watch.tokens])

    def _keep(self, cache: Any, tokens: Sequence[int]) -> None:  # noqa: ANN401 - untyped library
        """Keep what was read of `tokens`: not the last one of an answer, which was only chosen.

        One that was cancelled got further in some layers than in others.
        """
        read = min((layer.get_seq_length() for layer in cache.layers), default=0)
        if not read:
            return
        for layer in cache.layers:
            layer.crop(read - layer.get_seq_length())
        self._cache, self._kept = cache, list(tokens[:read])

    def _cache_for(self, prompt: Sequence[int]) -> Any:  # noqa: ANN401 - untyped library
        """What was read before, as far as `prompt` begins with it: only the rest is read anew.

        It is kept again once the answer has ended, but for one that ran out of memory.
        """
        same = common(self._kept, prompt)
        cache, self._cache = self._cache, None
        self._kept = []
        if cache is None or not same:
            return DynamicCache(config=self._model.config)
        if same < cache.get_seq_length():
            cache.crop(same - cache.get_seq_length())
        return cache

    def _context(self, ask: Ask) -> int:
        own: int = self._model.config.max_position_embeddings
        return min(own, ask.context or own)

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        rows: int = self._model.get_input_embeddings().num_embeddings
        return encode(self._tokens, rows, messages)

    def _end_tokens(self) -> set[int]:
        named = (
            self._model.generation_config.eos_token_id,
            self._model.config.eos_token_id,
            self._tokenizer.eos_token_id,
        )
        return end_tokens(named, self._tokenizer.get_added_vocab())

    def _put_in_force(self, folder: str | None) -> None:
        if folder == self._in_force:
            return
        if folder is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(self._names[folder], inference_mode=True)
        self._in_force = folder
        # Keys and values are those of the adapter that was in force when they were made.
        self._cache, self._kept = None, []


def _sampling(ask: Ask) -> dict[str, Any]:
    """How the next token is chosen, in `generate`'s own names."""
    if ask.temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": ask.temperature, "top_k": 0, "top_p": ask.top_p}


class _CancelledError(Exception):
    """The person no longer wants the answer."""


class _Looking:
    """Looks, while an answer comes, whether the person still wants it: before every layer.

    Reading a long prompt takes many seconds on a CPU, and so may a token of a large model. Where
    tokens come fast it is enough to look at each: a hook costs every layer its short way.
    """

    def __init__(self, layers: Iterable[torch.nn.Module], cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._hooks = [layer.register_forward_pre_hook(self._look) for layer in layers]
        self._last = 0.0

    def at_token(self) -> None:
        """A token was chosen. Raises _CancelledError."""
        self._look()
        if self._hooks:
            now = monotonic()
            if now - self._last < _SOON:
                self.end()
            self._last = now

    def end(self) -> None:
        """Look before no layer any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _look(self, *_: object) -> None:
        if self._cancelled():
            raise _CancelledError


class _Stop(StoppingCriteria):  # type: ignore[misc] # untyped library
    """Shows the watch each token, in the place where the library asks whether to go on."""

    def __init__(self, watch: AnswerWatch, looking: _Looking, device: torch.device) -> None:
        self._watch = watch
        self._looking = looking
        self._replies = torch.tensor([[False], [True]], device=device).unbind()

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        self._looking.at_token()
        return self._replies[self._watch.add(int(input_ids[0, -1]))]
