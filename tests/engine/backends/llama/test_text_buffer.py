"""Words that come fast are sent several at once; none is kept, none is lost."""

from __future__ import annotations

from engine.backends.llama.worker import TextBuffer


def test_the_first_words_go_at_once_and_those_right_behind_them_together() -> None:
    sent: list[str] = []
    buffer = TextBuffer(sent.append, every=3600.0)
    for word in ("A ", "tin ", "lighthouse."):
        buffer.add(word)
    assert sent == ["A "]
    buffer.flush()
    buffer.flush()
    assert sent == ["A ", "tin lighthouse."]


def test_words_that_come_slowly_are_not_held_back() -> None:
    sent: list[str] = []
    buffer = TextBuffer(sent.append, every=0.0)
    for word in ("A ", "tin ", "lighthouse."):
        buffer.add(word)
    assert sent == ["A ", "tin ", "lighthouse."]
