"""Streaming Markdown: parsed once, wrapped once, drawn line by line."""
