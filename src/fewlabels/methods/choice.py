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
# From so many gradient images of a budget on, with fewer labels a class than this on average, an encoder that first
# learns without labels brings more than guesses from the first step on; where there is no budget, from `_SHORT` on, as
# its steps are of more images. With 10 labels: at 256,000 images 39.6 to 35.6 % of uda (one draw; with patches beside
# them 47.7 to 41.3 %, mean of three); at a million 53.2 to 38.9 % (the first). Of a pool of 2,868 photos of clothes (20
# labels, 200,000 images, one draw, validation images) 58.7 to 61.6 %: in few images there is less to learn.
_ENCODER, _ENCODER_LABELS, _ENCODER_POOL = 250_000, 25, 10_000
# With more labels it takes longer, as guesses are better. With 50 (one draw each): at 256,000 images 56.4 to 59.1 % of
# uda, at a million 66.4, and 70.2 of the wider net, to 65.8 %; both of the wider net, development images, 71.5 % after
# 1,270 s of one core to 68.6 % after 980. With 500 (uda goes on from the encoder) 83.9 to 83.8 % in equal time. The
# wider net is the better encoder from there on: a linear probe on it, at equal time, has 47.1 and 47.6 % where the
# default net learns from 500,000 images, 49.6 and 53.4 % where it learns from 2,000,000 (views of 24 px, which take
# half as long as whole images; 10 labels, development images).
_LONG_ENCODER, _LONG_ENCODER_LABELS = 1_000_000, 60
# In a time in which the default net can learn from fewer images than this, or go over the labels fewer times, the net
# that works at half the side is better, as it takes twice as many steps. Default net and coarse one in equal time,
# development images, means of two draws. CIFAR-10 with 10 labels a class: 8,000 images 33.1 and 36.8 %, 32,000 34.6 and
# 36.6 %. With 50: 8,000 47.5 and 51.3 %, 16,000 51.5 and 51.8 %, 32,000 53.0 and 52.5 %, 64,000 (one draw) 55.2 and
# 53.5 %. With 500 (one draw): 64,000 73.3 and 75.2 %, 256,000 (a near kin of it) 78.6 and 77.2 %. Photos of clothes
# (three draws, 20 and 50 labels): 8,000 images of 64 px 39.6 and 45.7 %, 52.9 and 60.3 %; 4,000 of 96 px 25.0 and
# 37.2 %, 21.1 and 47.1 %.
_COARSE, _COARSE_PASSES = 40_000, 25
# Shorter sides in pixels that this is for: it was measured from 32 to 96.
_COARSE_SIDES = (24, 128)
# What typical patches and their classifier cost, in gradient images of the default net that take as long on two cores:
# so many, and so many for each labeled sample, of 32 px.
_PATCHES_COST, _PATCHES_COST_LABEL, _PATCHES_SIDE = 5_000, 8, 32
# Of a time that is given, the share that they may take, where labels are few: with 500 a class they are worth less than
# what the net learns in that time. Where no time is given, and patience is not known, so many times what the net takes
# for the labels alone. Points that patches add (development images, one or two draws): 50 labels a class and 128,000
# images, supervised 2.4, uda 1.5 and 1.4, two-step 2.5, joint 2.0; 500 labels and 256,000 images, supervised 0.2.
# Photos of clothes, beside the coarse net: at 64 px (8,000 images) 20 labels 7.2 and 4.7, 50 labels 6.7 and 10.3; at
# 96 px (10,000 images, one draw) 8.0 and 5.4.
_PATCHES_SHARE, _PATCHES_TIMES = 0.25, 2.0
_PATCHES_SIDES = (24, 128)


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
    timed : bool
        Whether the length is a time, of which a smaller net makes more steps.
    any_net : bool
        Whether the net is to be chosen too; otherwise one was asked for by name.
    patches : float, optional
        What the patches of `fewlabels.NetAndPatches` would cost, in gradient images that take as long; what they do on
        two cores when not given.
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
    timed: bool = False
    any_net: bool = True
    patches: float | None = None


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
        return [_labels_alone(situation, "there is no pool, so labels are all there is to learn from")]
    if 2 * situation.pool < situation.labels:
        return [_labels_alone(situation, "the pool is less than half as large as the labels, too small to add much")]
    if situation.side == 0:
        return [
            Candidate("label-spreading", {}, "samples are vectors, and near vectors tend to share their class"),
            Candidate("self-training", {}, "samples are vectors, on which several nets take little time"),
        ]
    if situation.budgeted and is_too_short(situation.images, situation.labels, situation.classes):
        why = "in so little time the labels alone come further than with a pool that takes its share of it"
        return [_labels_alone(situation, why)]
    if _pays_to_pretrain(situation):
        few = f"few labels a class ({situation.labels / situation.classes:.0f} on average)"
        why = f"with {few} and so much time, an encoder that first learns without labels brings more than guesses"
        return [Candidate("sim-clr", {"preset": "short"} | _wider(situation, _LONG_ENCODER), why)]
    if situation.budgeted or situation.images >= _SHORT:
        why = "there is time for guesses to become better than labels"
        return [Candidate("uda", {"preset": "short"} | _wider(situation, _LONG), why)]
    if situation.least < _FEW_LABELS and not situation.decodable:
        why = "a pretrained net that is trained further, which no decoder fits on, learns from a first one's labels"
        return [Candidate("self-training", {}, why)]
    if situation.least < _FEW_LABELS:
        few = f"few labels a class ({situation.least} to learn from)"
        why = f"with {few} and little time, agreement between views of an image pays"
        return [Candidate("two-step-autoencoder", {}, why), Candidate("joint-autoencoder", {}, why)]
    return [Candidate("self-training", {}, "with many labels and little time, a fresh net learns from a first one")]


