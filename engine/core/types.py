"""Values that pass between the parts of the engine, and the events of an answer.

They are msgspec structs, not dataclasses: the chat's first frame waits for this module, and two
dozen dataclasses take 10 ms to create, a twentieth of the start. `msgspec.structs` has `replace`
and `asdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Language = Literal["en", "pt"]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Mode(StrEnum):
    """What a model sees of the catalogue, and whether it writes."""

    QUOTE = "quote"
    """The answer to a follow-up is sentences of the record; to another question, as grounded."""
    GROUNDED = "grounded"
    """The prompt contains the record that the search found."""
    MEMORY = "memory"
    """The prompt is the question alone: the answer shows what the model has learned."""


class Status(StrEnum):
    """The result of searching the catalogue for a question."""

    EXACT = "exact"
    """One product, without doubt."""
    LIKELY = "likely"
    """One product, named in the answer so that the user can check it."""
    SEVERAL = "several"
    """Several products fit: the user picks one."""
    NONE = "none"
    """The product is not in the catalogue."""


class Taught(StrEnum):
    """Whether an adapter that answers from memory was taught what a question asks for."""

    LEARNED = "learned"
    UNSURE = "unsure"
    NOT_TAUGHT = "not_taught"


class StopReason(StrEnum):
    """Why an answer ended."""

    COMPLETE = "complete"
    LENGTH = "length"
    REPEATED = "repeated"
    """The model repeated itself."""
    CANCELLED = "cancelled"
    ERROR = "error"


class Role(StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Product(Struct, frozen=True):
    """A record of the catalogue: its cleaned text, and the data set's; either may be empty."""

    uid: str
    title: str
    description: str
    original: str = ""


class Hit(Struct, frozen=True):
    """A product that a search found; `score` is 0..1, with 1 for its full title.

    `trained` says whether the adapter that answered was trained on the product, if that is known.
    `edition` marks another edition of the hit before it. `lit` has words of the description near
    those of the question; `passage` is where the part of it begins that a list shows. `quoted`
    is where the sentences begin and end that an answer quotes.
    """

    product: Product
    score: float
    trained: bool | msgspec.UnsetType = msgspec.UNSET
    edition: bool | msgspec.UnsetType = msgspec.UNSET
    lit: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    passage: Count | msgspec.UnsetType = msgspec.UNSET
    quoted: tuple[tuple[Count, Count], ...] | msgspec.UnsetType = msgspec.UNSET


class Decision(Struct, frozen=True):
    """The products that a question is about: `hits`, and the closest others, `nearest`."""

    status: Status
    hits: tuple[Hit, ...] = ()
    nearest: tuple[Hit, ...] = ()
    close: bool = False
    """Whether the hits are like the question, and none has all of its words."""

    @property
    def product(self) -> Product | None:
        """The product, if the decision is for one."""
        return self.hits[0].product if self.status in (Status.EXACT, Status.LIKELY) else None

    @property
    def draft(self) -> str:
        """The text that an answer probably repeats: the description of the best hit."""
        return self.hits[0].product.description if self.hits else ""


class Completion(Struct, frozen=True):
    """A suggested title, which replaces the text from the character `start` on."""

    start: int
    title: str


class Message(Struct, frozen=True):
    """A message of a prompt."""

    role: Role
    content: str


class Tokens(Struct, frozen=True, omit_defaults=True):
    """Token counts as the engine reports them.

    `drafted` tokens were guessed from the record, and the model `accepted` so many of them: the
    share is its own confidence that the answer is the record.
    """

    prompt: Count
    completion: Count
    drafted: Count = 0
    accepted: Count = 0


