"""What the chat can be told to do: one table, and the functions that do it."""
