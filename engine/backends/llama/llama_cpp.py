"""Run a Llama with llama.cpp, for machines without a GPU. Heavy; worker only.

xllamacpp is llama.cpp's server in this process. It serves several answers at once and keeps the
prompt of the base and of each adapter in a slot of its own, so that a switch between them in a
conversation reads only what is new.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import xllamacpp

from engine.backends.llama import converted
from engine.backends.llama.adapters import choose_its_base, unusable_adapter
from engine.backends.llama.messages import Ask, Done, Open
from engine.backends.llama.text import (
    AnswerDecoder,
    FirstTokens,
    Report,
    rate_choices,
    stop_tokens,
)
from engine.backends.llama.tokens import fit, read_tokenizer
from engine.backends.llama.weights import find_model, pull_command, read_json, threads
from engine.config import paths
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Progress

_BATCH = 64
"""Prompt tokens that are read at a time: llama.cpp looks for a cancellation between batches."""

_CONTEXT_STEP = 1024
"""Tokens by which a slot grows: its memory is taken at once, so a long one waits until needed."""


_MANY_SLOTS_UP_TO = 1 << 30
"""Bytes of weights: a larger model's slots take gigabytes."""

_SAMPLES, _PAUSE = 5, 0.004
"""How often to look who else uses the cores, and the seconds between."""

_PATIENCE = 10.0
"""Seconds to wait for the server's own HTTP thread."""

_SEEN, _GUESSED = 16, 16
"""Where the last tokens are in the prompt as well, llama.cpp guesses the next ones (its setting is
for the whole server). Fewer match at the end of a short reply that is repeated, with the marks of
its turn, and a wrong guess costs four tokens' time; with fewer guessed than seen it guesses
nothing."""


class _EosConfig(msgspec.Struct, frozen=True):
    eos_token_id: int | list[int] | None = None


