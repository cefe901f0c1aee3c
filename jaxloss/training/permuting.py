"""Permutations of any size of which each element is found by itself, without the others."""

import numpy as np

Integers = int | np.integer | np.ndarray
"""One of them, or many."""

ROUNDS = 8
SMALL = 64
"""Up to which size sorting is as cheap; the halves of so few bits would hide too little."""


def permuted(position: np.ndarray, size: Integers, key: Integers) -> np.ndarray:
    """Where a position goes in a random permutation of ``range(size)``.

    A Feistel network permutes the next larger power of two; what it sends outside of the range is
    sent on until it is back inside. Both are one to one, and neither needs any memory. Small
    ranges are sorted by random numbers instead.

    Args:
        position: of any shape, in [0, ``size``).
        size: of each permutation, up to 2^52; broadcasts to ``position``.
        key: which permutation; broadcasts likewise.

    Example:
        >>> sorted(permuted(np.arange(5), 5, key=7).tolist())
        [0, 1, 2, 3, 4]
    """
    position = np.asarray(position, np.uint64)
    size = np.broadcast_to(np.asarray(size, np.uint64), position.shape)
    key = np.broadcast_to(mixed(key), position.shape)
    found, small = np.empty_like(position), size <= SMALL
    found[small] = _ranked(position[small], size[small], key[small])
    large, bits = ~small, _bits(size)
    found[large] = _enciphered(position[large], bits[large], key[large])
    while (outside := large & (found >= size)).any():
        found[outside] = _enciphered(found[outside], bits[outside], key[outside])
    return found.astype(np.int64)


def mixed(x: Integers) -> np.ndarray:
    """A 64-bit number that looks unrelated to ``x``, and is different for a different one.

    Reference:
        Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014.
    """
    x = np.asarray(x, np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def combined_key(*parts: Integers) -> np.ndarray:
    """One key out of several numbers, none of them negative, in order."""
    key = np.asarray(0, np.uint64)
    for part in parts:
        key = mixed(key ^ np.asarray(part, np.uint64))
    return key


def _ranked(position: np.ndarray, size: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The rank of the random number of a position among those of the range."""
    others = np.arange(SMALL, dtype=np.uint64)
    numbers = mixed(key[..., None] + others)
    ours = mixed(key + position)
    return ((numbers < ours[..., None]) & (others < size[..., None])).sum(-1).astype(np.uint64)


def _enciphered(x: np.ndarray, bits: np.ndarray, key: np.ndarray) -> np.ndarray:
    """A bijection of the numbers of so many bits, each half of which hides the other in turn."""
    low = bits // np.uint64(2)
    masks = [(np.uint64(1) << width) - np.uint64(1) for width in (bits - low, low)]
    halves = [x >> low, x & masks[1]]
    for number in range(ROUNDS):
        this, other = number % 2, 1 - number % 2
        halves[this] = halves[this] ^ (mixed(halves[other] ^ key) & masks[this])
        key = key * np.uint64(0xD1342543DE82EF95) + np.uint64(1)
    return (halves[0] << low) | halves[1]


def _bits(size: np.ndarray) -> np.ndarray:
    """Bits that the numbers below ``size`` need."""
    _, exponent = np.frexp((np.maximum(size, np.uint64(1)) - np.uint64(1)).astype(float))
    return exponent.astype(np.uint64)
