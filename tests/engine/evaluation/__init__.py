"""Tests of the fidelity metrics and of `balcao evaluate`."""
