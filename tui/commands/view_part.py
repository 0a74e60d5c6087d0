"""Commands that move what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


def help_page(screen: ChatScreen) -> None:
    """Open the page of keys."""
    from tui.screens.help_part import HelpScreen

    screen.app.push_screen(HelpScreen(screen.settings.keys))


def scroll_up(screen: ChatScreen) -> None:
    """A page up, without leaving the composer."""
    screen.pane.scroll_page_up(animate=False)


def scroll_down(screen: ChatScreen) -> None:
    """A page down, without leaving the composer."""
    screen.pane.scroll_page_down(animate=False)


def marks(screen: ChatScreen) -> None:
    """Mark which words of the answers are the record's, or no longer."""
    from tui.widgets.turns import toggle_marks

    screen.bar.tell(toggle_marks(screen.pane))


async def leave(screen: ChatScreen) -> None:
    """Leave the chat; what came is kept."""
    await screen.app.run_action("quit")
