"""Which methods to consider for given data: rules, each with what was measured for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Labels a class: below it, what the pool's images look like teaches more than guesses of their classes.
_FEW_LABELS = 100
# Gradient images of a budget that samples of the pool take their share of: below it, nothing that learns from the pool
# gets better than the labels alone, which have all. With 50 labels a class: at 32,000 images 52 % to at most 51 %; at
# 96,000 (development images) 55.1 % to 56.0 % of uda, 56.4 % of self-training in one round, 53.5 % of the two-step
# autoencoder.
_TOO_SHORT = 100_000
# The same with many labels, from which more is to be learned first. With 500 labels a class and 256,000 images (one
# draw, development images): 78.6 % of the labels alone, 77.7 % of uda; at 480,000 uda has 80.9 %. It goes by all
# labels together: with 500 of the most frequent class and 50 of the rarest (2,044 in all, 128,000 images, one draw,
# development images) the labels alone have 65.0 %, uda 61.3 %.
_TOO_SHORT_FOR_MANY = 300_000
# Without a budget, labeled samples, repetitions counted, that the steps allow: below it, methods that guess in every
# step have no time to get better than the labels alone.
_SHORT = 150_000
# From here on a net of twice the width is as good at equal cost, and better with more.
_LONG = 1_500_000


@dataclass(frozen=True)
class Situation:
    """What a choice depends on.

    Attributes
    ----------
    labels : int
        Labeled samples to learn from.
    classes : int
        Number of classes.
    least : int
        Labels of the rarest class.
    pool : int
        Pool samples to learn from.
    side : int
        Shorter side of an image in pixels, 0 for vectors.
    images : float
        Labeled samples, repetitions counted, that the length allows.
    pretrained : bool
        Whether the samples are features of a pretrained net.
    decodable : bool
        Whether the net shows a map that a decoder can draw an image from; a pretrained net that is trained further
        shows none.
    budgeted : bool
        Whether the length is a time or a number of gradient images, of which samples of the pool take their share;
        otherwise it is steps or passes, with as many labeled samples whatever the method.
    """

    labels: int
    classes: int
    least: int
    pool: int
    side: int
    images: float
    pretrained: bool = False
    decodable: bool = True
    budgeted: bool = False


@dataclass(frozen=True)
class Candidate:
    """A method to consider.

    Attributes
    ----------
    method : str
        A key of `fewlabels.METHODS`.
    settings : dict
        Its hyper-parameters that are not at their default.
    because : str
        Why it is considered, a sentence.
    """

    method: str
    settings: dict[str, Any] = field(hash=False)
    because: str


def candidates(situation: Situation) -> list[Candidate]:
    """Return the methods to consider, the likeliest first.

    Examples
    --------
    >>> [found.method for found in candidates(Situation(50, 10, 5, pool=0, side=32, images=64_000))]
    ['supervised']
    >>> [found.method for found in candidates(Situation(500, 10, 50, pool=45_000, side=32, images=64_000))]
    ['two-step-autoencoder', 'joint-autoencoder']
    """
    probe = Candidate("linear-probe", {}, "on features of a pretrained net a linear classifier is hard to beat")
    if situation.pretrained and 2 * situation.pool < situation.labels:
        return [probe]
    if situation.pretrained:
        why = (
            "on features of a pretrained net it was among the best where all were measured; training the net further "
            "for a while cost a hundred times as much and brought nothing there (compare --rungs features,finetune "
            "tells here)"
        )
        mean = Candidate("ensemble-labels", {}, "the mean of several models' labels for the pool did about as well")
        return [Candidate("self-training", {}, why), mean, probe]
    if situation.pool == 0:
        return [Candidate("supervised", {}, "there is no pool, so labels are all there is to learn from")]
    if 2 * situation.pool < situation.labels:
        return [Candidate("supervised", {}, "the pool is less than half as large as the labels, too small to add much")]
    if situation.side == 0:
        return [
            Candidate("label-spreading", {}, "samples are vectors, and near vectors tend to share their class"),
            Candidate("self-training", {}, "samples are vectors, on which several nets take little time"),
        ]
    too_short = _TOO_SHORT if situation.labels < _FEW_LABELS * situation.classes else _TOO_SHORT_FOR_MANY
    if situation.budgeted and situation.images < too_short:
        why = "in so little time the labels alone come further than with a pool that takes its share of it"
        return [Candidate("supervised", {}, why)]
    if situation.budgeted or situation.images >= _SHORT:
        net = {"net": "fast-wide"} if situation.images >= _LONG else {}
        return [Candidate("uda", {"preset": "short"} | net, "there is time for guesses to become better than labels")]
    if situation.least < _FEW_LABELS and not situation.decodable:
        why = "a pretrained net that is trained further, which no decoder fits on, learns from a first one's labels"
        return [Candidate("self-training", {}, why)]
    if situation.least < _FEW_LABELS:
        why = f"with few labels a class ({situation.least}) and little time, agreement between views of an image pays"
        return [Candidate("two-step-autoencoder", {}, why), Candidate("joint-autoencoder", {}, why)]
    return [Candidate("self-training", {}, "with many labels and little time, a fresh net learns from a first one")]
