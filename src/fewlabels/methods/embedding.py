"""Images through a pretrained net once: their features, in memory or in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fewlabels.data.dataset import ImageDataset
from fewlabels.data.features import is_feature_folder, write_features
from fewlabels.data.parts import Part
from fewlabels.data.sources import read_parts
from fewlabels.nets.backbone import Backbone, BackboneFacts
from fewlabels.nets.pretrained import is_backbone, load_backbone
from fewlabels.nets.provenance import leak_warning
from fewlabels.storage.arguments import check_count
from fewlabels.storage.cache_folder import cache_folder
from fewlabels.storage.cells import sentences, table
from fewlabels.storage.errors import InputError
from fewlabels.storage.screen import new_counting_bar
from fewlabels.training.device import choose_device
from fewlabels.training.memory import InPartsThatFit
from fewlabels.views.images import ImageViews

_CHUNK_PIXELS = 16 * 224 * 224
_MOST = 512


# What a notebook shows of a backbone.
_SHOWN = ("net", "trained_on", "feature_size")


@dataclass(frozen=True)
class Embedded:
    """What `embed` has written.

    Attributes
    ----------
    folder : Path
        Holds the features; `load_dataset` reads it.
    images : int
        Number of images.
    backbone : BackboneFacts
        What made the features.
    was_there : bool
        Whether all of them were there already.
    warning : str or None
        Where the backbone may have seen the images.
    """

    folder: Path
    images: int
    backbone: BackboneFacts
    was_there: bool
    warning: str | None

    def _repr_html_(self) -> str:
        rows = [{"": "folder", "value": str(self.folder)}, {"": "images", "value": f"{self.images:,}"}]
        rows += [{"": name, "value": str(value)} for name, value in vars(self.backbone).items() if name in _SHOWN]
        return table(rows) + sentences([self.warning] if self.warning else [])


# As in `load`.
@torch.random.fork_rng(devices=[])
def embed(
    source: Any,
    net: Any,
    out: str | Path,
    *,
    views: int = 1,
    image_size: int | None = None,
    device: str = "auto",
    flip: bool | str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    strict: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = False,
) -> Embedded:
    """Write the features that a pretrained net gives of all images of a source into a folder.

    The folder is then a source itself, with the same labels, pool and test images: every method that takes vectors
    trains on it in seconds. What was written before a stop is kept, and the same call goes on.

    Parameters
    ----------
    source : str, Path, tuple or mapping
        Whatever `load_dataset` takes.
    net : str or nn.Module
        See `fewlabels.nets.pretrained.load_backbone`.
    out : str or Path
        The folder.
    views : int
        Features of so many views of each image, at least 1: the image as it is, and randomly shifted and mirrored ones.
    image_size : int, optional
        Side in pixels; the net's own when not given, and where it has none, as for `load_dataset`.
    device : str
        See `SemiSupervisedClassifier`.
    flip : bool or "auto"
        Whether further views are mirrored; "auto": those of color images.
    seed : int
        Of the further views.
    overwrite : bool
        Replace features of other images or another net in `out`, or of the net as it was.
    strict, cache_dir, progress
        See `load_dataset`.

    Returns
    -------
    Embedded

    Raises
    ------
    InputError
        If the source or the net cannot be used, or `out` holds something else.

    Examples
    --------
    >>> import tempfile
    >>> from fewlabels.data import load_dataset
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = embed("digits", net, f"{folder}/features")
    ...     data = load_dataset(written.folder, labels_per_class=10)
    >>> written.images, data.labeled.shape
    (1797, (100, 5))
    """
    check_count("views", views)
    backbone = load_backbone(net)
    where = choose_device(device)
    backbone.to(where)
    size = own_size(source, backbone) if image_size is None else image_size
    # Features are made of images whatever their classes are: a labels file may tell them afterwards.
    parts = read_parts(source, size, cache_folder(cache_dir), strict=strict, progress=progress, labels_elsewhere=True)
    if parts.backbone is not None:
        raise InputError(f"{source} holds features already; give the images")
    if isinstance(source, str | Path) and Path(source).is_dir():
        # Labels by hand name files of this folder.
        parts = replace(parts, images_in=str(Path(source).resolve()))
    pieces = [piece for piece in parts.present.values() if len(piece.labels)]
    if backbone.facts.size is None:
        # Features change with the size of the images, so that whatever is classified later needs this one.
        backbone.facts = replace(backbone.facts, size=max(pieces[0].images.shape[1:3]))
    images = sum(len(piece.labels) for piece in pieces)
    mirrored = pieces[0].images.shape[3] == 3 if flip == "auto" else bool(flip)
    with new_counting_bar(shown=progress) as bar:
        task = bar.add_task("embedding images", total=images)
        before = {id(piece): sum(len(p.labels) for p in pieces[:number]) for number, piece in enumerate(pieces)}

        def features(piece: Part, first: int) -> Iterator[NDArray[np.float32]]:
            done = before[id(piece)] + first
            chunks = feature_chunks(
                backbone, piece.images, where, first=first, views=views, flip=mirrored, seed=[seed, before[id(piece)]]
            )
            for chunk in chunks:
                done += len(chunk)
                bar.update(task, completed=done)
                yield chunk

        def probe(count: int) -> NDArray[np.float32]:
            return features_of(backbone, pieces[0].images.take(np.arange(count)), where)

        plan = {
            "images": parts.content_key or _content(pieces),
            "image_shape": list(pieces[0].images.shape[1:]),
            "weights": backbone.facts.weights,
            "further_views": None if views == 1 else [seed, mirrored],
        }
        written = write_features(
            Path(out),
            parts,
            backbone.facts.to_dict(),
            features,
            probe=probe,
            views=views,
            plan=plan,
            overwrite=overwrite,
        )
    warning = leak_warning(backbone.facts.trained_on, parts.name, backbone.facts.net)
    return Embedded(Path(out), images, backbone.facts, not written, warning)


def warn_of_leak(method: Any, data: ImageDataset) -> str | None:
    """Note in a fitted method, and return, a warning where its pretrained net may have seen a data set's images."""
    facts = getattr(method, "backbone_facts_", None)
    if facts is None:
        return None
    method.backbone_warning_ = leak_warning(facts.trained_on, data.name, facts.net)
    return str(method.backbone_warning_) if method.backbone_warning_ else None


