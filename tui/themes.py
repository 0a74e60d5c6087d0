"""The chat's four themes, and the default one for a terminal.

All text has a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3), and of 7 to 1 in the high-contrast
themes (1.4.6): tests/tui/test_themes.py measures it on the screens. Textual's themes are available
too, unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

from tui.terminal import SIXTEEN, colour_count, colour_disabled

AUTO = "auto"
DARK = replace(
    BUILTIN_THEMES["textual-dark"],
    name="dark",
    variables={
        "block-cursor-background": "#005a9e",
        "screen-selection-background": "#264f78",
        "screen-selection-foreground": "#ffffff",
        "scrollbar": "#6e6e6e",
        "scrollbar-hover": "#8a8a8a",
        "scrollbar-active": "#ffa62b",
        "scrollbar-background": "#1e1e1e",
    },
)
LIGHT = Theme(
    name="light",
    dark=False,
    primary="#004578",
    secondary="#005a9e",
    accent="#7a3e00",
    warning="#7a3e00",
    error="#9b1c3c",
    success="#1c5c30",
    foreground="#1a1a1a",
    background="#f4f4f4",
    surface="#e9e9e9",
    panel="#dedede",
    variables={
        "text-muted": "#474747",
        "footer-key-foreground": "#004578",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-blurred-background": "#c9d8e6",
        "screen-selection-background": "#004578",
        "screen-selection-foreground": "#ffffff",
        "scrollbar": "#757575",
        "scrollbar-hover": "#5a5a5a",
        "scrollbar-active": "#7a3e00",
        "scrollbar-background": "#e9e9e9",
    },
)
HIGH_CONTRAST = Theme(
    name="high-contrast",
    primary="#00e5ff",
    secondary="#00e5ff",
    accent="#ffff00",
    warning="#ffff00",
    error="#ffb0b0",
    success="#80ff80",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    variables={
        "text": "#ffffff",
        "text-muted": "#ffffff",
        "text-disabled": "#e0e0e0",
        "block-cursor-foreground": "#000000",
        "block-cursor-background": "#ffff00",
        "block-cursor-blurred-foreground": "#ffffff",
        "block-cursor-blurred-background": "#202020",
        "block-cursor-blurred-text-style": "bold underline",
        "border": "#ffff00",
        "border-blurred": "#ffffff",
        "footer-key-foreground": "#ffff00",
        "footer-description-foreground": "#ffffff",
        "input-selection-background": "#ffff00",
        "input-selection-foreground": "#000000",
        "screen-selection-background": "#ffff00",
        "screen-selection-foreground": "#000000",
        "scrollbar": "#ffffff",
        "scrollbar-hover": "#ffff00",
        "scrollbar-active": "#ffff00",
        "scrollbar-background": "#303030",
    },
)
_ON_WHITE = {
    "#ffffff": "#000000",
    "#000000": "#ffffff",
    "#ffff00": "#00008b",
    "#e0e0e0": "#303030",
    "#202020": "#f8f8f8",
    "#303030": "#d0d0d0",
}
"""The colours of the light theme, by those that have the same use in the dark one."""
HIGH_CONTRAST_LIGHT = Theme(
    name="high-contrast-light",
    dark=False,
    primary="#00008b",
    secondary="#00008b",
    accent="#00008b",
    warning="#7a0000",
    error="#7a0000",
    success="#004000",
    foreground="#000000",
    background="#ffffff",
    surface="#ffffff",
    panel="#ffffff",
    variables={name: _ON_WHITE.get(old, old) for name, old in HIGH_CONTRAST.variables.items()},
)
THEMES = {theme.name: theme for theme in (DARK, LIGHT, HIGH_CONTRAST, HIGH_CONTRAST_LIGHT)}


def theme_for(chosen: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the theme for a setting; `auto` depends on the terminal's colours.

    With at most 16 colours it is Textual's in the terminal's own: a shade of grey would become the
    nearest of the 16, often the background.
    """
    if chosen != AUTO:
        return chosen
    few = colour_disabled(environ) or colour_count(environ) <= SIXTEEN
    return "ansi-dark" if few else DARK.name
