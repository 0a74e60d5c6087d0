"""A line of text whose keys take effect in the order in which they were typed."""

from __future__ import annotations

from textual.binding import Binding
from textual.events import Key
from textual.widgets import Input

_ACTIONS = {
    key.strip(): binding.action
    for binding in Binding.make_bindings(Input.BINDINGS)
    for key in binding.key.split(",")
}


class Line(Input):
    """An Input that carries out its own keys at once.

    Textual looks at bindings only after a key has gone up to the app and back, by when the letters
    typed after it are in the text: Ctrl+U and "abc" in one packet end as an empty line.
    """

    async def _on_key(self, event: Key) -> None:
        action = _ACTIONS.get(event.key)
        if action:
            event.prevent_default()
            event.stop()
            await self.run_action(action)
