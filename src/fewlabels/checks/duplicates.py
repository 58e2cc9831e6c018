"""Copies among images: the same pixels, and the same picture scaled, shifted, mirrored, recompressed or recolored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, stats

from fewlabels.checks.looks import COARSE, Looks

# Chosen by looking at pairs of CIFAR-10's test and training images: above both, all but a few are the same picture.
COARSE_LIKENESS = 0.87
DETAIL_LIKENESS = 0.75
_ROWS, _COLUMNS = 512, 8192
_MOST_OF_ONE = 32
_MOST_PAIRS = 200_000
_PAIRS_AT_ONCE = 2048
# Copies that were cropped by a few pixels still match; in units of the side of the image.
_SHIFT = 1 / 16
_BLUR = 1 / 16
_LEAST_DETAIL = 0.5
# All but identical, as another compression leaves a picture: a near duplicate among whatever images.
_SAME_COARSE, _SAME_DETAIL = 0.995, 0.97
# Of the pairs kept, at most so many are expected to be alike by chance.
_CHANCE = 0.1
_STRANGERS_FROM = 0.77
_ASKED = 500
_MOST_STRANGERS = 10_000
_FEWEST_STRANGERS = 50

Pairs = NDArray[np.int64]


def exact_copies(hashes: NDArray[np.void], starts: NDArray[np.int64], searched: int) -> tuple[Pairs, NDArray[np.int64]]:
    """Return pairs of images with the same pixels: each image with the first of its likes in every part up to its own.

    Parameters
    ----------
    hashes : ndarray of shape (n,)
    starts : ndarray of int64, shape (parts + 1,)
        Row at which each part begins, and n.
    searched : int
        Pairs of two images that both come after the first `searched` are left out.

    Returns
    -------
    pairs : ndarray of int64, shape (pairs, 2)
        The smaller row first.
    group : ndarray of int64, shape (n,)
        The same number for images with the same pixels.

    Examples
    --------
    >>> hashes = np.array([b"a", b"b", b"a", b"b", b"a"], "V1")
    >>> exact_copies(hashes, np.array([0, 2, 4, 5]), searched=5)[0].tolist()
    [[0, 2], [0, 4], [1, 3], [2, 4]]
    """
    _, group = np.unique(hashes, return_inverse=True)
    rows = np.arange(len(group))
    found = []
    for start, end in itertools.pairwise(starts.tolist()):
        # Assigned from the last to the first, so that the first of a group stays.
        firsts = np.full(int(group.max(initial=-1)) + 1, len(rows))
        firsts[group[start:end][::-1]] = rows[start:end][::-1]
        pairs = np.stack([firsts[group], rows], axis=1)
        found.append(pairs[(pairs[:, 0] < pairs[:, 1]) & (pairs[:, 0] < searched)])
    return np.unique(np.concatenate(found), axis=0), np.asarray(group, np.int64)


def near_duplicates(looks: Looks, searched: int) -> tuple[Pairs, bool]:
    """Return pairs of images that show the same picture.

    Candidates are images that are alike on 8 x 8 areas, as they are or mirrored; of them those are kept whose detail,
    what a blur takes away, is alike too, at the best of the shifts by up to a sixteenth of a side. A coarse likeness
    alone would take any two ships before a gray sky for one. How alike in detail depends on the images: where different
    ones are alike by chance, as trousers on a white sheet are, only closer copies are told.

    Parameters
    ----------
    looks : Looks
        Of all images; exact copies are pairs here as well.
    searched : int
        Pairs of two images that both come after the first `searched` are left out: the pool's among themselves.

    Returns
    -------
    pairs : ndarray of int64, shape (pairs, 2)
        The smaller row first, each pair once.
    is_whole : bool
        False where there were more candidates than could be looked at in detail, of which the most alike were.
    """
    candidates = list(_candidates(looks.coarse, searched))
    if not candidates:
        return np.empty((0, 2), np.int64), True
    found = _Candidates(*(np.concatenate(values) for values in zip(*candidates, strict=True)))
    is_whole = len(found.rows) <= _MOST_PAIRS
    if not is_whole:
        found = found.take(np.argpartition(-found.coarse, _MOST_PAIRS)[:_MOST_PAIRS])
    alike = found.detail(looks)
    kept = alike >= _threshold(found.coarse, alike, _strangers(looks))
    kept |= (alike >= _SAME_DETAIL) & (found.coarse >= _SAME_COARSE)
    return np.unique(np.stack([found.rows[kept], found.columns[kept]], axis=1), axis=0), is_whole


@dataclass(frozen=True)
class _Candidates:
    """Pairs of rows, whether the first is mirrored, and how alike their coarse looks are."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    coarse: NDArray[np.float32]

    def take(self, chosen: NDArray[np.int64]) -> _Candidates:
        return _Candidates(self.rows[chosen], self.columns[chosen], self.mirrored[chosen], self.coarse[chosen])

    def detail(self, looks: Looks) -> NDArray[np.float32]:
        """Return how alike the details of each pair are, some pairs at a time."""
        parts = (slice(start, start + _PAIRS_AT_ONCE) for start in range(0, len(self.rows), _PAIRS_AT_ONCE))
        found = [
            _detail_likeness(looks.gray[self.rows[part]], looks.gray[self.columns[part]], self.mirrored[part])
            for part in parts
        ]
        return np.concatenate(found) if found else np.empty(0, np.float32)


