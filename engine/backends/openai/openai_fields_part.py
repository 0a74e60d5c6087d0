"""Which optional fields a chat request carries, and which to give up when a server refuses one.

The names differ between servers. OpenAI's description has `max_completion_tokens` and calls
`max_tokens` deprecated (its newer models refuse it). Others took the new name late (llama.cpp in
February 2026) or not yet, and then ignore it in silence, so that no limit holds (Ollama,
llama-cpp-python); all of them take `max_tokens`. So OpenAI gets the new name, the others the old.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.backends.openai.failures import Failure

_NEW, _OLD = "max_completion_tokens", "max_tokens"


@dataclass(frozen=True, slots=True)
class Fields:
    """What a request carries besides model, messages and `stream`."""

    new_limit: bool
    """Whether the answer is limited by the new name; OpenAI's own servers begin with it."""
    limit_changed: bool = False
    temperature: bool = True
    top_p: bool = True
    usage: bool = True

    def without(self, failure: Failure) -> Fields | None:
        """The fields to try instead, or None if the failure is not about one that can go."""
        if self.usage and failure.refuses("stream_options"):
            return replace(self, usage=False)
        if self.temperature and failure.refuses("temperature"):
            return replace(self, temperature=False)
        if self.top_p and failure.refuses("top_p"):
            return replace(self, top_p=False)
        if not self.limit_changed and failure.refuses(_NEW if self.new_limit else _OLD):
            return replace(self, new_limit=not self.new_limit, limit_changed=True)
        return None
