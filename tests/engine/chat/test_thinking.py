"""What a model thinks is shown and saved beside its answer, and never counted as the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.catalogue.catalogue import Catalogue
from engine.chat import answer as answering
from engine.chat.answer import ThinkingSplitter
from engine.chat.export import as_json, turn_as_markdown
from engine.chat.wording import describe, speed
from engine.core.types import (
    Answer,
    Answered,
    Chunk,
    Conversation,
    Event,
    Mode,
    Piece,
    Status,
    StopReason,
    Thought,
    Timing,
    Tokens,
    Turn,
)
from engine.store import archive
from engine.store.conversations import ConversationStore
from scripts.ask import as_object
from tests.engine.chat.test_answer import OneEngine, ask, open_session
from tests.scripted import ScriptedEngine

TITLE = "The Tin Lighthouse"
WHOLE = re.compile(r"\s*<think>(.*?)(?:</think>(.*))?", re.DOTALL)
TEXTS = st.text(alphabet="<>/think \na", max_size=40)
LIKELY = st.tuples(st.sampled_from(["", " \n", "<think>", "x<think>"]), TEXTS, TEXTS).map(
    lambda parts: "</think>".join(["".join(parts[:2]), parts[2]])
)


def split(pieces: Sequence[str]) -> tuple[str, str]:
    splitter = ThinkingSplitter()
    parts = [splitter.split(piece) for piece in pieces]
    parts.append(splitter.split("", last=True))
    return "".join(thinking for thinking, _ in parts), "".join(text for _, text in parts)


@given(TEXTS | LIKELY, st.lists(st.integers(0, 60)))
@example("<think>a</think>b", list(range(20)))
@example("<think>a</thinb", list(range(20)))
@example("<thin", [1, 2])
@example("<<think>a</think>", [1])
def test_a_leading_block_is_thinking_wherever_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    found = split([text[start:end] for start, end in pairwise(ends)])
    block = WHOLE.fullmatch(text)
    expected = (block[1], block[2] or "") if block else ("", text)
    # Blanks before the answer are dropped in any case.
    assert (found[0], found[1].lstrip()) == (expected[0], expected[1].lstrip())


@given(st.lists(TEXTS))
def test_what_cannot_be_a_tag_is_not_held_back(pieces: list[str]) -> None:
    splitter = ThinkingSplitter()
    for piece in ["<think>", *pieces]:
        splitter.split(piece)
        assert len(splitter._held) < len("</think>")


async def answered(
    catalogue: Catalogue, *pieces: str | float | Chunk, question: str = TITLE
) -> tuple[Answer, list[Event]]:
    session = open_session(OneEngine(ScriptedEngine(pieces)), catalogue)
    return await ask(session, question, "base")


def chunks(*texts: str) -> list[Chunk]:
    return [Chunk(thinking=text) for text in texts]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([*chunks("\n A keeper", " climbs. \n"), "\n\nTwo", " words"], id="deltas"),
        pytest.param(["<thi", "nk>\nA keeper climbs.\n</think", ">\n\nTwo words"], id="tags"),
        pytest.param([" <think>A keeper", *chunks(" climbs."), "</think>Two words"], id="both"),
    ],
)
async def test_thinking_is_not_the_answer(catalogue: Catalogue, pieces: list[str | Chunk]) -> None:
    session = open_session(OneEngine(engine := ScriptedEngine(pieces)), catalogue)
    answer, events = await ask(session, TITLE, "base")
    assert (answer.thinking, answer.text) == ("A keeper climbs.", "Two words")
    assert answer.fidelity == 0.0, "its words are the record's, but none of the answer's is"
    assert answer.timing.first_token >= answer.thinking_ms > 0
    kinds = [type(event) for event in events if isinstance(event, Piece | Thought)]
    assert kinds == sorted(kinds, key=lambda kind: kind is Piece), "thinking comes first"
    said = "".join(event.text for event in events if isinstance(event, Piece))
    thoughts = [event for event in events if isinstance(event, Thought)]
    thought = "".join(event.text for event in thoughts)
    assert (said, thought.strip()) == ("Two words", "A keeper climbs.")
    assert [event.ms == 0 for event in thoughts] == [True] + [False] * (len(thoughts) - 1)
    assert [event.ended for event in thoughts] == [False] * (len(thoughts) - 1) + [True]
    await ask(session, "who wrote it?", "base")
    sent = "".join(message.content for message in engine.asked[-1].messages)
    assert "Two words" in sent
    assert "keeper climbs" not in sent


async def test_a_record_that_begins_like_thinking_is_quoted(catalogue: Catalogue) -> None:
    text = "<think>A paperback.</think> 200 pages."
    answer, _ = await answered(catalogue, f"Yes: {text}")
    assert answer.text == f"Yes: {text}"
    pending = open_session(OneEngine(), catalogue).resources
    assert pending is not None
    verbatim = pending.pending_answer(TITLE, "catalogue", Mode.GROUNDED, [])
    verbatim._answer = msgspec.structs.replace(verbatim._answer, verbatim=True)
    assert list(verbatim._take(Chunk(text))) == [Piece(text)]


@pytest.mark.parametrize("pieces", [chunks("Hm", "m"), ["<think>Hmm"], ["<think>Hmm</think>\n"]])
@pytest.mark.parametrize(
    ("stop", "message", "remedy"),
    [
        (StopReason.COMPLETE, "thought, but gave no answer", "Ask again."),
        (StopReason.LENGTH, "spent all its tokens on thinking", "`max_tokens` under [engines."),
    ],
)
async def test_a_model_that_only_thought_gets_a_sentence(
    catalogue: Catalogue,
    pieces: list[str | float | Chunk],
    stop: StopReason,
    message: str,
    remedy: str,
) -> None:
    answer, events = await answered(catalogue, *pieces, Chunk(stop_reason=stop))
    assert answer.problem is not None
    assert message in answer.problem.message
    assert remedy in answer.problem.remedy
    assert (answer.text, answer.thinking, answer.stop_reason) == ("", "Hmm", StopReason.ERROR)
    assert "no answer" in describe(answer)
    thought, end = events[-2:]
    assert isinstance(thought, Thought)
    assert thought.ended
    assert isinstance(end, Answered)


async def test_blank_thinking_is_none(catalogue: Catalogue) -> None:
    answer, events = await answered(catalogue, "<think>\n\n</think>\n\nYes.", *chunks(" \n"))
    assert (answer.text, answer.thinking, answer.thinking_ms) == ("Yes.", "", 0.0)
    assert not any(isinstance(event, Thought) for event in events)


async def test_endless_thinking_is_kept_up_to_a_limit(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_MAX_THINKING", 100)
    monkeypatch.setattr(answering, "_MAX_LOGPROBS", 3)
    words = [Chunk("!", thinking="word ", logprobs=(-1.0, -2.0)) for _ in range(50)]
    answer, events = await answered(catalogue, *chunks(*["word "] * 50), *words)
    assert answer.thinking.endswith("…")
    assert len(answer.thinking) <= 100
    assert sum(len(event.text) for event in events if isinstance(event, Thought)) <= 100
    assert (answer.text, answer.logprobs) == ("!" * 50, (-1.0, -2.0, -1.0))


async def test_only_the_logprobs_of_the_answer_are_kept(catalogue: Catalogue) -> None:
    answer, _ = await answered(
        catalogue,
        Chunk(thinking="Hm", logprobs=(-9.0,)),
        Chunk("Yes", logprobs=(-0.5,)),
        Chunk("", logprobs=(-0.25,)),
        Chunk(".", logprobs=(-0.125,)),
    )
    assert answer.logprobs == (-0.5, -0.25, -0.125)


async def test_thinking_is_saved_while_it_arrives_and_not_searched(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    store = ConversationStore(tmp_path / "c.db")
    pieces: list[str | Chunk] = [
        *chunks("A quandary.", " Or two."),
        "Yes.",
        Chunk(logprobs=(-0.5,)),
    ]
    session = open_session(OneEngine(ScriptedEngine(pieces)), catalogue, store)
    session.engine = "base"
    async with aclosing(session.ask(TITLE)) as events:
        async for event in events:
            if isinstance(event, Piece):
                (begun,) = store.open(1).turns
                assert begun.answer is not None
                assert begun.answer.thinking == "A quandary."
    (turn,) = store.open(1).turns
    assert turn.answer is not None
    assert (turn.answer.thinking, turn.answer.logprobs) == ("A quandary. Or two.", (-0.5,))
    assert store.search("Yes")
    assert not store.search("quandary")
    store.close()


async def test_a_cancelled_thought_is_kept(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(ScriptedEngine([*chunks("Let me see"), 60.0])), catalogue)
    session.engine = "base"
    async with aclosing(session.ask(TITLE)) as events:
        async for event in events:
            if isinstance(event, Thought):
                break
    assert session.answer is not None
    assert (session.answer.text, session.answer.thinking) == ("", "Let me see")
    assert session.answer.stop_reason is StopReason.CANCELLED


def thoughtful() -> Answer:
    return Answer(
        TITLE,
        "base",
        Mode.MEMORY,
        Status.NONE,
        "Yes.",
        StopReason.COMPLETE,
        timing=Timing(1.0, 3500.0, 4000.0),
        tokens=Tokens(10, 70),
        thinking="Say ~~~~ and </details>.\x1b[2J",
        thinking_ms=3000.0,
        logprobs=(-0.5,),
    )


def test_markdown_has_the_thinking_in_a_fold_of_its_own() -> None:
    page = turn_as_markdown(Turn(TITLE, thoughtful()), {})
    fold, _, rest = page.partition("</details>\n\n>")
    assert fold.endswith(
        "thought for 3 s</summary>\n\n> Say \\~\\~\\~\\~ and \\</details\\>.\\[2J\n\n"
    )
    assert "Say" not in rest
    silent = msgspec.structs.replace(thoughtful(), thinking="")
    assert "thought for" not in turn_as_markdown(Turn(TITLE, silent), {})


def test_json_has_a_field_of_its_own_that_is_imported_again(tmp_path: Path) -> None:
    store, other = ConversationStore(tmp_path / "a.db"), ConversationStore(tmp_path / "b.db")
    turn = Turn(TITLE, thoughtful())
    store.update(
        store.begin(Conversation(), TITLE, thoughtful(), turn), thoughtful(), finished=True
    )
    text = "".join(as_json(store, store.ids()))
    (saved,) = json.loads(text)["conversations"][0]["turns"][0]["answers"]
    assert saved["answer"]["text"] == "Yes."
    assert saved["answer"]["thinking_ms"] == 3000.0
    assert "Say" in saved["answer"]["thinking"]
    other.add(map(archive.decode, archive.read(text.encode(), "a.json")))
    assert other.open(1).turns[0].answers == [thoughtful()]
    store.close()
    other.close()


def test_ask_json_has_thinking_only_if_there_is_any() -> None:
    with_thinking = as_object(thoughtful())
    assert with_thinking["thinking"] == thoughtful().thinking
    assert with_thinking["thinking_ms"] == 3000.0
    without = as_object(msgspec.structs.replace(thoughtful(), thinking=""))
    assert with_thinking.keys() - without.keys() == {"thinking", "thinking_ms"}


def test_tokens_of_thinking_do_not_make_the_answer_faster() -> None:
    assert speed(thoughtful()) == "3.5 s to the first word, 4.0 s, 20 tokens/s"
