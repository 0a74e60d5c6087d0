"""Thin entry points: `python -m scripts.NAME`, and `balcao NAME` through `scripts.cli`."""
