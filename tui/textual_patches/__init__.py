"""Changes to Textual, each with the reason."""
