"""Measure how much of an answer is the record's own words."""
