"""A Llama by llama.cpp, for machines without a GPU: loads it, sets adapters, answers.

Runs in the worker alone. torch is kept out of this process: with it, the worker would take 200 MB
more and seconds longer. What is read of a conversation is kept, so that its next turn reads only
what is new.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import msgspec

from engine.backends.llama import gguf as gguf_cache
from engine.backends.llama.messages import Ask, Done, Open
from engine.backends.llama.runtimes import threads
from engine.backends.llama.text import AnswerWatch, end_tokens
from engine.backends.llama.tokens import PromptTokens, common, encode, fit, read_tokenizer
from engine.backends.llama.weights import find_model, read_json
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.types import Message, Progress

_BATCH = 128
"""Prompt tokens that are read at once: more is hardly faster on a CPU, and takes more memory."""

_CONTEXT_STEP = 512
"""Tokens by which the memory of a conversation grows, so that a long context costs when used."""

_ABORTED = 2
"""What llama_decode returns when it was told to stop."""


class _Ends(msgspec.Struct, frozen=True):
    eos_token_id: int | list[int] | None = None


class LlamaCppRuntime:
    """One base model with any number of adapters beside it, one of which is in force, or none."""

    def __init__(self, request: Open, show: Callable[[Progress], None]) -> None:
        """Load the model of `request`, converted first if need be; `show` is told how far it is."""
        gguf_cache.be_silent()
        self._files = find_model(request.folder, "base")
        file = gguf_cache.model_file(self._files, request.quantization, show)
        self._tokenizer = read_tokenizer(self._files.folder)
        self._tokens = PromptTokens(self._tokenizer)
        self._ends = self._end_tokens()
        show(Progress(tr("reading weights")))
        self._model = _load(file)
        self._context: Any = None
        self._room = 0
        self._kept: list[int] = []
        """The tokens whose keys and values are held, for the adapter in force."""
        self._adapters: dict[str, Any] = {}
        self._in_force: str | None = None
        self.spoiled = False
        self._cancelled: Callable[[], bool] = lambda: False
        # Held here, since llama.cpp keeps only its address.
        self._abort = llama_cpp.ggml_abort_callback(lambda _data: self._cancelled())

    def gpu_bytes(self) -> int:
        """None: it computes on the CPU alone."""
        return 0

    def attach(self, folder: str) -> None:
        """Load the adapter in `folder` beside the base, unless it is there. Raises EngineError."""
        if folder in self._adapters:
            return
        file = gguf_cache.adapter_file(Path(folder), self._files)
        adapter = llama_cpp.llama_adapter_lora_init(self._model, str(file).encode())
        if adapter is None:
            raise EngineUnavailable(
                tr("The adapter in {folder} does not fit the model.", folder=folder),
                tr(
                    "Choose the base that it was trained on, or train it again with `balcao train`."
                ),
            )
        self._adapters[folder] = adapter

    def answer(
        self, ask: Ask, emit: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> Done | None:
        """Answer, giving text to `emit` as it comes; None if cancelled. Raises EngineFailed."""
        self._cancelled = cancelled
        if ask.adapter is not None:
            self.attach(ask.adapter)
        own = self._files.config.max_position_embeddings
        fitted = fit(ask.messages, self._encode, min(own, ask.context or own), ask.max_tokens)
        self._make_room(len(fitted.tokens) + fitted.room)
        self._put_in_force(ask.adapter)
        watch = AnswerWatch(self._tokens.decode, self._ends, self._tokens.template, emit)
        if not self._generate(fitted.tokens, fitted.room, _sampler(ask), watch):
            return None
        watch.finish()
        notice = " ".join(filter(None, (fitted.notice, watch.notice)))
        return Done(
            watch.stop_reason, len(fitted.tokens), len(watch.tokens), notice, number=ask.number
        )

    def _generate(self, prompt: list[int], room: int, sampler: Any, watch: AnswerWatch) -> bool:  # noqa: ANN401 - untyped library
        """Read the prompt and write the answer; whether it was not cancelled."""
        try:
            return self._read_prompt(prompt) and self._write_answer(room, sampler, watch)
        finally:
            llama_cpp.llama_sampler_free(sampler)

    def _read_prompt(self, prompt: list[int]) -> bool:
        same = common(self._kept, prompt)
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_seq_rm(memory, 0, same, -1)
        self._kept = prompt[:same]
        for start in range(same, len(prompt), _BATCH):
            if not self._read(prompt[start : start + _BATCH]):
                return False
        return True

    def _write_answer(self, room: int, sampler: Any, watch: AnswerWatch) -> bool:  # noqa: ANN401 - as above
        for place in range(room):
            token: int = llama_cpp.llama_sampler_sample(sampler, self._context, -1)
            if watch.add(token) or place == room - 1:
                return True
            if not self._read([token]):
                return False
        return True

    def _read(self, tokens: Sequence[int]) -> bool:
        """Take tokens in; whether it was not cancelled meanwhile. Raises EngineFailed."""
        if self._cancelled():
            return False
        batch = (llama_cpp.llama_token * len(tokens))(*tokens)
        code = llama_cpp.llama_decode(
            self._context, llama_cpp.llama_batch_get_one(batch, len(tokens))
        )
        if code == _ABORTED:
            # What was read of this batch is not known to be whole.
            memory = llama_cpp.llama_get_memory(self._context)
            llama_cpp.llama_memory_seq_rm(memory, 0, len(self._kept), -1)
            return False
        if code:
            raise EngineFailed(
                tr("llama.cpp could not go on (code {code}).", code=code),
                tr("Begin a new conversation, or choose a model with a longer context."),
            )
        self._kept.extend(tokens)
        return True

    def _make_room(self, tokens: int) -> None:
        """A conversation's memory of at least that many tokens; a new one is empty."""
        if tokens <= self._room:
            return
        if self._context is not None:
            llama_cpp.llama_free(self._context)
        parameters = llama_cpp.llama_context_default_params()
        self._room = parameters.n_ctx = -(-tokens // _CONTEXT_STEP) * _CONTEXT_STEP
        parameters.n_batch = parameters.n_ubatch = _BATCH
        # Only the last token's choice is looked at; else there is room for one of each.
        parameters.n_outputs_max = 1
        parameters.n_threads = parameters.n_threads_batch = threads(self._files.weight_bytes)
        parameters.abort_callback = self._abort
        self._kept, self._in_force = [], None
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        if self._context is None:
            self._room = 0
            raise EngineFailed(
                tr("Memory ran out: the model could not answer."),
                tr("Close other programs, begin a new conversation, or choose a smaller model."),
            )

    def _put_in_force(self, folder: str | None) -> None:
        if folder == self._in_force:
            return
        count = 0 if folder is None else 1
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(self._adapters.get(folder or ""))
        scales = (ctypes.c_float * 1)(1.0)
        llama_cpp.llama_set_adapters_lora(self._context, adapters, count, scales)
        self._in_force = folder
        # Keys and values are those of the adapter that was in force when they were made.
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)
        self._kept = []

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        return encode(self._tokens, self._files.config.vocab_size, messages)

    def _end_tokens(self) -> set[int]:
        named = [self._tokenizer.eos_token_id]
        for name in ("config.json", "generation_config.json"):
            file = self._files.folder / name
            if file.exists():
                named.append(read_json(file, _Ends).eos_token_id)
        return end_tokens(named, self._tokenizer.get_added_vocab())


def _load(file: Path) -> Any:  # noqa: ANN401 - untyped library
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    # Else weights are held a second time, in another order: twice the memory for a faster prompt.
    # And on a processor with AMX, llama.cpp 0.3.36's own kernels crash on that copy.
    parameters.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
    if model is None:
        raise EngineUnavailable(
            tr("llama.cpp cannot load {file}.", file=file),
            tr("Delete {parent}: it is made anew then.", parent=file.parent),
        )
    return model


def _sampler(ask: Ask) -> Any:  # noqa: ANN401 - as above
    """The choice of each token: the likeliest, or by chance among the likelier ones."""
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
