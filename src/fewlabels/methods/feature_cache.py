"""Features of a source's images in the cache folder: made once for whoever needs the same."""

from __future__ import annotations

import functools
import hashlib
import time
import warnings
from pathlib import Path
from typing import Any

import joblib

from fewlabels.methods.embedding import embed
from fewlabels.nets import Backbone
from fewlabels.storage.cache_folder import cache_folder
from fewlabels.storage.lock import FileLock

_WAIT = 1.0
_WAITING = "waiting for another process that makes the same features"


def make_features(
    source: Any,
    backbone: Backbone,
    image_size: int | None,
    *,
    cache_dir: str | Path | None = None,
    strict: bool = False,
    progress: bool = False,
    device: str = "auto",
) -> tuple[Path, dict[str, Any]]:
    """Return the folder in the cache that has a source's features, made where they are missing, and facts of them.

    Parameters
    ----------
    source : str, Path, tuple or mapping
        Of images, see `load_dataset`.
    backbone : Backbone
        What makes the features.
    image_size : int or None
        Side that the images are read at.
    cache_dir, strict, progress, device
        See `embed`.
    """
    # Arrays have no name: what they hold is theirs.
    where = str(source) if isinstance(source, str | Path) else joblib.hash(source)
    if isinstance(source, str | Path) and Path(source).exists():
        where = str(Path(source).resolve())
    what = f"{where} {backbone.facts.weights} {image_size}"
    folder = cache_folder(cache_dir) / "features" / hashlib.sha256(what.encode()).hexdigest()
    began = time.perf_counter()
    # A source that has changed since gets new features: the plan that is kept with them tells.
    folder.parent.mkdir(parents=True, exist_ok=True)
    told = functools.cache(lambda: warnings.warn(_WAITING, stacklevel=2))
    # Another comparison that needs the same makes them once for both.
    with FileLock.when_free(folder.with_name(f"{folder.name}.lock"), every=_WAIT, waiting=told):
        written = embed(
            source,
            backbone,
            folder,
            image_size=image_size,
            cache_dir=cache_dir,
            strict=strict,
            progress=progress,
            device=device,
            overwrite=True,
        )
    facts = {
        "images": written.images,
        "seconds": None if written.was_there else time.perf_counter() - began,
        "net": written.backbone.net,
        "trained_on": written.backbone.trained_on,
        "warning": written.warning,
    }
    return folder, facts
