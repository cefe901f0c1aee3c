"""How the logits of an output layer are divided, so that they never exist all at once."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

BLOCKS = 16
"""Into how many parts a tile that is rewritten in place is divided at most; a power of two."""

FEATURE_PARTS = 8
"""In how many parts a CPU adds a product to a total."""

BLOCK_BYTES = 2**25
"""How large these are at least: a GPU needs work enough for each."""

WIDE_BYTES = 2**27
"""How large a block of logits is at most that are wider than their gradient."""

WIDE_TOKENS = 256
"""How many tokens it has at least: with fewer, the kernel is read more often than is free."""

FEW_TOKENS = 512
"""Below this many tokens at a time, adding up gradients costs more than making logits again."""


class Plan(NamedTuple):
    """Which part of the logits exists at a time: a tile of some tokens and some columns.

    Whole rows give the gradients together with the value, in three matrix products. If columns are
    divided, the logits are made once more for the gradients, a fourth product; a tile is then as
    small as one likes.
    """

    tokens: int | None = None
    """how many at a time; None: all"""
    columns: int | None = None
    """how many at a time, of the vocabulary; None: all"""
    dtype: str | None = None
    """of logits; None: that of the losses. Whole rows of logits become their gradient in place; of
    those that are wider than the hidden states a block exists at a time, and the gradient in all of
    them is narrow. At ``"bfloat16"`` all logits of a bfloat16 model are made at once; each loss is
    then off by what they are rounded"""
    axis: Any = None
    """the axes of a mesh over which the vocabulary is divided"""
    placed: Any = None
    """what maps the work over a mesh; both are set by :func:`jaxloss.distributed.sharded`"""


class Layer(NamedTuple):
    """The sizes of an output layer."""

    tokens: int
    features: int
    vocabulary: int
    item: int
    """bytes of a number that comes in"""
    kernel_item: int
    """bytes of a number of the kernel"""
    wide: int
    """bytes of a number that is computed with"""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.tokens} tokens, {self.features} features and {self.vocabulary} columns"


def needed_bytes(layer: Layer, plan: Plan) -> int:
    """About how much temporary memory a value and its gradient take; the results not counted."""
    tokens, features, vocabulary, item, kernel_item, wide = layer
    rows = min(plan.tokens or tokens, tokens)
    tile_item = wide if plan.dtype is None else jnp.dtype(plan.dtype).itemsize
    copied = 0 if item == kernel_item else item
    if plan.columns is None:
        tile = rows * vocabulary * tile_item
        if tile_item == item:
            blocks = blocks_of(rows, tile)
            slopes = tile if blocks == 1 else 2 * tile // blocks
        else:
            _, block = chunks_of(rows, block_of(1, vocabulary, f"float{8 * tile_item}"))
            tile, slopes = block * vocabulary * tile_item, rows * vocabulary * item
        needed = tile + slopes + copied * features * vocabulary
        if rows == tokens:
            return needed
        summed = features * vocabulary * wide
        part = summed // FEATURE_PARTS
        return needed + 2 * tokens * features * item + (part if kernel_item == wide else summed)
    columns = min(plan.columns, vocabulary)
    tile = rows * columns * (tile_item + item)
    return tile + features * columns * (kernel_item + copied + wide) + tokens * features * wide


def fitted(
    name: str, layer: Layer, *, plan: Plan | None, memory: int | None, per_token: bool
) -> Plan:
    """The plan that was given, if it fits, or else the fastest that fits into ``memory`` bytes."""
    if plan is not None:
        _require_sizes(name, plan)
        needed = needed_bytes(layer, plan)
        if memory is not None and needed > memory:
            raise ValueError(
                f"{name}: memory must be at least {needed} bytes for {layer.name} under {plan}, "
                f"got {memory}"
            )
        return plan
    if memory is None:
        return _balanced(layer, per_token)
    candidates = _candidates(layer, per_token)
    for candidate in candidates:
        if needed_bytes(layer, candidate) <= memory:
            return candidate
    least = min(needed_bytes(layer, candidate) for candidate in candidates)
    raise ValueError(
        f"{name}: memory must be at least {least} bytes for {layer.name}, got {memory}"
    )


def _balanced(layer: Layer, per_token: bool) -> Plan:
    """Tiles no larger than the kernel, unless so few tokens would make it slow."""
    if per_token and layer.tokens * layer.vocabulary * layer.wide > 2**26:
        room = max(layer.features * layer.vocabulary * layer.kernel_item // 2, 2**28)
        columns = max(room // (layer.tokens * (layer.wide + layer.item)) // 128 * 128, 2048)
        rows = room // (columns * (layer.wide + layer.item))
        return Plan(None if rows >= layer.tokens else rows // 128 * 128, columns)
    rows = max(1024, _power_of_two(layer.features // 2))
    whole, some = Plan(), Plan(tokens=rows)
    fits = layer.tokens <= rows or needed_bytes(layer, whole) <= needed_bytes(layer, some)
    return whole if fits else some


def _candidates(layer: Layer, per_token: bool) -> list[Plan]:
    """Plans, the fastest first."""
    halves = [layer.tokens, *_halves(layer.tokens)]
    chunked = [Plan(None if rows == layer.tokens else rows) for rows in halves]
    widths = [_power_of_two(layer.vocabulary), *_halves(_power_of_two(layer.vocabulary))]
    streamed = [Plan(None, columns) for columns in widths if columns >= 2048]
    streamed += [Plan(rows, columns) for columns in (2048, 512, 128) for rows in halves]
    if per_token:
        return streamed
    many = [plan for plan in chunked if (plan.tokens or layer.tokens) >= FEW_TOKENS]
    few = [plan for plan in chunked if plan not in many]
    return [*chunked[:1], *many, *streamed, *few]


def _halves(size: int) -> list[int]:
    """Powers of two below ``size``, down to 16."""
    top = _power_of_two(size - 1) if size > 1 else 1
    return [2**k for k in range(top.bit_length() - 1, 3, -1)]


def blocks_of(rows: int, size: int) -> int:
    """Into how many equal blocks the rows of a tile of so many bytes are divided."""
    return math.gcd(rows, min(BLOCKS, _power_of_two(size // BLOCK_BYTES)))


def block_of(row: int, vocabulary: int, dtype: Any) -> int:
    """How many rows a block of wide logits has, if each is so many tokens."""
    tokens = max(WIDE_TOKENS, WIDE_BYTES // (vocabulary * jnp.dtype(dtype).itemsize))
    return max(1, tokens // row)


def _power_of_two(size: int) -> int:
    """The largest that is not larger."""
    return 1 << max(size, 1).bit_length() - 1


def _require_sizes(name: str, plan: Plan) -> None:
    for field, value in (("tokens", plan.tokens), ("columns", plan.columns)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: plan.{field} must be at least 1, got {value}")


def chunks_of(total: int, most: int | None) -> tuple[int, int]:
    """How many chunks of at most so many, and how large they are; what is left over is less.

    If some number of chunks leaves nothing over without making them less than half as large, so be
    it: a remainder is no trouble on one device, but may not be divisible among several.
    """
    if most is None or most >= total:
        return 1, total
    least = math.ceil(total / most)
    count = next((c for c in range(least, 2 * least + 1) if total % c == 0), least)
    return count, total // count
