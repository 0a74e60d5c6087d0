"""Run a Llama with transformers and peft: load it, switch adapters, answer. Heavy; worker only.

The loop is ours and not the library's `generate`: it checks a draft of the answer (drafting.py) in
the pass that reads the last token, and passes on each token as soon as it is known.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from msgspec.structs import replace
from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper

from engine.backends.llama.adapters import choose_its_base, unusable_adapter
from engine.backends.llama.drafting import Draft
from engine.backends.llama.loading import explain_out_of_memory, load_model, load_tokenizer
from engine.backends.llama.messages import Ask, Done, Open
from engine.backends.llama.text import (
    AnswerDecoder,
    FirstTokens,
    Report,
    rate_choices,
    stop_tokens,
)
from engine.backends.llama.tokens import FittedPrompt, common_prefix, fit
from engine.core.i18n import tr
from engine.core.text import one_line

_SLOW_PASS = 0.05
"""Seconds; in slower passes, Escape is checked for in every layer."""

Choose = Callable[[torch.Tensor], list[int]]
"""Returns a token for each row of logits."""


class TransformersRuntime:
    """One base model and any number of adapters, of which one or none is active."""

    concurrent = False

    def __init__(self, request: Open) -> None:
        self._model = load_model(request)
        self._tokenizer = load_tokenizer(Path(request.folder), self._model)
        rows: int = self._model.get_input_embeddings().num_embeddings
        self._encode = partial(self._tokenizer.encode_question, rows=rows)
        self._encode_record = partial(self._tokenizer.encode_record, rows=rows)
        defaults, config = self._model.generation_config, self._model.config
        configured = (
            defaults.eos_token_id,
            config.eos_token_id,
            self._tokenizer.token_id("eos_token"),
        )
        self._stop_ids = stop_tokens(configured, self._tokenizer.get_added_vocab())
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
        self,
        ask: Ask,
        emit: Callable[[str], None],
        cancelled: Callable[[], bool],
        report: Report | None = None,
    ) -> Done | None:
        """Answer, passing text to `emit`; return None if cancelled. Raises EngineFailed."""
        if ask.choices:
            score = partial(self.score, adapter=None, cancelled=cancelled)
            return rate_choices(ask, self._encode, self._tokenizer.encode_plain, score, emit)
        if ask.adapter is not None:
            self.attach(ask.adapter)
        self._activate(ask.adapter)
        own: int = self._model.config.max_position_embeddings
        prompt = fit(ask.messages, self._encode, min(own, ask.context or own), ask.max_tokens)
        decoder = AnswerDecoder(
            self._tokenizer.decode,
            self._stop_ids,
            self._tokenizer.template,
            emit,
            FirstTokens(ask.first, report),
        )
        draft = Draft(self._encode_record(ask.draft))
        memory = explain_out_of_memory(tr("Out of memory while answering."))
        with memory, torch.inference_mode():
            finished = self._generate(prompt, _chooser(ask), draft, decoder, cancelled)
        if not finished:
            return None
        done = decoder.finish(len(prompt.tokens), prompt.notice, ask.number)
        return replace(done, drafted=draft.drafted, accepted=draft.accepted)

    def score(
        self,
        prompt: list[int],
        text: list[int],
        adapter: str | None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> float | None:
        """Return the logarithm of the probability of a text; None if cancelled."""
        if cancelled():
            return None
        self._activate(adapter)
        memory = explain_out_of_memory(tr("Out of memory while answering."))
        with memory, torch.inference_mode():
            cache = DynamicCache(config=self._model.config)
            logits = self._logits([*prompt, *text[:-1]], len(text), cache).log_softmax(-1)
            return float(logits[range(len(text)), text].sum())

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
        choose: Choose,
        draft: Draft,
        decoder: AnswerDecoder,
        cancelled: Callable[[], bool],
    ) -> bool:
        """Write the answer; return False if cancelled."""
        cache = self._take_cache(prompt.tokens)
        check = _CancelCheck(self._model.model.layers, cancelled)
        try:
            for token in islice(
                self._tokens(prompt, choose, draft, cache, check, decoder.first),
                prompt.max_new_tokens,
            ):
                if decoder.add(token):
                    break
            finished = True
        except _CancelledError:
            finished = False
        finally:
            check.remove()
        self._store_cache(cache, [*prompt.tokens, *decoder.tokens])
        return finished

    def _tokens(
        self,
        prompt: FittedPrompt,
        choose: Choose,
        draft: Draft,
        cache: Any,  # noqa: ANN401 - untyped library
        check: _CancelCheck,
        first: FirstTokens,
    ) -> Iterator[int]:
        """Yield the answer's tokens without end."""
        unread, left = prompt.tokens[cache.get_seq_length() :], prompt.max_new_tokens
        while True:
            guess = draft.propose(left - 1)
            logits = self._logits([*unread, *guess], len(guess) + 1, cache)
            chosen = choose(logits)
            check.after_pass()
            # Each token was chosen after the guess before it, so the first wrong guess is the last.
            right = _matching(guess, chosen)
            draft.judge(len(guess), right)
            _forget(cache, len(guess) - right)
            unread, left = chosen[right : right + 1], left - right - 1
            for row, token in zip(logits, chosen[: right + 1], strict=False):
                draft.follow(token)
                if first.pending:
                    first.note(float(row.log_softmax(-1)[token]))
                yield token

    def _logits(self, tokens: Sequence[int], last: int, cache: Any) -> torch.Tensor:  # noqa: ANN401 - untyped library
        """Read tokens into the cache; return the logits after each of the `last`."""
        read = torch.tensor([tokens], device=self._model.device)
        logits: torch.Tensor = self._model(
            input_ids=read, past_key_values=cache, use_cache=True, logits_to_keep=last
        ).logits
        return logits[0].float()

    def _take_cache(self, prompt: Sequence[int]) -> Any:  # noqa: ANN401 - untyped library
        """Return the cache cut to the prefix it shares with `prompt`, or a new one.

        It belongs to the answer until `_store_cache`: an answer that fails loses it.
        """
        shared = common_prefix(self._cached, prompt)
        cache, self._cache = self._cache, None
        self._cached = []
        if cache is None or not shared:
            return DynamicCache(config=self._model.config)
        _forget(cache, cache.get_seq_length() - shared)
        return cache

    def _store_cache(self, cache: Any, tokens: Sequence[int]) -> None:  # noqa: ANN401 - untyped library
        # The last token of an answer was chosen but not read, unless it was in a draft, and after a
        # cancelled answer some layers have read more than others.
        read = min((layer.get_seq_length() for layer in cache.layers), default=0)
        read = min(read, len(tokens))
        if not read:
            return
        for layer in cache.layers:
            layer.crop(read - layer.get_seq_length())
        self._cache, self._cached = cache, list(tokens[:read])