def feature_chunks(
    backbone: Backbone,
    images: Any,
    device: torch.device,
    *,
    first: int = 0,
    views: int = 1,
    flip: bool = True,
    shift: float = ImageViews.shift,
    seed: Any = 0,
) -> Iterator[NDArray[np.float32]]:
    """Yield a backbone's features of images in order, some at a time.

    Parameters
    ----------
    backbone : Backbone
        On `device`; is put in evaluation mode.
    images : array-like of shape (n, height, width, channels)
        uint8; read a chunk at a time.
    device : torch.device
        Where to compute.
    first : int
        Row to begin with. Chunks, and the random views of each, are the same wherever one begins, if that is where one
        of them does.
    views, flip, seed
        See `embed`.
    shift : float
        See `ImageViews`.

    Yields
    ------
    ndarray of shape (rows, views * feature_size)
        float32.

    Raises
    ------
    InputError
        If features are not finite.
    """
    backbone.eval()
    ask = InPartsThatFit(backbone)
    facts = backbone.facts
    shape = (1, -1, 1, 1)
    mean = torch.tensor(facts.mean, dtype=torch.float32, device=device).view(shape)
    std = torch.tensor(facts.std, dtype=torch.float32, device=device).view(shape)
    side = facts.size or max(images.shape[1:3])
    size = max(1, min(_MOST, _CHUNK_PIXELS // side**2))
    for start in range(first, len(images), size):
        stored = torch.from_numpy(np.array(images[start : start + size])).to(device)
        draws = np.random.SeedSequence([*np.atleast_1d(seed).tolist(), start]).generate_state(1)
        looks = ImageViews(torch.Generator(device).manual_seed(int(draws[0])), flip=flip, shift=shift)
        found = []
        with torch.inference_mode():
            for number in range(views):
                pixels = looks.plain(stored) if number == 0 else looks.weak(stored)
                found.append(ask((pixels - mean) / std).float())
        features = torch.cat(found, 1).cpu().numpy()
        if not np.isfinite(features).all():
            raise InputError(f"{facts.net} gives NaN or infinity as features; is it a net for images in [0, 1]?")
        yield features


def features_of(
    backbone: Backbone,
    images: Any,
    device: torch.device,
    *,
    views: int = 1,
    flip: bool = True,
    shift: float = ImageViews.shift,
    seed: Any = 0,
) -> NDArray[np.float32]:
    """Return a backbone's features of images, (n, views * feature_size); see `feature_chunks`."""
    found = np.empty((len(images), views * backbone.feature_size), np.float32)
    done = 0
    for chunk in feature_chunks(backbone, images, device, views=views, flip=flip, shift=shift, seed=seed):
        found[done : done + len(chunk)] = chunk
        done += len(chunk)
    return found


def own_size(source: Any, net: Any) -> int | None:
    """Return the side in pixels that a source's images should have for a net, None where that is left to the source."""
    is_place = isinstance(source, str | Path)
    if not is_backbone(net) or (is_place and (str(source) == "digits" or is_feature_folder(Path(source)))):
        return None
    return load_backbone(net).facts.size


def _content(pieces: list[Part]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        for start in range(0, len(piece.labels), 4096):
            digest.update(piece.images[start : start + 4096].tobytes())
    return digest.hexdigest()
