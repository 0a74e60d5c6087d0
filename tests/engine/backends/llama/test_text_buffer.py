"""The worker's buffer sends fast text together and loses nothing."""

from __future__ import annotations

from engine.backends.llama.worker import TextBuffer


def test_fast_words_are_sent_together() -> None:
    sent: list[str] = []
    buffer = TextBuffer(sent.append, every=3600.0)
    for word in ("A ", "tin ", "lighthouse."):
        buffer.add(word)
    assert sent == ["A "]
    buffer.flush()
    buffer.flush()
    assert sent == ["A ", "tin lighthouse."]


def test_slow_words_are_sent_at_once() -> None:
    sent: list[str] = []
    buffer = TextBuffer(sent.append, every=0.0)
    for word in ("A ", "tin ", "lighthouse."):
        buffer.add(word)
    assert sent == ["A ", "tin ", "lighthouse."]
