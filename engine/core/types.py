"""The values that pass between the parts of the engine: frozen, typed, without behaviour.

msgspec's structs and not dataclasses: the chat's first frame waits for this module, and two dozen
dataclasses take 10 ms to make, a twentieth of the start. `msgspec.structs.replace` and `asdict` do
what the functions of those names do in dataclasses.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Struct

Language = Literal["en", "pt"]


class Mode(StrEnum):
    """What an engine gets to see of the catalogue."""

    GROUNDED = "grounded"
    """The record that retrieval found is part of the prompt."""
    MEMORY = "memory"
    """The question alone: what the model says, it has learned."""


class Status(StrEnum):
    """What the catalogue makes of a question."""

    EXACT = "exact"
    """This product, beyond doubt."""
    LIKELY = "likely"
    """This product, and the person is told which one was understood."""
    SEVERAL = "several"
    """More than one product fits: the person picks."""
    NONE = "none"
    """Not in the catalogue."""


class StopReason(StrEnum):
    """Why an answer ended."""

    COMPLETE = "complete"
    LENGTH = "length"
    REPEATED = "repeated"
    """Stopped, since the model said the same again and again."""
    CANCELLED = "cancelled"
    ERROR = "error"


class Role(StrEnum):
    """Who speaks in a prompt."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Product(Struct, frozen=True):
    """One record of the catalogue.

    `description` is the cleaned text; `original` is the text as the data set has it, kept so that
    nothing that cleaning does is beyond checking. Either may be empty.
    """

    uid: str
    title: str
    description: str
    original: str = ""


class Hit(Struct, frozen=True):
    """A product that a search found; `score` is 0..1, 1 for a title that was asked for in full."""

    product: Product
    score: float


class Decision(Struct, frozen=True):
    """What a question rests on: `hits` are the products meant, `nearest` the closest of the others.

    `hits` holds one product for EXACT and LIKELY, two or more for SEVERAL, none for NONE.
    """

    status: Status
    hits: tuple[Hit, ...] = ()
    nearest: tuple[Hit, ...] = ()

    @property
    def product(self) -> Product | None:
        """The one product meant, if the decision names one."""
        return self.hits[0].product if self.status in (Status.EXACT, Status.LIKELY) else None


class Completion(Struct, frozen=True):
    """A title that a text may become: it stands instead of what follows the character `start`."""

    start: int
    title: str


class Message(Struct, frozen=True):
    """One message of a prompt."""

    role: Role
    content: str


class Tokens(Struct, frozen=True):
    """Token counts as the engine reports them."""

    prompt: int
    completion: int


class Request(Struct, frozen=True):
    """What an engine is asked to answer.

    `messages` is the whole prompt, ready for a chat template, oldest first, ending with the
    question; `decision` is what the catalogue found (engines with a model have it in the prompt
    already, the catalogue engine answers from it); `followup` says that the product was kept from
    the turn before; `language` ("en" or "pt") is the one to answer in; `max_tokens` limits the
    answer and `temperature` 0 means greedy decoding; above it the next token is drawn among the
    likeliest ones that make up the share `top_p`.
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


class Chunk(Struct, frozen=True):
    """A piece of a streamed answer. The last one carries `stop_reason`, and counts if known.

    `notice` is a sentence for the person about how this answer came to be (older turns dropped).
    `by_counter` marks the counter's own sentences, which quote no record.
    """

    text: str = ""
    stop_reason: StopReason | None = None
    tokens: Tokens | None = None
    notice: str = ""
    by_counter: bool = False


class EngineFacts(Struct, frozen=True):
    """What an engine is made of, and what it takes at this moment. Empty where it does not apply.

    `model` is a hub id, a folder or a server's name for it; `adapter` a folder; `runtime` the
    library that runs it here; `address` the server. `memory` is what the model's process has
    resident, in bytes, and `gpu_memory` what it held of a GPU's once loaded; `loading` says that
    the model is on its way into it. `refused` are the parameters that the model will not take.
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
    """What an engine is. `remote` engines send the question to another machine."""

    id: str
    title: str
    kind: str
    remote: bool = False


