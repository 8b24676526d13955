"""How near generated blocks come to real ones, as sets of surface points in the blocks' own frame.

Achlioptas et al. 2018 and Yang et al. 2019 (PointFlow), section 5.1: minimum matching distance, coverage, and
1-nearest-neighbour accuracy. Clouds are neither centred nor scaled: where things stand in a block matters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

POINTS = 2048  # of each cloud (Shue et al. 2023, NFD)
_CLOSE_QUANTILE = 0.01

Clouds = Sequence[np.ndarray]  # [P, 3] each


def chamfer_matrix(first: Clouds, second: Clouds) -> np.ndarray:
    """D [len(first), len(second)]: mean squared distance to the nearest point, both directions summed."""
    ours, theirs = [cKDTree(cloud) for cloud in first], [cKDTree(cloud) for cloud in second]
    return np.array(_rows(lambda a: [_chamfer(a, b) for b in theirs], ours)).reshape(len(ours), len(theirs))


def self_matrix(clouds: Clouds) -> np.ndarray:
    """`chamfer_matrix` of clouds with themselves, with infinity on the diagonal."""
    trees = [cKDTree(cloud) for cloud in clouds]
    found = np.full((len(trees), len(trees)), np.inf)
    later = _rows(lambda i: [_chamfer(trees[i], tree) for tree in trees[i + 1 :]], range(len(trees)))
    for i, row in enumerate(later):
        found[i, i + 1 :] = found[i + 1 :, i] = row
    return found


def _rows(row: Callable[[Any], list[float]], given: Sequence[Any]) -> list[list[float]]:
    """A row for each of those given. Searching trees leaves Python alone, so that threads share the work."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(row, given))


def _chamfer(a: cKDTree, b: cKDTree) -> float:
    return float(np.square(b.query(a.data)[0]).mean() + np.square(a.query(b.data)[0]).mean())


@dataclass(frozen=True)
class SetScores:
    """One set against a reference of the same size.

    mmd: mean over the reference of the squared distance to the nearest of the set. cov: share of the reference
    that is nearest to a member of the set. nna: accuracy of telling the two by the nearest neighbour; 0.5 is ideal.
    """

    mmd: float
    cov: float
    nna: float


def set_scores(within: np.ndarray, across: np.ndarray, reference: np.ndarray) -> SetScores:
    """Scores from `self_matrix(set)`, `chamfer_matrix(set, reference)` and `self_matrix(reference)`.

    A neighbour in either set at the same distance counts half.
    """
    ours = _own_share(within.min(1), across.min(1))
    theirs = _own_share(reference.min(1), across.min(0))
    covered = len(np.unique(across.argmin(1))) / across.shape[1]
    return SetScores(float(across.min(0).mean()), covered, float(np.concatenate((ours, theirs)).mean()))


def _own_share(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where the nearest neighbour is of the own set, 0 where of the other."""
    return (own < other) + 0.5 * (own == other)


def copying(to_train: np.ndarray, held_out_to_train: np.ndarray, bins: int = 10) -> dict[str, object]:
    """Whether a set repeats the training blocks: distances to the nearest of them, beside those of held-out blocks.

    Args:
        to_train: `chamfer_matrix(set, train)`.
        held_out_to_train: `chamfer_matrix(held out, train)`.

    Returns:
        median and held_out_median: of the nearest distance; `close`: share of the set nearer to a training block
        than 99 % of held-out blocks are; `edges` and the two histograms over them.
    """
    ours, theirs = to_train.min(1), held_out_to_train.min(1)
    edges = np.histogram_bin_edges(np.concatenate((ours, theirs)), bins)
    return {
        "median": float(np.median(ours)),
        "held_out_median": float(np.median(theirs)),
        "close": float((ours < np.quantile(theirs, _CLOSE_QUANTILE)).mean()),
        "edges": edges.tolist(),
        "histogram": np.histogram(ours, edges)[0].tolist(),
        "held_out_histogram": np.histogram(theirs, edges)[0].tolist(),
    }
