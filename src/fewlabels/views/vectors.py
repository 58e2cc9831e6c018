"""Views of feature vectors: noise, dropout and mixtures, and the features of other views of the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

_REPLACED = 0.2


@dataclass
class VectorViews:
    """Random views of vectors, drawn from one generator.

    Parameters
    ----------
    generator : torch.Generator
        Source of all randomness.
    scale : Tensor
        Standard deviation of each feature, (features,).
    noise : float
        Standard deviation of the medium and strong views' Gaussian noise in units of `scale`.
    center : Tensor, optional
        Mean of each feature, (features,), which a dropped one becomes; zero when not given.
    dropout : float
        Share of the features that strong views drop, in [0, 1).
    mixup : float
        How much of another row strong views take at most, in [0, 1).
    views : int
        A stored vector holds the features of so many views of an image, one after the other, that of the image as it
        is first; each view here is of one of them, drawn at random.

    Examples
    --------
    >>> views = VectorViews(torch.Generator().manual_seed(0), scale=torch.ones(2))
    >>> views.weak(torch.zeros(3, 2))
    tensor([[0., 0.],
            [0., 0.],
            [0., 0.]])
    """

    # What a training changes from step to step, and a checkpoint keeps.
    moves: ClassVar[tuple[str, ...]] = ("generator",)

    generator: torch.Generator
    scale: Tensor = field(repr=False)
    noise: float = 0.1
    flip: bool = False
    center: Tensor | None = field(default=None, repr=False)
    dropout: float = 0.0
    mixup: float = 0.0
    views: int = 1

    def plain(self, vectors: Tensor) -> Tensor:
        """Return the vectors as they are."""
        return first_view(vectors, self.views)

    def weak(self, vectors: Tensor) -> Tensor:
        """Return one of an image's views, at random: of other vectors no change is known to keep the class."""
        if self.views == 1:
            return vectors
        stacked = vectors.view(len(vectors), self.views, -1)
        chosen = torch.randint(self.views, (len(vectors), 1, 1), generator=self.generator, device=vectors.device)
        return stacked.gather(1, chosen.expand(-1, 1, stacked.shape[2])).squeeze(1)

    def jittered(self, vectors: Tensor) -> Tensor:
        """Return what two looks at the same vector may differ in: Gaussian noise."""
        return self.noisy(self.weak(vectors), self.noise)

    def medium(self, vectors: Tensor) -> Tensor:
        """Return the vectors with Gaussian noise."""
        return self.noisy(self.weak(vectors), self.noise)

    def strong(self, vectors: Tensor) -> Tensor:
        """Return the vectors mixed with others, some features dropped, with Gaussian noise."""
        return self._changed(self.weak(vectors))

    def cropped(self, vectors: Tensor, scale: float = 1.0) -> Tensor:
        """Return the vectors with a fifth of the features replaced by another row's, and Gaussian noise.

        All have one length, so that `scale` is not used.
        """
        del scale
        return self.noisy(self.masked(self.weak(vectors), _REPLACED, 1)[0], self.noise)

    def strong_and_original(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return strong views, and the vectors that they are of."""
        weak = self.weak(vectors)
        return self._changed(weak), weak

    def _changed(self, vectors: Tensor) -> Tensor:
        if self.mixup > 0:
            others = vectors[torch.randperm(len(vectors), generator=self.generator, device=vectors.device)]
            share = torch.rand((len(vectors), 1), generator=self.generator, device=vectors.device)
            vectors = torch.lerp(vectors, others, self.mixup * share)
        if self.dropout > 0:
            draws = torch.rand(vectors.shape, generator=self.generator, device=vectors.device)
            center = torch.zeros_like(self.scale) if self.center is None else self.center
            vectors = torch.where(draws < self.dropout, center, vectors)
        return self.noisy(vectors, self.noise)

    def masked(self, vectors: Tensor, share: float, patch: int) -> tuple[Tensor, Tensor]:
        """Return the vectors with a random share of features replaced by another row's, and the mask.

        Features have no neighborhood, so `patch` is not used. Taking the value from another row keeps
        each feature's distribution, which zeros would not.
        """
        del patch
        draws = torch.rand(vectors.shape, generator=self.generator, device=vectors.device)
        mask = (draws < share).to(vectors.dtype)
        others = vectors[torch.randperm(len(vectors), generator=self.generator, device=vectors.device)]
        return torch.lerp(vectors, others, mask), mask

    def noisy(self, vectors: Tensor, sigma: float) -> Tensor:
        """Return the vectors with Gaussian noise of `sigma` standard deviations of each feature."""
        noise = torch.empty_like(vectors).normal_(generator=self.generator)
        return torch.addcmul(vectors, noise, self.scale, value=sigma)


def first_view(vectors: Tensor, views: int) -> Tensor:
    """Return of stored vectors that hold several views each the first, that of the image as it is.

    Examples
    --------
    >>> first_view(torch.arange(4.0).view(1, 4), 2)
    tensor([[0., 1.]])
    """
    return vectors if views == 1 else vectors[:, : vectors.shape[1] // views]