def why_patches(situation: Situation) -> str | None:
    """Return why the net of a candidate is to answer together with patches, as of `fewlabels.NetAndPatches`.

    None if it is not.

    Examples
    --------
    >>> usual = Situation(500, 10, 50, pool=45_000, side=32, images=64_000)
    >>> why_patches(usual)
    'a linear classifier of typical patches errs on other images than a net'
    >>> why_patches(Situation(500, 10, 50, pool=45_000, side=0, images=64_000)) is None
    True
    """
    known = _PATCHES_SIDES[0] <= situation.side <= _PATCHES_SIDES[1]
    if not known or situation.pretrained or not situation.decodable:
        return None
    many = situation.labels >= _FEW_LABELS * situation.classes
    if situation.timed and many:
        return None
    cost = situation.patches
    if cost is None:
        # Patches are looked at in images that are shrunk, a net learns from whole ones.
        shrunk = min(1.0, (_PATCHES_SIDE / situation.side) ** 2)
        cost = shrunk * (_PATCHES_COST + _PATCHES_COST_LABEL * situation.labels)
    if cost > (_PATCHES_SHARE if situation.timed else _PATCHES_TIMES) * situation.images:
        return None
    return "a linear classifier of typical patches errs on other images than a net"


def is_too_short(images: float, labels: int, classes: int) -> bool:
    """Say whether labels alone come further from scratch in a budget than with a pool that takes its share of it.

    Parameters
    ----------
    images : float
        Gradient images that the budget allows.
    labels : int
        Labeled samples to learn from.
    classes : int
        Number of classes.

    Examples
    --------
    >>> is_too_short(128_000, labels=500, classes=10), is_too_short(128_000, labels=5_000, classes=10)
    (False, True)
    """
    return images < (_TOO_SHORT if labels < _FEW_LABELS * classes else _TOO_SHORT_FOR_MANY)


def _pays_to_pretrain(situation: Situation) -> bool:
    """Say whether an encoder that first learns without labels brings more than guesses from the first step on."""
    if not situation.decodable or situation.pool < _ENCODER_POOL:
        return False
    a_class = situation.labels / situation.classes
    if situation.images >= _LONG_ENCODER:
        return a_class < _LONG_ENCODER_LABELS
    return a_class < _ENCODER_LABELS and situation.images >= (_ENCODER if situation.budgeted else _SHORT)


def _wider(situation: Situation, least: int) -> dict[str, str]:
    """Return the setting of the wider net from so many images on, unless a net was asked for."""
    return {"net": "fast-wide"} if situation.any_net and situation.images >= least else {}


def _labels_alone(situation: Situation, why: str) -> Candidate:
    """Return the candidate that learns from the labels alone, with the net that comes further in the time there is."""
    hasty = situation.timed and situation.images < max(_COARSE, _COARSE_PASSES * situation.labels)
    if hasty and situation.any_net and _COARSE_SIDES[0] <= situation.side <= _COARSE_SIDES[1]:
        why += "; a net that works at half the side takes more steps in it"
        return Candidate("supervised", {"net": "fast-coarse"}, why)
    return Candidate("supervised", {}, why)
