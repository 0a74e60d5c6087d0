"""The commands of the chat: one table, and the functions it runs."""
