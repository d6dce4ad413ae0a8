"""Attention with quantized operands: projections, scores and values are products, the softmax between is torch's."""

from typing import Any

import torch
from torch.nn import functional

from ..products.torch_multiply import MATMUL, Products

SLOTS = 6
"""Scales of a layer: query, key and value projections, scores, values, output projection."""
_QUERY, _KEY, _VALUE, _SCORES, _VALUES, _OUT = range(SLOTS)


def scaled_dot_product_attention(
    products: Products,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """As `torch.nn.functional.scaled_dot_product_attention`."""
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    return _attended(products, (query, key, value), attn_mask, dropout_p, factor)[0]


def _attended(
    products: Products, given: Any, mask: torch.Tensor | None, dropout: float, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The attended values of query, key and value, and the weights, 0 in rows whose scores are all masked."""
    query, key, value = given
    scores = products.multiply(query, key.mT, MATMUL, _SCORES) * scale
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), -torch.inf) if mask.dtype == torch.bool else scores + mask
    weights = torch.ops.aten._safe_softmax.default(scores, -1)
    if dropout > 0:
        weights = torch.dropout(weights, dropout, True)
    return products.multiply(weights.to(value.dtype), value, MATMUL, _VALUES), weights


def multi_head_attention(
    products: Products,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: torch.Tensor | None,
    in_proj_bias: torch.Tensor | None,
    bias_k: torch.Tensor | None,
    bias_v: torch.Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: torch.Tensor,
    out_proj_bias: torch.Tensor | None,
    training: bool = True,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: torch.Tensor | None = None,
    k_proj_weight: torch.Tensor | None = None,
    v_proj_weight: torch.Tensor | None = None,
    static_k: torch.Tensor | None = None,
    static_v: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `torch.nn.functional.multi_head_attention_forward`: query (l, n, e) or (l, e), key and value alike."""
    if static_k is not None or static_v is not None:
        products.fail("quantized attention takes no static_k and static_v; leave them out")
    if is_causal and attn_mask is None:
        products.fail("is_causal is a hint about attn_mask; pass the mask too")
    batched = query.dim() == 3
    if not batched:
        query, key, value = (t.unsqueeze(1) for t in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        attn_mask = attn_mask[:, None] if attn_mask is not None and attn_mask.dim() == 3 else attn_mask
    weights = (
        in_proj_weight.chunk(3)
        if in_proj_weight is not None and not use_separate_proj_weight
        else (q_proj_weight, k_proj_weight, v_proj_weight)
    )
    q, k, v = _projected(products, (query, key, value), in_proj_weight, weights, in_proj_bias)
    mask = _mask(attn_mask, key_padding_mask, query, num_heads)
    k, v, mask = _extended(k, v, mask, bias_k, bias_v, add_zero_attn, num_heads)
    length, count, width = q.shape
    heads = [t.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3) for t in (q, k, v)]
    scale = heads[0].shape[-1] ** -0.5
    y, found = _attended(products, heads, mask, dropout_p if training else 0.0, scale)
    y = products.linear(y.permute(2, 0, 1, 3).reshape(length, count, width), out_proj_weight, out_proj_bias, _OUT)
    found = found.mean(1) if average_attn_weights else found
    if not batched:
        y, found = y[:, 0], found[0]
    return y, found if need_weights else None


def _projected(products: Products, given: Any, packed: Any, weights: Any, bias: Any) -> list[torch.Tensor]:
    """Query, key and value, each (l, n, e); in one product where they are projections of one tensor."""
    query, key, value = given
    if query is key and key is value and packed is not None:
        return list(products.linear(query, packed, bias, _QUERY).chunk(3, -1))
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    slots = (_QUERY, _KEY, _VALUE)
    return [products.linear(t, w, b, slot) for t, w, b, slot in zip(given, weights, biases, slots)]


def _mask(
    mask: torch.Tensor | None, padding: torch.Tensor | None, query: torch.Tensor, heads: int
) -> torch.Tensor | None:
    """What is added to scores (n, heads, l, s), of masks whose True, or number, hides a key; None for nothing."""
    count = query.shape[1]
    found = None
    if mask is not None:
        added = _as_float(mask, query.dtype)
        found = added if added.dim() == 2 else added.reshape(count, heads, *added.shape[-2:])
    if padding is not None:
        added = _as_float(padding, query.dtype).reshape(count, 1, 1, -1)
        found = added if found is None else found + added
    return found


def _as_float(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)


def _extended(
    k: torch.Tensor, v: torch.Tensor, mask: Any, bias_k: Any, bias_v: Any, zero: bool, heads: int
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Keys and values (s, n, e) with those that are learned, and those that are zero, at the end; none is masked."""
    more = 0
    if bias_k is not None:
        k, v = (torch.cat([t, b.to(t.dtype).expand(1, t.shape[1], -1)]) for t, b in ((k, bias_k), (v, bias_v)))
        more += 1
    if zero:
        k, v = (torch.cat([t, t.new_zeros(1, *t.shape[1:])]) for t in (k, v))
        more += 1
    return k, v, mask if mask is None or not more else functional.pad(mask, (0, more))
