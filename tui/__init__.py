"""The chat in the terminal: draws what the engine says, without any logic."""