class LlamaCppRuntime:
    """One base model and any number of adapters; answers may run at once, on threads."""

    concurrent = True

    def __init__(self, request: Open, show: Callable[[Progress], None]) -> None:
        """Load the model, converted first if needed; pass the progress to `show`."""
        self._files = find_model(request.folder, "base")
        self._file = converted.model_file(self._files, request.quantization, show)
        self._tokenizer = read_tokenizer(self._files.folder)
        rows = self._files.config.vocab_size
        self._encode = partial(self._tokenizer.encode_question, rows=rows)
        self._stop_ids = self._find_stop_ids()
        self.adapters: dict[str, Path] = {}
        """GGUF files by folder; their places are those of the server's adapters."""
        for folder in request.adapters:
            with contextlib.suppress(EngineUnavailable):  # attaching it will say why
                self.adapters[folder] = converted.adapter_file(Path(folder), self._files)
        self._idle = threading.Condition()
        self._parallel = request.parallel if request.weight_bytes <= _MANY_SLOTS_UP_TO else 1
        self._busy: set[int] = set()
        """Slots with an answer."""
        self._slot_size = 2 * _CONTEXT_STEP  # a record, and an answer of the default length
        self._server: Any = None
        self.damaged = False
        show(Progress(tr("reading weights")))
        try:
            self._start()
        except EngineUnavailable:
            self.adapters.clear()
            self._start()

    def gpu_bytes(self) -> int:
        """Return 0: this runtime computes on the CPU."""
        return 0

    def attach(self, folder: str) -> None:
        """Load the adapter in `folder`, unless it is loaded. Raises EngineError."""
        if folder in self.adapters:
            return
        file = converted.adapter_file(Path(folder), self._files)
        with self._alone():
            self.adapters[folder] = file
            try:
                self._start()
            except EngineUnavailable as error:
                del self.adapters[folder]
                self._start()
                reason = tr("llama.cpp rejects it")
                raise unusable_adapter(Path(folder), reason, choose_its_base()) from error

    def answer(
        self,
        ask: Ask,
        emit: Callable[[str], None],
        cancelled: Callable[[], bool],
        report: Report | None = None,
    ) -> Done | None:
        """Answer, passing text to `emit`; return None if cancelled. Raises EngineError."""
        if ask.choices:
            score = partial(self.score, adapter=None, cancelled=cancelled)
            return rate_choices(ask, self._encode, self._tokenizer.encode_plain, score, emit)
        if ask.adapter is not None:
            self.attach(ask.adapter)
        own = self._files.config.max_position_embeddings
        prompt = fit(ask.messages, self._encode, min(own, ask.context or own), ask.max_tokens)
        decoder = AnswerDecoder(
            self._tokenizer.decode,
            self._stop_ids,
            self._tokenizer.template,
            emit,
            FirstTokens(ask.first, report),
        )
        reader = _StreamReader(decoder, self._tokenizer.decode, cancelled)
        with self._slot_of(ask.adapter, len(prompt.tokens) + prompt.max_new_tokens) as slot:
            self._server.handle_completions(
                {
                    "prompt": prompt.tokens,
                    "n_predict": prompt.max_new_tokens,
                    "stream": True,
                    "return_progress": True,  # calls back while the prompt is read
                    "logprobs": 1,  # the only way to the tokens' ids
                    "timings_per_token": True,  # and to their number
                    "cache_prompt": True,
                    "id_slot": slot,
                    "lora": self._scales(ask.adapter),
                    **_sampling(ask),
                },
                reader.read,
            )
        if reader.stopped:
            return None
        if reader.error:
            raise _stopped(reader.error)
        done = decoder.finish(len(prompt.tokens), prompt.notice, ask.number)
        return msgspec.structs.replace(
            done, completion=reader.tokens, drafted=reader.drafted, accepted=reader.accepted
        )

    def score(
        self,
        prompt: list[int],
        text: list[int],
        adapter: str | None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> float | None:
        """Return the logarithm of the probability of a text; None if cancelled.

        A grammar forces the model to write it: llama.cpp rates only what it writes.
        """
        forced = "root ::= " + " ".join(f"<[{token}]>" for token in text)
        found, error = list[float](), list[str]()

        def read(chunk: dict[str, Any]) -> bool:
            error.extend(_error_of(chunk))
            for choice in chunk.get("choices", ()):
                written = (choice["logprobs"] or {}).get("content", ())
                found.extend(one["logprob"] for one in written)
            return bool(error) or cancelled()

        with self._slot_of(adapter, len(prompt) + len(text) + 1) as slot:
            self._server.handle_completions(
                {
                    "prompt": prompt,
                    "n_predict": len(text),
                    "stream": True,
                    "return_progress": True,
                    "logprobs": 1,
                    "grammar": forced,
                    "id_slot": slot,
                    "lora": self._scales(adapter),
                    "samplers": ["top_k"],
                    "top_k": 1,
                },
                read,
            )
        if error:
            raise _stopped(error[0])
        return None if cancelled() else sum(found)

    def _scales(self, folder: str | None) -> list[dict[str, Any]]:
        """Return the adapters' scales for the base, or for the adapter in `folder`."""
        places = enumerate(self.adapters)
        return [{"id": place, "scale": float(name == folder)} for place, name in places]

    def _free_slot(self, folder: str | None) -> int | None:
        """Return a free slot of the base or of an adapter: each has its own, for its cache."""
        first = (1 + list(self.adapters).index(folder) if folder else 0) * self._parallel
        slots = range(first, first + self._parallel)
        return next((slot for slot in slots if slot not in self._busy), None)

    @contextlib.contextmanager
    def _slot_of(self, folder: str | None, tokens: int) -> Iterator[int]:
        """Hold the server, with slots of at least `tokens`, for an answer; yield its slot."""
        if tokens > self._slot_size:
            with self._alone():
                if tokens > self._slot_size:
                    self._slot_size = -(-tokens // _CONTEXT_STEP) * _CONTEXT_STEP
                    self._start()
        with self._idle:
            self._idle.wait_for(lambda: self._free_slot(folder) is not None)
            slot = self._free_slot(folder) or 0
            self._busy.add(slot)
        try:
            yield slot
        finally:
            with self._idle:
                self._busy.remove(slot)
                self._idle.notify_all()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the server while no answer runs."""
        with self._idle:
            self._idle.wait_for(lambda: not self._busy)
            yield

    def _start(self) -> None:
        """Start the server, in place of the one that runs. Raises EngineUnavailable."""
        self.damaged = True
        self._stop()
        try:
            self._server = xllamacpp.Server(self._parameters())
            self.damaged = False
        except (RuntimeError, ValueError, MemoryError, OSError) as error:
            told = tr("llama.cpp cannot load {file}.", file=self._file)
            raise EngineUnavailable(told, self._remedy()) from error

    def _stop(self) -> None:
        """Free the server's memory."""
        if self._server is None:
            return
        from http.client import HTTPConnection, HTTPException

        # A server that is freed before it listens, or before its loop has begun, would wait for its
        # own threads for ever. An answer says that the loop runs.
        address = urlsplit(self._server.listening_address)
        with contextlib.suppress(OSError, HTTPException):
            connection = HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE)
            connection.request("GET", "/health")
            connection.getresponse()
            connection.close()
        with contextlib.suppress(RuntimeError, ValueError):
            self._server.handle_completions({"prompt": [0], "n_predict": 1}, lambda _: True)
        self._server = None

    def _remedy(self) -> str:
        if self._file.parent == paths.small_model_dir().resolve():
            return tr("Run: {command}", command=pull_command(paths.SMALL))
        if self._file == self._files.gguf:
            return tr("Copy or download it again.")
        return tr(
            "Delete {folder} and ask again: the model is converted again.", folder=self._file.parent
        )

    def _parameters(self) -> Any:  # noqa: ANN401 - untyped library
        slots = (1 + len(self.adapters)) * self._parallel
        values = xllamacpp.CommonParams()
        values.model.path = str(self._file)
        values.n_parallel = slots
        values.n_ctx = self._slot_size * slots
        values.n_batch = values.n_ubatch = _BATCH
        values.cpuparams.n_threads = _free_threads(self._files.weight_bytes)
        values.cpuparams_batch.n_threads = values.cpuparams.n_threads
        values.lora_adapters = [
            xllamacpp.CommonAdapterLoraInfo(str(file), 0.0) for file in self.adapters.values()
        ]
        values.lora_init_without_apply = True
        values.cache_ram_mib = 0  # no second cache of prompts, of up to 8 GiB
        values.no_extra_bufts = True  # no second copy of the weights, for faster prompts
        values.warmup = False
        values.verbosity = -1
        # The server listens on 127.0.0.1, which cannot be turned off: nobody has its key.
        values.api_keys = [secrets.token_urlsafe(32)]
        values.ui = values.endpoint_slots = False
        kinds = xllamacpp.common_speculative_type
        guessing = kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE
        values.speculative.types = [guessing] if _GUESSED else []
        values.speculative.ngram_simple.size_n = _SEEN
        values.speculative.ngram_simple.size_m = _GUESSED
        values.n_threads_http = 1
        return values

    def _find_stop_ids(self) -> set[int]:
        configured: list[int | list[int] | None] = [self._tokenizer.token_id("eos_token")]
        for name in ("config.json", "generation_config.json"):
            file = self._files.folder / name
            if file.exists():
                configured.append(read_json(file, _EosConfig).eos_token_id)
        return stop_tokens(configured, self._tokenizer.get_added_vocab())


class _StreamReader:
    """Pass the server's chunks to the decoder until the answer ends or is cancelled."""

    def __init__(
        self,
        decoder: AnswerDecoder,
        decode: Callable[[Sequence[int]], str],
        cancelled: Callable[[], bool],
    ) -> None:
        self._decoder = decoder
        self._decode = decode
        self._cancelled = cancelled
        self.stopped = False
        """Whether the answer was cancelled."""
        self.error = ""
        self.tokens = self.drafted = self.accepted = 0
        """How many tokens the answer has, and how many were guessed, and rightly so."""
        self._ids: dict[str, int] = {}
        """The tokens by their text."""

    def read(self, chunk: dict[str, Any]) -> bool:
        """Process one chunk; return whether the server should stop."""
        for error in _error_of(chunk):
            self.error = error
            return True
        self.stopped = self._cancelled()
        if self.stopped:
            return True
        if timings := chunk.get("timings"):
            self.tokens = timings["predicted_n"]
            self.drafted = timings.get("draft_n", 0)
            self.accepted = timings.get("draft_n_accepted", 0)
        choice = chunk["choices"][0]
        text, tokens = choice["text"], (choice["logprobs"] or {}).get("content", ())
        if choice["finish_reason"] == "stop":
            self._decoder.complete()
        if not tokens and not text:
            return False  # the progress of the prompt, or the end
        self._decoder.first.note(tokens[0].get("logprob") if tokens else None)
        token = self._id(text, tokens[0]["id"] if tokens else None)
        if tokens and not self._decoder.tokens:
            text = self._decode(
                [token]
            )  # without the space that a sentencepiece answer begins with
        return self._decoder.add_text(token, text)

    def _id(self, text: str, token: int | None) -> int:
        """Return the same id for the same text: a guessed token comes without its own.

        A character of several tokens comes as one text, with the id of the last.
        """
        if not text and token is not None:
            return token
        return self._ids.setdefault(text, -1 - len(self._ids) if token is None else token)


def _error_of(chunk: dict[str, Any]) -> list[str]:
    if "error" not in chunk:
        return []
    return [one_line(str(chunk["error"].get("message", "")), 200).rstrip(".") or tr("unknown")]


def _stopped(error: str) -> EngineFailed:
    return EngineFailed(
        tr("llama.cpp stopped: {error}.", error=error),
        tr("Start a new conversation, or choose a model with a longer context."),
    )


def _free_threads(weight_bytes: int) -> int:
    """Return how many threads compute fastest beside the other programs that run now."""
    # Threads without a core of their own wait for each other: one token a second instead of 70.
    return max(1, threads(weight_bytes) - _busy_cores())


def _busy_cores() -> int:
    """Return how many cores other programs have used for a minute and use now."""
    running = []
    for _ in range(_SAMPLES):
        try:
            minute, _, _, now, _ = Path("/proc/loadavg").read_text(encoding="ascii").split()
        except OSError:  # not Linux
            return 0
        running.append(int(now.partition("/")[0]) - 1)  # without this thread
        time.sleep(_PAUSE)
    return min(round(float(minute)), *running)


def _sampling(ask: Ask) -> dict[str, Any]:
    if ask.temperature == 0:
        # As with a temperature of 0, but without sorting the probabilities of all tokens twice:
        # that costs a twentieth of the speed, and is needed only for those of the first tokens.
        return {"samplers": ["top_k"], "top_k": 1, "post_sampling_probs": not ask.first}
    return {
        "samplers": ["temperature", "top_p"],
        "temperature": ask.temperature,
        "top_p": ask.top_p,
    }
