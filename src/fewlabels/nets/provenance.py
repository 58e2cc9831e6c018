"""What known backbones were trained on, and whether a data set's images may have been among that."""

from __future__ import annotations

import re
from pathlib import Path

from fewlabels.nets.backbone import UNKNOWN_TRAINING

# By name, the first that is found in it; what the model's own page or paper says.
_TRAINED_ON = (
    (r"dinov3", "LVD-1689M, web images chosen for likeness to curated sets, ImageNet among them"),
    (r"dinov2", "LVD-142M, web images chosen for likeness to curated sets, with ImageNet itself"),
    (r"laion", "LAION, web images with captions"),
    (r"siglip|webli", "WebLI, web images with captions"),
    # Not from within a word: "clip" is in "eclipse", too.
    (r"(?<![a-z])clip|metaclip|mobileclip|openai", "400 million web images with captions"),
    (r"in2[12]k", "ImageNet-21k"),
    (
        r"dino-vit|dino_|vit-mae|\.mae|efficientnet|resnet|convnext|mobilenet|in1k|imagenet|deit|swin|beit|regnet|vit-",
        "",
    ),
)
_IMAGENET = "ImageNet"
_KINDS_WITH_FOLDERS = ("hf:", "timm:local-dir:", "model:")
# Data sets whose images were taken from ImageNet.
_FROM_IMAGENET = re.compile(r"stl-?10|tiny-?imagenet|imagenette|imagewoof|mini-?imagenet|imagenet", re.IGNORECASE)


def trained_on(name: str) -> str:
    """Return what a backbone was trained on, by its name, or that this is unknown.

    Of a folder on this machine the last part of its path is its name, and the answer says that it was no more.

    Examples
    --------
    >>> trained_on("timm:resnet18.a1_in1k"), trained_on("hf:my-own-folder")
    ('ImageNet', 'unknown images')
    """
    known_as, is_local = _known_as(name)
    for pattern, images in _TRAINED_ON:
        if re.search(pattern, known_as.lower()):
            return f"{images or _IMAGENET}, by the name of its folder" if is_local else images or _IMAGENET
    return UNKNOWN_TRAINING


def folder_of(net: str) -> str:
    """Return the folder that a backbone's name gives, which for transformers may be a name of the Hub too, or "".

    Examples
    --------
    >>> folder_of("hf:/nets/dino"), folder_of("timm:local-dir:/nets/plants"), folder_of("timm:resnet18")
    ('/nets/dino', '/nets/plants', '')
    """
    return next((net.removeprefix(kind) for kind in _KINDS_WITH_FOLDERS if net.startswith(kind)), "")


def _known_as(name: str) -> tuple[str, bool]:
    """Return by what name a backbone is known, and whether it is a folder on this machine."""
    folder = Path(name)
    is_local = folder.is_absolute() or folder.exists()
    if folder.parent.name == "snapshots":  # of the Hub's cache, named by a commit
        folder = folder.parent.parent
    return (folder.name if is_local else name), is_local


def leak_warning(images: str, data_set: str, net: str = "") -> str | None:
    """Return a warning where a data set's test images may be among those that a backbone was trained on.

    Parameters
    ----------
    images : str
        What the backbone was trained on.
    data_set : str
        Name of the data set.
    net : str
        What the backbone was given as, whose name may tell that it was trained further.

    Examples
    --------
    >>> leak_warning("ImageNet", "stl10")
    'the backbone was trained on ImageNet, and the images of stl10 come from ImageNet: it has seen them, or others \
just like them, so accuracies are higher than on images that are new to it'
    >>> leak_warning("ImageNet", "clothing") is None
    True
    """
    if UNKNOWN_TRAINING in images:
        return (
            f"what the backbone was trained on is unknown: if the test images of {data_set} were among that, "
            "accuracies are higher than on images that are new to it"
        )
    if net.startswith("model:") and _is_named_in(data_set, images):
        return (
            f"the backbone was trained on {images}: unless the test images of {data_set} were held out from that too, "
            "as they always are in a source that has test images of its own, accuracies are higher than on images that "
            "are new to it"
        )
    if not _FROM_IMAGENET.search(data_set):
        name, _ = _known_as(folder_of(net) or net)
        if not _is_named_in(data_set, name):
            return None
        return (
            f"the name of the backbone, {name}, tells of {data_set}: if it was trained further on its images, "
            "accuracies are higher than on images that are new to it"
        )
    if _IMAGENET in images:
        return (
            f"the backbone was trained on {images}, and the images of {data_set} come from ImageNet: it has seen "
            "them, or others just like them, so accuracies are higher than on images that are new to it"
        )
    return (
        f"the backbone was trained on {images}, and the images of {data_set} come from the web by way of ImageNet: it "
        "may have seen them"
    )


def _is_named_in(data_set: str, name: str) -> bool:
    """Say whether a data set's name stands in a backbone's as words of its own, however these are joined."""
    words = r"[\W_]*".join(re.findall(r"[a-z]+|[0-9]+", data_set.lower()))
    return bool(words) and re.search(rf"(?<![a-z0-9]){words}(?![a-z0-9])", name.lower()) is not None