class Availability(Struct, frozen=True):
    """Whether an engine can answer; if not, why and what to do about it (a sentence each)."""

    ready: bool
    reason: str = ""
    remedy: str = ""


class Progress(Struct, frozen=True):
    """How far a long step has come: `fraction` 0..1, or None where it cannot be known."""

    label: str
    fraction: float | None = None


class Timing(Struct, frozen=True):
    """Milliseconds: the search, the first words after asking, the whole answer."""

    retrieval: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


class Problem(Struct, frozen=True):
    """What went wrong with an answer, and what to do about it."""

    message: str
    remedy: str = ""


class Answer(Struct, frozen=True):
    """An answer with all that is told about it.

    `fidelity` is the share (0..1) of the answer's words that stand in the record, in order, or
    None where there is no record to compare with. `sources` are the records that the answer rests
    on, or that it is compared with; `nearest` the titles that were offered instead. `by_counter`
    says that the text is the counter's own sentence ("I don't have that"), not an engine's answer
    about a record; `verbatim` that no model has worded it, so that it is shown letter by letter and
    not as Markdown.
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
    fidelity: float | None = None
    timing: Timing = msgspec.field(default_factory=Timing)
    tokens: Tokens | None = None
    notice: str = ""
    problem: Problem | None = None

    @property
    def product(self) -> Product | None:
        """The one product that the answer is about, if there is one."""
        return self.sources[0].product if self.status in (Status.EXACT, Status.LIKELY) else None


class Turn(Struct):
    """A question and its answer; `answer` is None while it is being given.

    `others` are further answers to the same question, by other engines or by another try; the
    conversation goes on from `answer`. `place` is where that one stands among all of them, in the
    order in which they were given; `id` is the store's, once it has taken the question; `unsaved`
    says that an answer to it could not be kept, until the store takes it with a later question.
    """

    question: str
    answer: Answer | None = None
    others: list[Answer] = []
    place: int = 0
    id: int | None = None
    unsaved: bool = False

    @property
    def answers(self) -> list[Answer]:
        """All answers, in the order in which they were given."""
        if self.answer is None:
            return list(self.others)
        return [*self.others[: self.place], self.answer, *self.others[self.place :]]

    def add(self, answer: Answer) -> None:
        """One more answer, from which the conversation goes on."""
        answers = self.answers
        self.answer, self.others, self.place = answer, answers, len(answers)

    def choose(self, place: int) -> None:
        """Go on from the answer at that place of `answers`."""
        answers = self.answers
        self.answer, self.place = answers.pop(place), place
        self.others = answers


class Conversation(Struct):
    """Turns, oldest first. `id` is None until the store has taken the first question."""

    id: int | None = None
    turns: list[Turn] = []

    @property
    def product(self) -> Product | None:
        """The product that was last spoken of."""
        answers = (turn.answer for turn in reversed(self.turns) if turn.answer)
        return next((answer.product for answer in answers if answer.product), None)

    @property
    def choices(self) -> tuple[Hit, ...]:
        """What the last answer listed to pick from by number."""
        answers = [turn.answer for turn in self.turns if turn.answer]
        if not answers:
            return ()
        last = answers[-1]
        return last.sources if last.status is Status.SEVERAL else last.nearest

    def messages(self) -> tuple[Message, ...]:
        """The turns with words in them, as a prompt's history."""
        history: list[Message] = []
        for turn in self.turns:
            if turn.answer and turn.answer.text:
                history.append(Message(Role.USER, turn.question))
                history.append(Message(Role.ASSISTANT, turn.answer.text))
        return tuple(history)


class Found(Struct, frozen=True):
    """The catalogue has been searched; `verbatim` as in Answer, of the words to come."""

    decision: Decision
    verbatim: bool


class Loading(Struct, frozen=True):
    """The engine is being made ready."""

    progress: Progress


class Piece(Struct, frozen=True):
    """More words of the answer."""

    text: str


class NotSaved(Struct, frozen=True):
    """The conversation goes on, but this part of it is not on disk."""

    problem: Problem


class Answered(Struct, frozen=True):
    """The answer is whole, or broke off with a problem. Always the last event."""

    answer: Answer


Event = Found | Loading | Piece | NotSaved | Answered
