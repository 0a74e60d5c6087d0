"""What the chat and the model's worker process say to each other: typed, over two pipes.

llama_link sends a request and reads its replies; llama_worker answers. Each frame is a length (four
bytes, little-endian) and one message in MessagePack. Every reply names the request it belongs to;
the last one to each is Ready, Done or Failed. Light: both sides import this before all else.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.core.types import Message, StopReason

LENGTH_BYTES = 4

Quantization = Literal["auto", "nf4", "int8", "none"]
Runtime = Literal["transformers", "llama.cpp"]


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Load the base model that lies in `folder`; its weights take `weight_bytes` on disk."""

    folder: str
    quantization: Quantization
    weight_bytes: int
    runtime: Runtime = "transformers"
    number: int = 0


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """Load the adapter in `folder` beside the base, if it is not there already."""

    folder: str
    number: int = 0


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Answer `messages` with an adapter, or with the plain base where `adapter` is None.

    `context` limits prompt and answer together; None takes the model's own limit.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    context: int | None = None
    adapter: str | None = None
    number: int = 0


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop working on request `number` and all before it; they get no further reply."""

    number: int


class Step(msgspec.Struct, frozen=True, tag="step"):
    """How far an Open has come; `fraction` is from 0 to 1 where it is known."""

    label: str
    fraction: float | None
    number: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The Open or Attach is carried out; of a GPU's memory the worker now holds `gpu_bytes`."""

    number: int
    gpu_bytes: int = 0


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """Some more text of the answer."""

    text: str
    number: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The answer has ended. `prompt` and `completion` count tokens."""

    stop_reason: StopReason
    prompt: int
    completion: int
    notice: str
    number: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The request failed; `unavailable` says that the remedy would make it work.

    `ending` says that the worker ends itself now, since its model is not to be relied on.
    """

    message: str
    remedy: str
    unavailable: bool
    ending: bool
    number: int


Request = Open | Attach | Ask
ToWorker = Open | Attach | Ask | Cancel
FromWorker = Step | Ready | Piece | Done | Failed

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """The message as it goes through the pipe."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def length_of(header: bytes) -> int:
    """How many bytes follow a frame's header."""
    return int.from_bytes(header, "little")


def for_worker(body: bytes) -> ToWorker:
    """A frame's body, as the worker reads it. Raises msgspec.DecodeError."""
    return _to_worker.decode(body)


def from_worker(body: bytes) -> FromWorker:
    """A frame's body, as the chat reads it. Raises msgspec.DecodeError."""
    return _from_worker.decode(body)
