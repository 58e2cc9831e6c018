"""A pretrained net as an encoder: its own preprocessing, its features, and the rates of its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.nets.classifier import Classifier, Encoder
from fewlabels.storage.errors import InputError

UNKNOWN_TRAINING = "unknown images"


@dataclass(frozen=True)
class BackboneFacts:
    """What a pretrained net is, as JSON has it.

    Attributes
    ----------
    net : str
        What was given as `net`; "module" for a `torch.nn.Module`.
    size : int or None
        Side in pixels of the images that it reads; None: any.
    mean, std : tuple of float
        What is subtracted from pixels in [0, 1], channel by channel, and what they are divided by.
    feature_size : int
        Length of its features.
    pooling : {"none", "pooler", "first", "mean"}
        What of its output are the features: all of it, the output named `pooler_output`, the first token, or the
        mean over the map or over the tokens.
    trained_on : str
        The images that it was trained on, as far as is known.
    architecture : dict
        What the net is built from, without weights.
    weights : str
        SHA-256 of its weights: two backbones with the same give the same features.
    read_at : int or None
        Side in pixels at which the images were read whose features are learned from, before the net resized them;
        None: `size`.
    """

    net: str
    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    feature_size: int
    pooling: str = "none"
    trained_on: str = UNKNOWN_TRAINING
    architecture: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    read_at: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        facts = asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        if self.read_at is None:
            del facts["read_at"]  # which older releases do not know
        return facts

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        """Return the facts that `to_dict` gave."""
        return cls(**{**facts, "mean": tuple(facts["mean"]), "std": tuple(facts["std"])})


class Backbone(Encoder):
    """A pretrained net that maps normalized images of any size to features.

    Images of another size than the net's own are resized (bicubic, antialiased). While it is trained, its batch
    normalization goes on using the statistics that it was pretrained with: those of a few labels are noise.

    Parameters
    ----------
    body : nn.Module
        Maps images (batch, 3, height, width) to features (batch, feature_size), a map (batch, channels, height,
        width), or an output of Hugging Face transformers.
    facts : BackboneFacts
        Its preprocessing and what it was trained on.

    Examples
    --------
    >>> body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
    >>> facts = BackboneFacts("module", 8, (0.5,) * 3, (0.5,) * 3, feature_size=5, pooling="mean")
    >>> Backbone(body, facts)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 5])
    """

    def __init__(self, body: nn.Module, facts: BackboneFacts) -> None:
        super().__init__()
        self.body = body
        self.facts = facts
        self.feature_size = facts.feature_size
        self.map_shape = (facts.feature_size,)

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the features, (batch, feature_size): a backbone shows no map."""
        size, channels = self.facts.size, len(self.facts.mean)
        if inputs.shape[1] != channels:
            raise InputError(
                f"{self.facts.net} reads images of {channels} channel{'s' if channels > 1 else ''} (the length of its "
                f"image_mean), and these have {inputs.shape[1]}"
            )
        if size is not None and tuple(inputs.shape[2:]) != (size, size):
            inputs = F.interpolate(inputs, (size, size), mode="bicubic", antialias=True, align_corners=False)
        features = pooled(self.body(inputs), self.facts.pooling)
        if features.shape[1] != self.feature_size:
            height, width = inputs.shape[2:]
            raise InputError(
                f"{self.facts.net} gives {features.shape[1]:,} features for an image of {height}x{width} pixels and "
                f"{self.feature_size:,} for another; give it an attribute image_size, to which images are resized"
            )
        return features

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the features as they are."""
        return feature_map

    def train(self, mode: bool = True) -> Self:
        """Go into training mode, but for batch normalization."""
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


class PretrainedClassifier(Classifier):
    """A backbone with a head, whose normalization is the backbone's own.

    Parameters
    ----------
    encoder : Backbone
    head : nn.Module
        Maps features to one logit a class.
    """

    def __init__(self, encoder: Backbone, head: nn.Module) -> None:
        super().__init__(encoder, head, len(encoder.facts.mean))
        self.mean.copy_(torch.tensor(encoder.facts.mean))
        self.std.copy_(torch.tensor(encoder.facts.std))

    def start(self, inputs: Tensor) -> None:
        """Keep the normalization that the backbone was trained with."""
        del inputs


def pooled(output: Any, pooling: str) -> Tensor:
    """Return features from what a net gave, as `BackboneFacts.pooling` says."""
    if not isinstance(output, Tensor):
        output = output.pooler_output if pooling == "pooler" else output.last_hidden_state
    assert isinstance(output, Tensor)
    if pooling == "first":
        return output[:, 0]
    if pooling == "mean":
        return output.mean((2, 3)) if output.ndim == 4 else output.mean(1)
    return output.flatten(1)


def pooling_of(output: Any, net: str, *, trained_pooler: bool = True, patches: int | None = None) -> str:
    """Return how features are made of what a net gave for one image.

    Parameters
    ----------
    output : Tensor or output of transformers
    net : str
        Name for messages.
    trained_pooler : bool
        Whether weights of a pooler, if there is one, came with the net.
    patches : int, optional
        Into how many the net cuts the image, where that is known: as many tokens have none for the whole image among
        them.

    Raises
    ------
    InputError
        If it is no features, no map and no tokens.

    Examples
    --------
    >>> pooling_of(torch.zeros(1, 7, 2, 2), "mine")
    'mean'
    """
    found = output
    if not isinstance(output, Tensor):
        if trained_pooler and isinstance(getattr(output, "pooler_output", None), Tensor):
            return "pooler"
        found = getattr(output, "last_hidden_state", None)
    if isinstance(found, Tensor) and found.ndim in (2, 3, 4) and len(found) == 1:
        tokens = "mean" if found.shape[1] == patches else "first"
        return {2: "none", 3: tokens, 4: "mean"}[found.ndim]
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(f"{net} gives {shape} for one image; expected features (1, n) or a map (1, n, height, width)")


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 of a module's weights and buffers, by name.

    Examples
    --------
    >>> fingerprint(nn.Linear(2, 2)) == fingerprint(nn.Linear(2, 2))
    False
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def layer_rates(nets: nn.Module, *, share: float, decay: float) -> dict[str, float]:
    """Return the learning rates of the layers of all backbones in `nets`, as multiples of the head's.

    A backbone's longest list of blocks is its depth, where lists of one kind of block that follow each other, such as
    the stages of a ResNet, are one: the last block and what follows it get `share`, each block before `decay` times
    that of the next, and what comes before the first block as if it were one more.

    Parameters
    ----------
    nets : nn.Module
        What is trained; nothing is returned for nets without a backbone.
    share : float
        Of the head's rate, > 0.
    decay : float
        In (0, 1].

    Returns
    -------
    dict of str to float
        Beginnings of parameter names, more special ones first.

    References
    ----------
    Clark et al., "ELECTRA", 2020, and Bao et al., "BEiT", 2022, for rates that fall layer by layer.

    Examples
    --------
    >>> body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1)))
    >>> facts = BackboneFacts("module", None, (0.0,) * 3, (1.0,) * 3, feature_size=4, pooling="mean")
    >>> layer_rates(Backbone(body, facts), share=0.1, decay=0.5)
    {'body.0.': 0.05, 'body.1.': 0.1, 'body.': 0.025}
    """
    rates: dict[str, float] = {}
    for name, module in nets.named_modules():
        if not isinstance(module, Backbone):
            continue
        prefix = f"{name}." if name else ""
        blocks = max(_lists(module.body), key=len, default=[])
        for number, block in enumerate(blocks):
            rates[f"{prefix}body.{block}."] = share * decay ** (len(blocks) - 1 - number)
        for after in _after(module.body, blocks):
            rates[f"{prefix}body.{after}"] = share
        rates[f"{prefix}body."] = share * decay ** len(blocks)
    return rates


def _lists(body: nn.Module) -> Iterator[list[str]]:
    """Yield the names of the blocks of each list of modules, and of lists of one kind that follow each other."""
    for name, module in body.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, nn.ModuleList | nn.Sequential):
            yield [f"{prefix}{block}" for block, _ in module.named_children()]
        for kind, stages in groupby(module.named_children(), lambda child: _kind_of_blocks(child[1])):
            if kind is not None:
                yield [f"{prefix}{stage}.{block}" for stage, blocks in stages for block, _ in blocks.named_children()]


def _kind_of_blocks(module: nn.Module) -> type | None:
    """Return the class of a list's blocks, None for what is no list or one of several classes."""
    kinds = {type(block) for block in module.children()} if isinstance(module, nn.ModuleList | nn.Sequential) else set()
    return kinds.pop() if len(kinds) == 1 else None


def _after(body: nn.Module, blocks: list[str]) -> list[str]:
    """Return the parameters that come after the blocks, in the order in which the net names them."""
    names = [name for name, _ in body.named_parameters()]
    beginnings = tuple(f"{block}." for block in blocks)
    inside = [number for number, name in enumerate(names) if name.startswith(beginnings)]
    return names[inside[-1] + 1 :] if inside else []
