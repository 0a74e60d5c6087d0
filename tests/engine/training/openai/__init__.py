"""Tests of training, and of the keys that it needs."""
