"""A widget drawn at once, before all else that waits to be drawn."""

from __future__ import annotations

from textual.widget import Widget


def draw_at_once(widget: Widget) -> None:
    """Draw what has changed of `widget` where it stands now, without waiting for the screen.

    Textual draws what has changed sixty times a second, and all of it together: while an answer
    comes, a letter that is typed would wait for the whole conversation to be laid out and drawn.
    """
    app, screen = widget.app, widget.screen
    # There is no public way to it.
    compositor, batched = screen._compositor, app._batch_count  # noqa: SLF001
    if screen is app.screen and not batched and widget in compositor.visible_widgets:
        compositor.update_widgets({widget})
        app._display(screen, compositor.render_update(screen_stack=app._background_screens))  # noqa: SLF001
