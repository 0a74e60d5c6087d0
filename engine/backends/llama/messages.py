"""Messages between the chat and its model's worker process, over two pipes.

The chat (host.py) sends requests and the worker (worker.py) replies. A frame is a length (four
bytes, little-endian) and one message in MessagePack. Every reply carries the number of its request;
the last reply to a request is Ready, Done or Failed. Light: both sides import this first.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.core.types import Message, StopReason

LENGTH_BYTES = 4

Quantization = Literal["auto", "nf4", "int8", "none"]
Runtime = Literal["transformers", "llama.cpp"]


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Load the base model in `folder`; its weights have `weight_bytes`.

    llama.cpp loads `adapters` with it, if it can: each one later costs a new start. The base and
    each adapter give `parallel` answers at once.
    """

    folder: str
    quantization: Quantization
    weight_bytes: int
    runtime: Runtime = "transformers"
    adapters: tuple[str, ...] = ()
    number: int = 0
    parallel: int = 1


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """Load the adapter in `folder`, unless it is loaded already."""

    folder: str
    number: int = 0


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Answer `messages` with an adapter, or with the plain base if `adapter` is None.

    `context` limits prompt and answer together; None means the model's own limit. `draft` is a text
    that the answer may repeat: a right guess makes it faster, a wrong one does not change it.
    The probabilities of the `first` tokens are reported before any text.
    With `choices`, texts, the answer is a JSON list: for each, the logarithm of the probability
    with which the base goes on with `question`.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    context: int | None = None
    adapter: str | None = None
    number: int = 0
    draft: str = ""
    first: int = 0
    choices: tuple[str, ...] = ()
    question: str = ""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop request `number`; it gets no further reply."""

    number: int


class Step(msgspec.Struct, frozen=True, tag="step"):
    """Report the progress of an Open; `fraction` is from 0 to 1, or None if unknown."""

    label: str
    fraction: float | None
    number: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Finish an Open or Attach: the adapters that are loaded, and the GPU's memory in use."""

    number: int
    gpu_bytes: int = 0
    adapters: tuple[str, ...] = ()


class TextChunk(msgspec.Struct, frozen=True, tag="piece"):
    """Add text to the answer."""

    text: str
    number: int


class FirstTokens(msgspec.Struct, frozen=True, tag="first"):
    """Report the logarithms of the probabilities of an answer's first tokens, before its text."""

    logprobs: tuple[float, ...]
    number: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Finish an answer. The counts are of tokens."""

    stop_reason: StopReason
    prompt: int
    completion: int
    notice: str
    number: int
    drafted: int = 0
    accepted: int = 0


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Report an error: EngineUnavailable if `unavailable`, else EngineFailed.

    `too_long` makes it PromptTooLong. With `ending` the worker exits, because its model may be
    damaged.
    """

    message: str
    remedy: str
    unavailable: bool
    ending: bool
    number: int
    too_long: bool = False


WorkerRequest = Open | Attach | Ask
ToWorker = Open | Attach | Ask | Cancel
FromWorker = Step | Ready | FirstTokens | TextChunk | Done | Failed
UNFINISHED = Step | FirstTokens | TextChunk
"""The replies to a request before the last."""

_encoder = msgspec.msgpack.Encoder()
for_worker = msgspec.msgpack.Decoder[ToWorker](ToWorker).decode
from_worker = msgspec.msgpack.Decoder[FromWorker](FromWorker).decode


def frame(message: ToWorker | FromWorker) -> bytes:
    """Encode a message with its length in front."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def length_of(header: bytes) -> int:
    """Decode how many bytes follow a frame's header."""
    return int.from_bytes(header, "little")
