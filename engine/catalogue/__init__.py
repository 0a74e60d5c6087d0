"""Read a data set, build the index, find products."""
