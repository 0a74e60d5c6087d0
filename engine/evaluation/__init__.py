"""How faithful an answer is to the record."""
