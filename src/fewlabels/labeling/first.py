"""Which images to label first, before there is a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from sklearn.decomposition import PCA

from fewlabels.data import ImageDataset
from fewlabels.data.features import is_feature_folder
from fewlabels.data.sources import load_unlabeled
from fewlabels.labeling.description import PoolDescription
from fewlabels.labeling.ranking import CANDIDATES, DEFAULT_COUNT, check_strategy, rank_for_labeling
from fewlabels.methods.embedding import features_of, own_size
from fewlabels.methods.typical_patches import PatchFeatures
from fewlabels.nets.pretrained import load_backbone
from fewlabels.storage.arguments import check_count
from fewlabels.storage.errors import InputError
from fewlabels.storage.screen import new_bar
from fewlabels.training.device import choose_device

# A quarter as many typical patches as `KMeansFeatures` has: which images are alike they tell as well, and four times
# as quickly.
_CENTROIDS = 200
# Of their features, so many principal components count, each alike: without, how much contrast an image has, and where,
# says more than what it shows. Of few images fewer, or each would be as far from any as from any other.
_COMPONENTS, _IMAGES_EACH = 48, 10
# Less of a spread than this is rounding.
_ROUNDING = 1e-5
# Images that are looked at between two moves of the bar.
_CHUNK = 128


def first_to_label(
    source: Any,
    *,
    strategy: str | None = None,
    count: int = DEFAULT_COUNT,
    random_state: int = 0,
    net: Any = None,
    labels: Any = None,
    image_size: int | None = None,
    device: str = "auto",
    strict: bool = False,
    progress: bool = False,
    cache_dir: str | Path | None = None,
) -> PoolDescription:
    """Say which images of a source to label first, before there is a model.

    Those come first that stand for many: each raises most the sum over all images of how near they are to one that is
    labeled or chosen (see `rank_for_labeling`, `diverse`). How near images are is told by their patches, as
    `KMeansFeatures` has them, or by a pretrained net. Of more than 4,000 images, as many at random are looked at.

    Parameters
    ----------
    source : str, Path, tuple, mapping or ImageDataset
        What `load_dataset` takes, without a label of any image if need be: a folder of image files will do. Images
        that have a label count as labeled, unless all lie in class folders: these are taken as no classes then. Or
        what `load_unlabeled` gave.
    strategy : str, optional
        "diverse", when not given, or "random".
    count : int
        So many are chosen one by one; the others follow in random order.
    random_state : int
        Of the draws.
    net : str or nn.Module, optional
        A pretrained net that tells how near images are; see `SemiSupervisedClassifier`.
    labels : str, Path or mapping, optional
        Labels given so far, see `load_dataset`.
    image_size, strict, cache_dir, progress
        See `load_dataset`.
    device : str
        See `SemiSupervisedClassifier`.

    Returns
    -------
    PoolDescription
        Without guesses and scores: `class_probabilities` has no columns.

    Raises
    ------
    InputError
        If the source cannot be used, every image has a label, or the strategy needs a model.

    References
    ----------
    Hacohen, Dekel & Weinshall, "Active learning on a budget: opposite strategies suit high and low budgets", 2022
    (typical images first, where labels are few).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> images = load_digits().images.astype("uint8")[:300]
    >>> found = first_to_label({"train": (images, None)}, count=20)
    >>> len(found), found.rows(count=1)[0]["rank"], found.guesses[0]
    (300, 1, '')
    """
    check_count("count", count)
    strategy = check_strategy(strategy, has_model=False)
    is_place = isinstance(source, str | Path)
    if net is not None and (getattr(source, "is_features", False) or (is_place and is_feature_folder(Path(source)))):
        raise InputError(f"{source} holds features already; leave the net away, or give the images")
    if isinstance(source, ImageDataset):
        if labels is not None:
            raise InputError("labels go with a source that is to be read; give them to load_unlabeled")
        data = source
    else:
        # No net is asked for a random order.
        size = image_size if image_size is not None or strategy == "random" else own_size(source, net)
        data = load_unlabeled(
            source, image_size=size, labels=labels, strict=strict, cache_dir=cache_dir, progress=progress
        )
    count_of_pool = len(data.pool)
    if not count_of_pool:
        raise InputError(f"{data.source} has no images without a label: there is nothing to ask for")
    order = first_order(
        data, strategy=strategy, count=count, random_state=random_state, net=net, device=device, progress=progress
    )
    return PoolDescription(
        names=data.pool_names if data.pool_names is not None else [f"pool[{row}]" for row in range(count_of_pool)],
        class_names=(),
        class_probabilities=np.empty((count_of_pool, 0), np.float32),
        in_distribution=np.full(count_of_pool, np.nan),
        order=order,
        strategy=strategy,
        data=data,
        skipped=data.skipped,
        notes=data.notes,
    )


def first_order(
    data: ImageDataset,
    *,
    strategy: str = "diverse",
    count: int = DEFAULT_COUNT,
    random_state: int = 0,
    net: Any = None,
    device: str = "auto",
    progress: bool = False,
    labeled: NDArray[np.int64] | None = None,
    go_on: Callable[[], None] = lambda: None,
) -> NDArray[np.int64]:
    """Return the rows of a data set's pool in the order of `first_to_label`; see there for the other parameters.

    Parameters
    ----------
    data : ImageDataset
        With a pool.
    labeled : ndarray of int, optional
        Rows of the pool that have a label by now: they come last.
    go_on : callable
        Is called before each few images are looked at, and raises where they are not wanted any more.
    """
    draws = np.random.default_rng(random_state)
    order = draws.permutation(len(data.pool))
    given = np.empty(0, np.int64) if labeled is None else labeled
    order = order[~np.isin(order, given)]
    if strategy != "random" and len(order):
        looked_at = np.sort(order[:CANDIDATES])
        standing = data.pool.take(given)
        standing = standing if not len(data.labeled) else standing.joined(data.labeled)
        standing = standing.take(np.sort(draws.permutation(len(standing))[:CANDIDATES]))
        features = _features(data, net, device, random_state, progress)
        places = _all_of(features, data.pool.take(looked_at), progress, go_on)
        known = _all_of(features, standing, progress, go_on) if len(standing) else places[:0]
        if net is None and not data.is_features:
            places, known = _whitened(places, known, random_state)
        ranked = rank_for_labeling(None, places, known, strategy=strategy, random_state=random_state, count=count)
        order = np.concatenate([looked_at[ranked], order[CANDIDATES:]])
    return np.concatenate([order, given])


def _features(
    data: ImageDataset, net: Any, device: str, random_state: int, progress: bool
) -> Callable[[Any], NDArray[np.float32]]:
    """Return what maps images to features: of a pretrained net, of their patches, or these themselves."""
    if data.is_features:
        return lambda features: np.asarray(features, np.float32)
    where = choose_device(device)
    if net is not None:
        backbone = load_backbone(net)
        backbone.to(where)
        return lambda images: features_of(backbone, images, where)
    with new_bar(*Progress.get_default_columns(), shown=progress) as bar:
        bar.add_task("finding typical patches", total=None)
        everything = data.pool if not len(data.labeled) else data.pool.joined(data.labeled)
        return PatchFeatures(everything, centroids=_CENTROIDS, random_state=random_state, device=where)


def _whitened(
    places: NDArray[np.float32], known: NDArray[np.float32], random_state: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the principal components of features, all of one spread, as the first features have them."""
    count = min(_COMPONENTS, len(places) // _IMAGES_EACH)
    # Images that are all the same have no components.
    if count < 2 or not np.ptp(places, axis=0).max() > _ROUNDING:
        return places, known
    found = PCA(count, random_state=random_state).fit(places)
    spread = np.sqrt(found.explained_variance_)
    kept = spread > _ROUNDING * spread[0]
    both = [
        found.transform(rows)[:, kept] / spread[kept] if len(rows) else np.empty((0, kept.sum()), np.float32)
        for rows in (places, known)
    ]
    return both[0], both[1]


def _all_of(
    features: Callable[[Any], NDArray[np.float32]], rows: Any, progress: bool, go_on: Callable[[], None]
) -> NDArray[np.float32]:
    found = []
    with new_bar(*Progress.get_default_columns(), shown=progress) as bar:
        task = bar.add_task("looking at images", total=len(rows))
        for start in range(0, len(rows), _CHUNK):
            go_on()
            found.append(features(rows[start : start + _CHUNK]))
            bar.advance(task, len(found[-1]))
    return np.concatenate(found)
