"""Run a Llama with llama.cpp, for machines without a GPU. Heavy; worker only.

torch stays out of this process: it would cost 200 MB of memory and seconds at the start.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import llama_cpp
import msgspec

from engine.backends.llama import gguf
from engine.backends.llama.adapters import choose_its_base, unusable_adapter
from engine.backends.llama.messages import Ask, Done, Open
from engine.backends.llama.text import AnswerDecoder, stop_tokens
from engine.backends.llama.tokens import PromptTokens, common_prefix, fit, read_tokenizer
from engine.backends.llama.weights import find_model, read_json, threads
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.types import Progress

_BATCH = 128
"""Prompt tokens that are read at a time; a larger batch takes more memory and saves little time."""

_CONTEXT_STEP = 512
"""Tokens by which the context grows, so that a long one takes memory only when it is used."""

_ABORTED = 2
"""The code that llama_decode returns after the abort callback stopped it."""


class _EosConfig(msgspec.Struct, frozen=True):
    eos_token_id: int | list[int] | None = None


class LlamaCppRuntime:
    """One base model and any number of adapters, of which one or none is active."""

    def __init__(self, request: Open, show: Callable[[Progress], None]) -> None:
        """Load the model, converted first if needed; pass the progress to `show`."""
        gguf.silence()
        self._files = find_model(request.folder, "base")
        file = gguf.model_file(self._files, request.quantization, show)
        self._tokenizer = read_tokenizer(self._files.folder)
        self._tokens = PromptTokens(self._tokenizer)
        rows = self._files.config.vocab_size
        self._encode = partial(self._tokens.encode_question, rows=rows)
        self._stop_ids = self._find_stop_ids()
        show(Progress(tr("reading weights")))
        self._model = _load(file)
        self._context: Any = None
        self._context_size = 0
        self._cached: list[int] = []
        """The tokens whose keys and values are cached, for the active adapter."""
        self._adapters: dict[str, Any] = {}
        self._active: str | None = None
        self.damaged = False
        self._cancelled: Callable[[], bool] = lambda: False
        # An attribute keeps the callback alive: llama.cpp stores only its address.
        self._abort = llama_cpp.ggml_abort_callback(lambda _data: self._cancelled())

    def gpu_bytes(self) -> int:
        """Return 0: this runtime computes on the CPU."""
        return 0

    def attach(self, folder: str) -> None:
        """Load the adapter in `folder`, unless it is loaded. Raises EngineError."""
        if folder in self._adapters:
            return
        file = gguf.adapter_file(Path(folder), self._files)
        adapter = llama_cpp.llama_adapter_lora_init(self._model, str(file).encode())
        if adapter is None:
            reason = tr("llama.cpp rejects it")
            raise unusable_adapter(Path(folder), reason, choose_its_base())
        self._adapters[folder] = adapter

    def answer(
        self, ask: Ask, emit: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> Done | None:
        """Answer, passing text to `emit`; return None if cancelled. Raises EngineFailed."""
        self._cancelled = cancelled
        if ask.adapter is not None:
            self.attach(ask.adapter)
        own = self._files.config.max_position_embeddings
        prompt = fit(ask.messages, self._encode, min(own, ask.context or own), ask.max_tokens)
        self._grow_context(len(prompt.tokens) + prompt.max_new_tokens)
        self._activate(ask.adapter)
        decoder = AnswerDecoder(self._tokens.decode, self._stop_ids, self._tokens.template, emit)
        sampler = _sampler(ask)
        try:
            read = self._read_prompt(prompt.tokens)
            finished = read and self._generate(prompt.max_new_tokens, sampler, decoder)
        finally:
            llama_cpp.llama_sampler_free(sampler)
        return decoder.finish(len(prompt.tokens), prompt.notice, ask.number) if finished else None

    def _read_prompt(self, prompt: list[int]) -> bool:
        """Read what is not cached yet; return False if cancelled."""
        shared = common_prefix(self._cached, prompt)
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_seq_rm(memory, 0, shared, -1)
        self._cached = prompt[:shared]
        starts = range(shared, len(prompt), _BATCH)
        return all(self._read(prompt[start : start + _BATCH]) for start in starts)

    def _generate(self, max_new_tokens: int, sampler: Any, decoder: AnswerDecoder) -> bool:  # noqa: ANN401 - untyped library
        """Write the answer; return False if cancelled."""
        for place in range(max_new_tokens):
            token: int = llama_cpp.llama_sampler_sample(sampler, self._context, -1)
            if decoder.add(token) or place == max_new_tokens - 1:
                return True
            if not self._read([token]):
                return False
        return True

    def _read(self, tokens: Sequence[int]) -> bool:
        """Add tokens to the cache; return False if cancelled. Raises EngineFailed."""
        if self._cancelled():
            return False
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(ids, len(tokens))
        code = llama_cpp.llama_decode(self._context, batch)
        if code == _ABORTED:
            # Parts of this batch may be cached.
            memory = llama_cpp.llama_get_memory(self._context)
            llama_cpp.llama_memory_seq_rm(memory, 0, len(self._cached), -1)
            return False
        if code:
            raise EngineFailed(
                tr("llama.cpp stopped with code {code}.", code=code),
                tr("Start a new conversation, or choose a model with a longer context."),
            )
        self._cached.extend(tokens)
        return True

    def _grow_context(self, tokens: int) -> None:
        """Replace the context by an empty larger one if it has less than `tokens`."""
        if tokens <= self._context_size:
            return
        if self._context is not None:
            llama_cpp.llama_free(self._context)
        parameters = llama_cpp.llama_context_default_params()
        self._context_size = parameters.n_ctx = -(-tokens // _CONTEXT_STEP) * _CONTEXT_STEP
        parameters.n_batch = parameters.n_ubatch = _BATCH
        # Only the last token's logits are used; the default has room for those of every token.
        parameters.n_outputs_max = 1
        parameters.n_threads = parameters.n_threads_batch = threads(self._files.weight_bytes)
        parameters.abort_callback = self._abort
        self._cached, self._active = [], None
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        if self._context is None:
            self._context_size = 0
            raise EngineFailed(
                tr("Out of memory while answering."),
                tr("Close other programs, start a new conversation, or choose a smaller model."),
            )

    def _activate(self, folder: str | None) -> None:
        if folder == self._active:
            return
        count = 0 if folder is None else 1
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(self._adapters.get(folder or ""))
        scales = (ctypes.c_float * 1)(1.0)
        llama_cpp.llama_set_adapters_lora(self._context, adapters, count, scales)
        self._active = folder
        # Cached keys and values are valid only for the adapter that made them.
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)
        self._cached = []

    def _find_stop_ids(self) -> set[int]:
        configured: list[int | list[int] | None] = [self._tokenizer.eos_token_id]
        for name in ("config.json", "generation_config.json"):
            file = self._files.folder / name
            if file.exists():
                configured.append(read_json(file, _EosConfig).eos_token_id)
        return stop_tokens(configured, self._tokenizer.get_added_vocab())


def _load(file: Path) -> Any:  # noqa: ANN401 - untyped library
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    # The extra buffers are a second copy of the weights, for faster prompts: twice the memory. And
    # on a processor with AMX, the kernels of llama.cpp 0.3.36 crash on that copy.
    parameters.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
    if model is None:
        raise EngineUnavailable(
            tr("llama.cpp cannot load {file}.", file=file),
            tr("Delete {folder} and ask again: the model is converted again.", folder=file.parent),
        )
    return model


def _sampler(ask: Ask) -> Any:  # noqa: ANN401 - untyped library
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if ask.temperature > 0:
        steps = [
            llama_cpp.llama_sampler_init_temp(ask.temperature),
            llama_cpp.llama_sampler_init_top_p(ask.top_p, 1),
            llama_cpp.llama_sampler_init_dist(llama_cpp.LLAMA_DEFAULT_SEED),
        ]
    else:
        steps = [llama_cpp.llama_sampler_init_greedy()]
    for step in steps:
        llama_cpp.llama_sampler_chain_add(chain, step)
    return chain
