"""Attention over a batch of joined rows, each row by itself. Imports torch and transformers.

torch's own attention would compare each token with those of all rows, and every layer would keep a
mask as large as the square of the batch's tokens for the backward pass.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROW_BY_ROW = "row_by_row"


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    **values: Any,  # noqa: ANN401 - of transformers
) -> tuple[torch.Tensor, None]:
    """Attend within the rows that begin at `cu_seq_lens_q`; without it, as transformers does.

    Shapes: query (1, heads, tokens, size), key and value (1, their heads, tokens, size); result
    (1, tokens, heads, size).
    """
    if cu_seq_lens_q is None:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, mask, **values
        )
        return found
    lengths = cu_seq_lens_q.diff().tolist()
    options = {"dropout_p": values.get("dropout", 0.0), "scale": values.get("scaling")}
    parts: Any = (torch.split(part, lengths, 2) for part in (query, key, value))
    rows = [
        scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, **options)
        for q, k, v in zip(*parts, strict=True)
    ]
    return torch.cat(rows, 2).transpose(1, 2).contiguous(), None


AttentionInterface.register(ROW_BY_ROW, attend)
AttentionMaskInterface.register(ROW_BY_ROW, sdpa_mask)
