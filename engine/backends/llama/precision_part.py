"""From which size on a model is held or computed in fewer bits: one rule, for chat and training."""

from __future__ import annotations

QUANTIZED_ABOVE = 256_000_000
"""Bytes of weights. `auto` leaves a smaller model as it is: in 4 bits it says nothing right."""

FP32_UP_TO = 50_000_000
"""Bytes of weights that are computed in 32 bits; docs/training.md has what was measured."""
