"""Attacks on the program, each run as `python -m tools.attack.NAME`."""