def _strangers(looks: Looks) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return coarse and detail likeness of pairs that are alike, but not so much that they could be copies."""
    draws = np.random.default_rng(0)
    asked = np.sort(draws.permutation(len(looks))[:_ASKED])
    rows, columns, coarse = [], [], []
    for first in range(0, len(looks), _COLUMNS):
        likeness = looks.coarse[asked] @ looks.coarse[first : first + _COLUMNS].T
        row, column = np.nonzero((likeness >= _STRANGERS_FROM) & (likeness < COARSE_LIKENESS))
        rows.append(asked[row])
        columns.append(column + first)
        coarse.append(likeness[row, column])
    pairs = _Candidates(np.concatenate(rows), np.concatenate(columns), np.empty(0, bool), np.concatenate(coarse))
    chosen = draws.permutation(len(pairs.rows))[:_MOST_STRANGERS]
    plain = np.zeros(len(chosen), bool)
    pairs = _Candidates(pairs.rows[chosen], pairs.columns[chosen], plain, pairs.coarse[chosen])
    return pairs.coarse, pairs.detail(looks)


def _threshold(
    coarse: NDArray[np.float32], alike: NDArray[np.float32], strangers: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> float:
    """Return how alike in detail candidates have to be, so that few of those kept are so by chance.

    Photos of like things before like walls, or digits, are alike in detail too, and the more so, the more alike they
    are on the whole. How much so is learned from pairs that are no candidates: a line through their likeness in detail
    over that on the whole, and the spread around it, tell how many of the candidates chance alone would keep.
    """
    of_strangers, detail = strangers
    if len(detail) < _FEWEST_STRANGERS:
        return DETAIL_LIKENESS
    slope, start = np.polyfit(of_strangers, detail, 1)
    spread = max(float(np.std(detail - (start + slope * of_strangers))), 1e-3)
    expected = start + max(slope, 0.0) * coarse
    for threshold in np.arange(DETAIL_LIKENESS, 1.0, 0.01):
        by_chance = float(stats.norm.sf((threshold - expected) / spread).sum())
        if by_chance <= _CHANCE * int((alike >= threshold).sum()):
            return float(threshold)
    return 1.0


def _candidates(
    coarse: NDArray[np.float32], searched: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32]]]:
    """Yield rows, columns, whether the row is mirrored, and likeness of pairs whose coarse looks are alike."""
    channels = coarse.shape[1] // COARSE**2
    for start in range(0, searched, _ROWS):
        own = coarse[start : min(start + _ROWS, searched)]
        turned = own.reshape(-1, channels, COARSE, COARSE)[..., ::-1].reshape(len(own), -1)
        for mirrored, asked in ((False, own), (True, np.ascontiguousarray(turned))):
            for first in range(start, len(coarse), _COLUMNS):
                likeness = asked @ coarse[first : first + _COLUMNS].T
                found = likeness >= COARSE_LIKENESS
                if not found.any():
                    continue
                if found.sum() > _MOST_OF_ONE * len(own):
                    # A picture with very many likes is no copy of each; its nearest tell.
                    cut = -np.partition(-likeness, _MOST_OF_ONE, axis=1)[:, _MOST_OF_ONE - 1]
                    found &= likeness >= cut[:, None]
                rows, columns = np.nonzero(found)
                later = columns + first > rows + start
                rows, columns = rows[later], columns[later]
                yield rows + start, columns + first, np.full(len(rows), mirrored), likeness[rows, columns]


def _detail_likeness(
    one: NDArray[np.uint8], other: NDArray[np.uint8], mirrored: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the highest correlation of the details of each pair over small shifts, in [-1, 1]."""
    one = np.where(mirrored[:, None, None], one[:, :, ::-1], one)
    side = one.shape[1]
    reach = max(1, round(_SHIFT * side))
    product = fft.rfft2(_detail(one)) * np.conj(fft.rfft2(_detail(other)))
    correlation = fft.irfft2(product, (side, side))
    shifts = np.arange(-reach, reach + 1)
    return np.asarray(correlation[:, shifts[:, None], shifts[None]].max((1, 2)), np.float32)


def _detail(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what a blur takes away, scaled to length 1; zero where that is hardly anything."""
    values = gray.astype(np.float32)
    detail = values - ndimage.gaussian_filter(values, (0, _BLUR * gray.shape[1], _BLUR * gray.shape[1]))
    detail -= detail.mean((1, 2), keepdims=True)
    length = np.sqrt((detail**2).sum((1, 2), keepdims=True))
    has_detail = length > _LEAST_DETAIL * gray.shape[1]
    return np.where(has_detail, detail / np.maximum(length, 1e-6), 0)
