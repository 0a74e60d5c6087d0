"""Formats of data sets: columns, CSV, TSV and JSON arrays."""