class Request(Struct, frozen=True):
    """A question for an engine.

    `messages` is the whole prompt, oldest message first, ending with the question. `decision` is
    the search result: in grounded mode the prompt contains its record, and the catalogue engine
    answers from it. `followup` says that the product is that of the turn before. With `choices`,
    sentences of the record, a model answers with the number of one, from 1, or 0 for none, or with
    a JSON list of scores, the logarithms of the question's probability after each. `language` is
    the answer's. `temperature` 0 is greedy decoding; above it, the next token is sampled from the
    likeliest tokens with the total probability `top_p`.
    """

    question: str
    mode: Mode
    messages: tuple[Message, ...]
    decision: Decision
    followup: bool = False
    language: Language = "en"
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    choices: tuple[str, ...] = ()


class Chunk(Struct, frozen=True):
    """A piece of a streamed answer; the last one has `stop_reason`, and `tokens` if known.

    `thinking` is a model's reasoning, which is no part of the answer; `logprobs` has one value for
    each token of the chunk, where a server gives them. `notice` is a sentence for the user about
    the answer, such as that older turns were dropped. `by_counter` marks the program's own
    sentences, which do not quote a record.
    """

    text: str = ""
    stop_reason: StopReason | None = None
    tokens: Tokens | None = None
    notice: str = ""
    by_counter: bool = False
    thinking: str = ""
    logprobs: tuple[float, ...] = ()


class EngineFacts(Struct, frozen=True):
    """An engine's parts, and its memory at this moment; empty values do not apply.

    `model` is a hub id, a folder or a server's name for it; `adapter` is a folder, `runtime` the
    library that runs the model here, `address` the server. `memory` and `gpu_memory` are the bytes
    of the model's process, `refused` the parameters that the model does not accept.
    """

    model: str = ""
    adapter: str = ""
    quantization: str = ""
    runtime: str = ""
    address: str = ""
    memory: int | None = None
    gpu_memory: int = 0
    loading: bool = False
    refused: tuple[str, ...] = ()


class EngineInfo(Struct, frozen=True):
    """An engine's names. `remote` engines send the question to another machine."""

    id: str
    title: str
    kind: str
    remote: bool = False


class Availability(Struct, frozen=True):
    """Whether an engine can answer; if not, the reason and the remedy, a sentence each."""

    ready: bool
    reason: str = ""
    remedy: str = ""


class Progress(Struct, frozen=True):
    """The progress of a long step: `fraction` is 0..1, or None if it is unknown.

    `left` is in seconds, where the fraction does not tell: a resumed run did not begin at 0.
    """

    label: str
    fraction: float | None = None
    left: float | None = None


class Timing(Struct, frozen=True):
    """Milliseconds from the question to the search result, the first text and the end."""

    retrieval: Milliseconds = 0.0
    first_token: Milliseconds = 0.0
    total: Milliseconds = 0.0


class Problem(Struct, frozen=True):
    """The message and the remedy of an error."""

    message: str
    remedy: str = ""


def mean_logprob(logprobs: Sequence[float], tokens: int) -> float | None:
    """Return the mean of the first `tokens` logarithms of probabilities; None without any."""
    found = logprobs[:tokens]
    return sum(found) / len(found) if found else None


class Answer(Struct, frozen=True):
    """An answer with its sources and figures.

    `fidelity` is the share (0..1) of the answer's words that quote the record, `coverage` the share
    of the record's words that are quoted; None without a record. `described` is another product
    whose description the answer quotes instead. `sources` are the records that the answer is based
    on or compared with, `nearest` the products offered instead. `by_counter` marks the program's
    own sentence ("No product matches"). `verbatim` marks text that was not written by a model, to
    be shown as it is and not as Markdown. `thinking` is the model's reasoning, `thinking_ms` how
    long it took, and `logprobs` the natural logarithms of the answer's token probabilities.
    `taught` is what the program makes of an adapter's answer from memory, if it can.
    """

    question: str
    engine: str
    mode: Mode
    status: Status
    text: str
    stop_reason: StopReason
    sources: tuple[Hit, ...] = ()
    nearest: tuple[Hit, ...] = ()
    by_counter: bool = False
    verbatim: bool = False
    fidelity: Share | None = None
    coverage: Share | None = None
    described: Product | None = None
    timing: Timing = msgspec.field(default_factory=Timing)
    tokens: Tokens | None = None
    notice: str = ""
    problem: Problem | None = None
    thinking: str = ""
    thinking_ms: Milliseconds = 0.0
    logprobs: tuple[float, ...] = ()
    taught: Taught | msgspec.UnsetType = msgspec.UNSET

    @property
    def product(self) -> Product | None:
        """The product, if the answer is about one."""
        return self.sources[0].product if self.status in (Status.EXACT, Status.LIKELY) else None

    @property
    def choices(self) -> tuple[Hit, ...]:
        """The products that the answer lists by number."""
        if self.status is Status.SEVERAL:
            return self.sources
        return self.nearest if self.status is Status.NONE else ()

    @property
    def is_list(self) -> bool:
        """Whether the text is the program's own list of products."""
        return self.verbatim and bool(self.choices)