def _matching(guess: Sequence[int], chosen: Sequence[int]) -> int:
    """Count the first tokens that are alike."""
    pairs = enumerate(zip(guess, chosen, strict=False))
    return next((place for place, (one, other) in pairs if one != other), len(guess))


def _forget(cache: Any, tokens: int) -> None:  # noqa: ANN401 - untyped library
    if tokens > 0:
        cache.crop(-tokens)


def _chooser(ask: Ask) -> Choose:
    """Return what chooses tokens: the likeliest, or with a temperature at random.

    A drafted token counts only if the choice falls on it, so a draft changes no probability.
    """
    if ask.temperature == 0:
        return lambda logits: logits.argmax(-1).tolist()
    warpers: list[Callable[..., torch.Tensor]] = [TemperatureLogitsWarper(ask.temperature)]
    if ask.top_p < 1:
        warpers.append(TopPLogitsWarper(ask.top_p))

    def sample(logits: torch.Tensor) -> list[int]:
        for warp in warpers:
            logits = warp(None, logits)
        drawn: list[int] = torch.multinomial(logits.softmax(-1), 1)[:, 0].tolist()
        return drawn

    return sample


class _CancelledError(Exception):
    pass


class _CancelCheck:
    """Raise _CancelledError once the answer is cancelled: checked before every layer.

    On a CPU a long prompt takes many seconds, and so may a token of a large model. Once passes are
    fast, checking after each is enough and the hooks, which slow every layer, are removed.
    """

    def __init__(self, layers: Iterable[torch.nn.Module], cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._hooks = [layer.register_forward_pre_hook(self._check) for layer in layers]
        self._last = 0.0

    def after_pass(self) -> None:
        self._check()
        if self._hooks:
            now = monotonic()
            if now - self._last < _SLOW_PASS:
                self.remove()
            self._last = now

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _check(self, *_: object) -> None:
        if self._cancelled():
            raise _CancelledError
