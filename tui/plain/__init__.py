"""The chat line by line, for screen readers, dumb terminals and pipes; draws the same events."""
