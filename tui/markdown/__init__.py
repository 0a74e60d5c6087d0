"""Markdown that grows at its end: parsed once, wrapped once, drawn line by line."""