class Turn(Struct):
    """A question and its answers; `answer`, from which the conversation continues, may be pending.

    `others` are the other answers to the question, and `place` the index of `answer` among all of
    them, in the order of their creation. `id` is the store's. `unsaved` says that saving an answer
    failed, until it is saved with a later question.
    """

    question: str
    answer: Answer | None = None
    others: list[Answer] = []
    place: int = 0
    id: int | None = None
    unsaved: bool = False

    @property
    def answers(self) -> list[Answer]:
        """All answers, in the order of their creation."""
        if self.answer is None:
            return list(self.others)
        return [*self.others[: self.place], self.answer, *self.others[self.place :]]

    def add(self, answer: Answer) -> None:
        """Add an answer, and continue the conversation from it."""
        answers = self.answers
        self.answer, self.others, self.place = answer, answers, len(answers)

    def choose(self, place: int) -> None:
        """Continue the conversation from the answer at that index of `answers`."""
        answers = self.answers
        self.answer, self.place = answers.pop(place), place
        self.others = answers


class Conversation(Struct):
    """Turns, oldest first. `id` is None until the first question is saved."""

    id: int | None = None
    turns: list[Turn] = []

    @property
    def product(self) -> Product | None:
        """The product of the latest answer about one."""
        answers = (turn.answer for turn in reversed(self.turns) if turn.answer)
        return next((answer.product for answer in answers if answer.product), None)

    def messages(self) -> tuple[Message, ...]:
        """Return the questions and answers as messages of a prompt."""
        history: list[Message] = []
        for turn in self.turns:
            if turn.answer and turn.answer.text:
                history.append(Message(Role.USER, turn.question))
                history.append(Message(Role.ASSISTANT, _without_excerpts(turn.answer)))
        return tuple(history)


def _without_excerpts(answer: Answer) -> str:
    """Return the text; of a list only the titles, so that a model has less to read."""
    if not answer.is_list:
        return answer.text
    return "\n".join(line for line in answer.text.splitlines() if not line.startswith("   "))


class Found(Struct, frozen=True):
    """The search has ended; `verbatim` and `taught` are those of the coming answer."""

    decision: Decision
    verbatim: bool
    taught: Taught | msgspec.UnsetType = msgspec.UNSET


class Weighed(Struct, frozen=True):
    """The first tokens' probabilities changed `taught`; comes before the first Piece."""

    taught: Taught


class Loading(Struct, frozen=True):
    """The engine is loading."""

    progress: Progress


class Piece(Struct, frozen=True):
    """More text of the answer."""

    text: str


class Thought(Struct, frozen=True):
    """More text of the model's reasoning, before any Piece: 0 `ms` begin it, `ended` ends it."""

    text: str
    ms: float = 0.0
    ended: bool = False


class NotSaved(Struct, frozen=True):
    """Saving this part of the conversation failed."""

    problem: Problem


class Answered(Struct, frozen=True):
    """The answer has ended, perhaps with a problem. Always the last event."""

    answer: Answer


Event = Found | Weighed | Loading | Piece | Thought | NotSaved | Answered
