"""Nets by name, built for the shape of the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import nn

from fewlabels.nets.backbone import Backbone, BackboneFacts, PretrainedClassifier
from fewlabels.nets.classifier import Classifier, Encoder
from fewlabels.nets.fast import SMALLEST_COARSE, FastNet, MapDecoder
from fewlabels.nets.notebook import NotebookDecoder, NotebookEncoder, notebook_head
from fewlabels.nets.output import OutputLinear
from fewlabels.nets.pretrained import KINDS, empty_backbone, is_backbone, load_backbone
from fewlabels.nets.residual import ResNet18, WideResNet
from fewlabels.nets.vector import ScaledVector, VectorDecoder, VectorEncoder
from fewlabels.storage.errors import InputError, nearest

NETS = {
    "auto": "fast for images, mlp for vectors, linear for a pretrained net's features",
    "fast": "whitening stem and three stages of 32, 64 and 128 channels",
    "fast-silu": "the same with SiLU in place of GELU, which takes less time",
    "fast-wide": "fast with 64, 128 and 256 channels",
    "fast-large": "fast-silu with 64, 256 and 256 channels: for long trainings where bfloat16 is fast",
    "fast-coarse": "a stem that halves the side, and two stages of 64 and 128 channels: for the shortest trainings",
    "wrn-28-2": "wide residual net of 28 layers, that of most published results on CIFAR",
    "wrn-37-2": "the same with a fourth stage, that of most published results on STL-10",
    "resnet-18": "residual net of 18 layers in its form for small images",
    "notebook": "five convolutions of 32 channels without padding, a dense layer on all of the last map",
    "notebook-autoencoder": "the same with max-pooling, dense layers of 25, 15 and the classes on the code",
    "mlp": "two hidden layers of 128 and 64 units, for vectors",
    "linear": "nothing before the head, for vectors that are a pretrained net's features",
}
# Of those for images, in time for a step, from this side in pixels on.
QUICKEST, QUICKEST_FROM = "fast-coarse", SMALLEST_COARSE
_SMALLEST = 4
# Those that are told channels and size of an image and have a linear head.
_ENCODERS: dict[str, Callable[[int, tuple[int, int]], Encoder]] = {
    "fast": FastNet,
    "fast-silu": partial(FastNet, activation=F.silu),
    "fast-wide": partial(FastNet, widths=(64, 128, 256)),
    "fast-large": partial(FastNet, widths=(64, 256, 256), activation=F.silu),
    "fast-coarse": partial(FastNet, widths=(64, 128), coarse=True),
    "wrn-28-2": WideResNet,
    "wrn-37-2": partial(WideResNet, stages=4),
    "resnet-18": ResNet18,
}


def build_classifier(net: Any, sample_shape: tuple[int, ...], classes: int, *, dropout: float = 0.0) -> Classifier:
    """Return an untrained classifier.

    Parameters
    ----------
    net : str, nn.Module or BackboneFacts
        A key of `NETS`; a pretrained backbone (see `fewlabels.nets.pretrained.KINDS`), with its weights; or what one
        is, whose weights are still to be read.
    sample_shape : tuple of int
        Shape of one sample: (height, width, channels) of an image, (features,) of a vector.
    classes : int
        Number of classes.
    dropout : float
        Share of the features that are dropped before the head, in [0, 1).

    Raises
    ------
    InputError
        If the name is not known, or the net is not for this kind of sample.

    Examples
    --------
    >>> build_classifier("auto", (32, 32, 3), classes=10).encoder.map_shape
    (128, 4, 4)
    """
    if is_backbone(net) and len(sample_shape) == 3:
        backbone = empty_backbone(net) if isinstance(net, BackboneFacts) else load_backbone(net)
        return PretrainedClassifier(backbone, _linear_head(backbone.feature_size, classes, dropout))
    name = resolve_net(net, sample_shape)
    if name in ("mlp", "linear"):
        encoder: Encoder = VectorEncoder(sample_shape[0]) if name == "mlp" else ScaledVector(sample_shape[0])
        return Classifier(encoder, _linear_head(encoder.feature_size, classes, dropout), sample_shape[0])
    size, channels = (sample_shape[0], sample_shape[1]), sample_shape[2]
    if name in _ENCODERS:
        encoder = _ENCODERS[name](channels, size)
        return Classifier(encoder, _linear_head(encoder.feature_size, classes, dropout), channels)
    pooled = name == "notebook-autoencoder"
    encoder = NotebookEncoder(channels, size, pooled=pooled)
    hidden = (25, 15) if pooled else ()
    return Classifier(encoder, notebook_head(encoder.feature_size, classes, hidden, dropout), channels)


def build_decoder(net: Any, encoder: Encoder, sample_shape: tuple[int, ...]) -> nn.Module:
    """Return an untrained decoder from the encoder's last map to normalized samples."""
    if isinstance(encoder, Backbone):
        raise InputError("a pretrained net shows no map to draw an image from; choose a method without an autoencoder")
    if len(sample_shape) == 1:
        return VectorDecoder(encoder.feature_size, sample_shape[0])
    size, channels = (sample_shape[0], sample_shape[1]), sample_shape[2]
    if isinstance(encoder, NotebookEncoder):
        return NotebookDecoder(encoder.map_shape, channels, size)
    return MapDecoder(encoder.map_shape, channels, size)


def check_net(net: Any) -> None:
    """Refuse what is neither a net that is known by name nor a pretrained one.

    Raises
    ------
    InputError
        The message names the nearest.
    """
    if is_backbone(net) or (isinstance(net, str) and net in NETS):
        return
    # OWNER/NAME is how a net is called on the Hub.
    near = f"; did you mean 'hf:{net}'?" if isinstance(net, str) and "/" in net else nearest(str(net), NETS)
    raise InputError(f"unknown net {net!r}{near} (known: {', '.join(NETS)}; or {'; '.join(KINDS.values())})")


def check_size(sample_shape: tuple[int, ...]) -> None:
    """Refuse images that are too small to learn from.

    Raises
    ------
    InputError
        With the least size.
    """
    if len(sample_shape) > 1 and min(sample_shape[:2]) < _SMALLEST:
        raise InputError(
            f"images of {sample_shape[0]}x{sample_shape[1]} pixels are too small; {_SMALLEST}x{_SMALLEST} is the least"
        )


def resolve_net(net: Any, sample_shape: tuple[int, ...]) -> str:
    """Return the net's name with "auto" replaced, after checking that it fits the samples."""
    check_size(sample_shape)
    vectors = len(sample_shape) == 1
    if net == "auto":
        return "mlp" if vectors else "fast"
    if is_backbone(net):
        raise InputError("a pretrained net reads images, and these are vectors; leave net='auto' to choose by the data")
    check_net(net)
    if vectors and net.startswith("notebook"):
        # The notebook's nets read images; on vectors its preset keeps its training and uses the net for vectors.
        return "mlp"
    if vectors != (net in ("mlp", "linear")):
        kind = "vectors" if vectors else "images"
        raise InputError(f"net {net!r} does not read {kind}; leave net='auto' to choose by the data")
    return str(net)


def _linear_head(feature_size: int, classes: int, dropout: float) -> nn.Module:
    linear = OutputLinear(feature_size, classes)
    return nn.Sequential(nn.Dropout(dropout), linear) if dropout else linear
