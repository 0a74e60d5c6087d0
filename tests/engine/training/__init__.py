"""Tests of `balcao train`, on a real tiny Llama."""
