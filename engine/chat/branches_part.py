"""Another way on from a turn: the conversation so far is copied, and stays as it is."""

from __future__ import annotations

from msgspec.structs import replace

from engine.core.conversation_part import Conversation
from engine.core.errors import StoreError
from engine.store.conversations import ConversationStore


def fork(store: ConversationStore | None, conversation: Conversation, turns: int) -> Conversation:
    """A conversation of the first `turns` turns, all answers to them with it. Blocks for the disk.

    Where it cannot be copied on disk, the copy is kept there with its next question, if that is
    possible then.
    """
    first = conversation.turns[:turns]
    if store and first and conversation.id and all(turn.id for turn in first):
        try:
            return store.open(store.fork(conversation.id, turns))
        except StoreError:
            pass
    return Conversation(turns=[replace(turn, id=None, others=[*turn.others]) for turn in first])
