"""Paths, settings, API keys and engine parameters."""
