"""Changes to Textual's own behaviour."""
