"""The chat in the terminal: draws what the engine says, and holds no logic of its own."""
