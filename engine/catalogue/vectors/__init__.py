"""Vectors of records and words in the folder of an index."""
