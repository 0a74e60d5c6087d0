"""The demo model before it has learned anything: a small Llama that can already look back.

Copying out of the prompt takes two kinds of attention: one that tells each place which tokens
stand before it, and one that finds the place where the same tokens stood before, and says what came
next (an induction head: Olsson et al., In-context Learning and Induction Heads, 2022). From random
weights they form late, after more text than a laptop reads in half an hour; so their weights are
set at the start (after Trockman and Kolter, Mimetic Initialization of Self-Attention Layers, 2023),
and training goes on from there. Untrained it copies 19 of 20 random tokens. Imported late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, INNER, LAYERS, HEADS, KEYS = 256, 640, 5, 4, 2
CONTEXT = 2048
_SIZE = HIDDEN // HEADS
_THETA = 1e6

# What the residual stream's dimensions hold at the start. A token's code stands in it twice: SELF
# is what places compare, SAID is what the last layer says.
_CODE = 64
_SELF, _SAID = slice(0, 64), slice(64, 128)
_BEFORE = (slice(128, 168), slice(168, 208), slice(208, 248))
"""The codes, made shorter, of the tokens one, two and three places before. In the last of them lie
those four to seven places before as well, each turned once more and fainter: with three alone a
phrase that a text has twice is taken for the other (0.89 of a text's tokens right, not 0.94)."""
_ALWAYS = 255
"""The same for every token: what attention by distance alone looks at."""

_SCALE = 0.25
"""Of a code's numbers."""
_ALWAYS_SCALE = 8
_SHARPNESS = 14.0
"""Of attention by distance: so large that hardly another place is seen."""
_MATCH = 12.0
"""The attention score of one token found again."""
_FAINTER = 0.7
_TURNING = 12
"""Pairs of dimensions that turn fast enough to tell neighbours apart."""
_STILL = torch.cat([torch.arange(14, 32), torch.arange(46, 64)])
"""Dimensions of a head that turn so slowly over a thousand places that contents can be compared."""
_MATCHING_LAYERS = (2, 3, 4)


def make_model(rows: int, seed: int) -> Any:  # noqa: ANN401 - untyped library
    """The model for a vocabulary of `rows` tokens, in fp32."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows,
            hidden_size=HIDDEN,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KEYS,
            max_position_embeddings=CONTEXT,
            # Tied, a model that copies by its codes hardly learns to say anything of its own (a
            # loss of 5.5 a token after 1,900 steps).
            tie_word_embeddings=False,
            rope_parameters={"rope_type": "default", "rope_theta": _THETA},
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    with torch.no_grad():
        _shape(model)
    return model


def _shape(model: Any) -> None:  # noqa: ANN401 - untyped library
    code = torch.randn(model.config.vocab_size, _CODE) * _SCALE
    tokens = model.model.embed_tokens.weight.normal_(0, 0.005)
    tokens[:, _SELF] = code
    tokens[:, _SAID] = code
    tokens[:, _ALWAYS] = _ALWAYS_SCALE * _SCALE
    shorter = torch.linalg.qr(torch.randn(_CODE, _CODE))[0][:40] * math.sqrt(_CODE / 40)
    turned = torch.linalg.qr(torch.randn(40, 40))[0]
    layers = model.model.layers
    _look_before(layers[0].self_attn, shorter)
    _look_further(layers[1].self_attn, shorter, turned)
    for place in _MATCHING_LAYERS:
        _find_again(layers[place].self_attn, shorter, turned)
    for layer in layers:
        layer.mlp.down_proj.weight.mul_(0.1)
        attention = layer.self_attn
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
            part.weight.add_(torch.randn_like(part.weight) * 0.003)
    said = model.lm_head.weight.normal_(0, 0.005)
    said[:, _SAID] = code


def _look_before(attention: Any, shorter: torch.Tensor) -> None:  # noqa: ANN401 - untyped library
    """Each head looks at one distance: 0, 1, 2, 3. The first takes away what its own place says."""
    size = _rms(codes=2)
    _look_at(attention, (0, 1, 2, 3), size)
    _give(attention, 0, _SAID, -size * torch.eye(_CODE))
    for head, before in enumerate(_BEFORE, 1):
        _give(attention, head, before, size * shorter)


def _look_further(attention: Any, shorter: torch.Tensor, turned: torch.Tensor) -> None:  # noqa: ANN401 - untyped library
    """The heads look at the distances 4 to 7."""
    size = _rms(codes=4)
    _look_at(attention, (4, 5, 6, 7), size)
    code = shorter
    for head in range(HEADS):
        code = _FAINTER * turned @ code
        _give(attention, head, _BEFORE[-1], size * code)


def _look_at(attention: Any, distances: Sequence[int], size: float) -> None:  # noqa: ANN401 - untyped library
    """Each head looks at one distance, and reads the code there."""
    gain = _SHARPNESS * size / (_ALWAYS_SCALE * _SCALE)
    for group in range(KEYS):
        part = slice(group * _SIZE, (group + 1) * _SIZE)
        attention.k_proj.weight[part].zero_()
        attention.k_proj.weight[group * _SIZE : group * _SIZE + _TURNING, _ALWAYS] = gain
        _read_codes(attention, part)
    turns = _THETA ** (-torch.arange(_TURNING) / (_SIZE // 2))
    for head, distance in enumerate(distances):
        start = head * _SIZE
        asking = attention.q_proj.weight[start : start + _SIZE].zero_()
        asking[:_TURNING, _ALWAYS] = gain * torch.cos(distance * turns)
        asking[_SIZE // 2 : _SIZE // 2 + _TURNING, _ALWAYS] = -gain * torch.sin(distance * turns)


def _find_again(attention: Any, shorter: torch.Tensor, turned: torch.Tensor) -> None:  # noqa: ANN401 - untyped library
    """Every head compares the last tokens with those before each place, and says what is there."""
    size = _rms(codes=5)
    gain = math.sqrt(math.sqrt(_SIZE) * _MATCH / _CODE) * size / _SCALE
    for group in range(KEYS):
        part = slice(group * _SIZE, (group + 1) * _SIZE)
        mixed = torch.randn(len(_STILL), 120) / math.sqrt(len(_STILL)) * gain
        wanted = torch.zeros(len(_STILL), HIDDEN)
        wanted[:, 128:248] = mixed
        attention.k_proj.weight[part] *= 0.3
        attention.k_proj.weight[group * _SIZE + _STILL] = wanted
        _read_codes(attention, part)
        # One place on: what was one before is now two before.
        asking = torch.zeros(len(_STILL), HIDDEN)
        asking[:, _SELF] = mixed[:, :40] @ shorter
        asking[:, _BEFORE[0]] = mixed[:, 40:80]
        asking[:, _BEFORE[1]] = mixed[:, 80:]
        asking[:, _BEFORE[2]] = _FAINTER * mixed[:, 80:] @ turned
        for head in (2 * group, 2 * group + 1):
            start = head * _SIZE
            attention.q_proj.weight[start + _STILL] = asking
            attention.q_proj.weight[start : start + 14] *= 0.1
            _give(attention, head, _SAID, 0.5 * size * torch.eye(_CODE))


def _give(attention: Any, head: int, where: slice, code: torch.Tensor) -> None:  # noqa: ANN401 - untyped library
    """What a head has read goes to these dimensions and no others."""
    part = slice(head * _SIZE, (head + 1) * _SIZE)
    attention.o_proj.weight[:, part] = 0.0
    attention.o_proj.weight[where, part] = code


def _read_codes(attention: Any, part: slice) -> None:  # noqa: ANN401 - untyped library
    attention.v_proj.weight[part].zero_()
    attention.v_proj.weight[part, _SELF] = torch.eye(_CODE)


def _rms(codes: int) -> float:
    """What the norm before a layer divides by, where the stream holds so many codes."""
    return math.sqrt((codes * _CODE + _ALWAYS_SCALE**2) * _SCALE**2 / HIDDEN)
