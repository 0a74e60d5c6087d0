"""Run a Llama with transformers and peft: load it, switch adapters, answer. Heavy; worker only.

Text comes out of the stopping criteria of the library's `generate`, which see every token first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from engine.backends.llama.adapters import choose_its_base, unusable_adapter
from engine.backends.llama.loading import explain_out_of_memory, load_model, load_tokenizer
from engine.backends.llama.messages import Ask, Done, Open
from engine.backends.llama.text import AnswerDecoder, stop_tokens
from engine.backends.llama.tokens import FittedPrompt, common_prefix, fit
from engine.core.i18n import tr
from engine.core.text import one_line

_SLOW_TOKEN = 0.05
"""Seconds; with slower tokens, Escape is checked for in every layer."""


class TransformersRuntime:
    """One base model and any number of adapters, of which one or none is active."""

    concurrent = False

    def __init__(self, request: Open) -> None:
        self._model = load_model(request)
        self._tokenizer = load_tokenizer(Path(request.folder), self._model)
        rows: int = self._model.get_input_embeddings().num_embeddings
        self._encode = partial(self._tokenizer.encode_question, rows=rows)
        defaults, config = self._model.generation_config, self._model.config
        configured = (
            defaults.eos_token_id,
            config.eos_token_id,
            self._tokenizer.token_id("eos_token"),
        )
        self._stop_ids = stop_tokens(configured, self._tokenizer.get_added_vocab())
        # The model's own defaults (penalties, sampling) would change the catalogue's words.
        self._model.generation_config = GenerationConfig()
        self._peft: Any = None
        self.adapters: dict[str, str] = {}
        """peft's names of the loaded adapters, by folder."""
        self._active: str | None = None
        self._cache: Any = None
        self._cached: list[int] = []
        """The tokens whose keys and values are cached, for the active adapter."""
        self.damaged = False

    def attach(self, folder: str) -> None:
        """Load the adapter in `folder` and activate it. Raises EngineError, perhaps `damaged`."""
        if folder in self.adapters:
            return
        self.damaged = True
        name = f"adapter{len(self.adapters)}"
        try:
            with explain_out_of_memory(tr("Out of memory while loading the adapter.")):
                self._load_adapter(folder, name)
        except (RuntimeError, ValueError, KeyError, TypeError, OSError, UserWarning) as error:
            reason = one_line(str(error), 200).rstrip(".")
            raise unusable_adapter(Path(folder), reason, choose_its_base()) from error
        self.adapters[folder] = name
        self._activate(folder)
        self.damaged = False

    def gpu_bytes(self) -> int:
        """Return the bytes of GPU memory in use, the allocator's reserve included."""
        return int(torch.cuda.memory_reserved()) if torch.cuda.is_available() else 0

    def answer(
        self, ask: Ask, emit: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> Done | None:
        """Answer, passing text to `emit`; return None if cancelled. Raises EngineFailed."""
        if ask.adapter is not None:
            self.attach(ask.adapter)
        self._activate(ask.adapter)
        own: int = self._model.config.max_position_embeddings
        prompt = fit(ask.messages, self._encode, min(own, ask.context or own), ask.max_tokens)
        decoder = AnswerDecoder(
            self._tokenizer.decode, self._stop_ids, self._tokenizer.template, emit
        )
        memory = explain_out_of_memory(tr("Out of memory while answering."))
        with memory, torch.inference_mode():
            finished = self._generate(prompt, _sampling(ask), decoder, cancelled)
        return decoder.finish(len(prompt.tokens), prompt.notice, ask.number) if finished else None

    def _load_adapter(self, folder: str, name: str) -> None:
        from peft import PeftModel

        with warnings.catch_warnings():
            # Without this error it would answer as the plain base, with no sign of the reason.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self._model, folder, adapter_name=name)
            else:
                self._peft.load_adapter(folder, adapter_name=name)
        self._peft.eval()

    def _activate(self, folder: str | None) -> None:
        if folder == self._active:
            return
        if folder is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(self.adapters[folder], inference_mode=True)
        self._active = folder
        # Cached keys and values are valid only for the adapter that made them.
        self._cache, self._cached = None, []

    def _generate(
        self,
        prompt: FittedPrompt,
        sampling: dict[str, Any],
        decoder: AnswerDecoder,
        cancelled: Callable[[], bool],
    ) -> bool:
        """Write the answer; return False if cancelled."""
        tokens = torch.tensor([prompt.tokens], device=self._model.device)
        cache = self._take_cache(prompt.tokens)
        # No EOS ids: the decoder knows them, and ends the answer there.
        limits = {"max_new_tokens": prompt.max_new_tokens, "pad_token_id": 0}
        config = GenerationConfig(**limits, **sampling)
        check = _CancelCheck(self._model.model.layers, cancelled)
        criteria = _AnswerCriteria(decoder, check, tokens.device)
        try:
            self._model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                past_key_values=cache,
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([criteria]),
            )
            finished = True
        except _CancelledError:
            finished = False
        finally:
            check.remove()
        self._store_cache(cache, [*prompt.tokens, *decoder.tokens])
        return finished

    def _take_cache(self, prompt: Sequence[int]) -> Any:  # noqa: ANN401 - untyped library
        """Return the cache cut to the prefix it shares with `prompt`, or a new one.

        It belongs to the answer until `_store_cache`: an answer that fails loses it.
        """
        shared = common_prefix(self._cached, prompt)
        cache, self._cache = self._cache, None
        self._cached = []
        if cache is None or not shared:
            return DynamicCache(config=self._model.config)
        if shared < cache.get_seq_length():
            cache.crop(shared - cache.get_seq_length())
        return cache

    def _store_cache(self, cache: Any, tokens: Sequence[int]) -> None:  # noqa: ANN401 - untyped library
        # The last token of an answer was chosen but not read, and after a cancelled answer some
        # layers have read more than others.
        read = min((layer.get_seq_length() for layer in cache.layers), default=0)
        if not read:
            return
        for layer in cache.layers:
            layer.crop(read - layer.get_seq_length())
        self._cache, self._cached = cache, list(tokens[:read])


def _sampling(ask: Ask) -> dict[str, Any]:
    if ask.temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": ask.temperature, "top_k": 0, "top_p": ask.top_p}


class _CancelledError(Exception):
    pass


class _CancelCheck:
    """Raise _CancelledError once the answer is cancelled: checked before every layer.

    On a CPU a long prompt takes many seconds, and so may a token of a large model. Once tokens are
    fast, checking at each token is enough and the hooks, which slow every layer, are removed.
    """

    def __init__(self, layers: Iterable[torch.nn.Module], cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._hooks = [layer.register_forward_pre_hook(self._check) for layer in layers]
        self._last = 0.0

    def at_token(self) -> None:
        self._check()
        if self._hooks:
            now = monotonic()
            if now - self._last < _SLOW_TOKEN:
                self.remove()
            self._last = now

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _check(self, *_: object) -> None:
        if self._cancelled():
            raise _CancelledError


class _AnswerCriteria(StoppingCriteria):  # type: ignore[misc] # untyped library
    """Pass each token to the decoder, where the library asks whether to stop."""

    def __init__(self, decoder: AnswerDecoder, check: _CancelCheck, device: torch.device) -> None:
        self._decoder = decoder
        self._check = check
        self._replies = torch.tensor([[False], [True]], device=device).unbind()

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        self._check.at_token()
        return self._replies[self._decoder.add(int(input_ids[0, -1]))]
