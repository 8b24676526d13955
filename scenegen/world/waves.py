"""The order in which blocks are made, and which finished blocks each one goes by."""

from __future__ import annotations

from collections.abc import Container, Iterable

from .neighbours import OFFSETS, Index

WAVES = 4


def wave_of(index: Index) -> int:
    """0 to 3, by parity of (i, k): even even, odd even, even odd, odd odd. Blocks of one wave never overlap."""
    return index[0] % 2 + 2 * (index[1] % 2)


def in_waves(blocks: Iterable[Index]) -> list[list[Index]]:
    """Blocks by wave, rows of k within each; waves without a block are left out."""
    waves: list[list[Index]] = [[] for _ in range(WAVES)]
    for block in sorted(set(blocks), key=lambda index: index[::-1]):
        waves[wave_of(block)].append(block)
    return [wave for wave in waves if wave]


def moved(index: Index, offset: Index) -> Index:
    """The block at `offset` from a block."""
    return index[0] + offset[0], index[1] + offset[1]


def goes_by(index: Index, before: Container[Index], beside: Container[Index]) -> list[Index]:
    """Offsets of the neighbours that block `index` is made to fit.

    Args:
        before: blocks of earlier actions that stay.
        beside: all blocks of the same action; those of earlier waves count, finished or not, so that the
            answer does not depend on what was finished first.
    """

    def counts(other: Index) -> bool:
        return wave_of(other) < wave_of(index) if other in beside else other in before

    return [offset for offset in OFFSETS if counts(moved(index, offset))]
