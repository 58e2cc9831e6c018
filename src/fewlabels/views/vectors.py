"""Views of feature vectors: small and larger noise, in units of each feature's standard deviation."""

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

    def plain(self, vectors: Tensor) -> Tensor:
        """Return the vectors as they are."""
        return vectors

    def weak(self, vectors: Tensor) -> Tensor:
        """Return the vectors as they are: there is no change that is known to keep the class."""
        return vectors

    def jittered(self, vectors: Tensor) -> Tensor:
        """Return what two looks at the same vector may differ in: Gaussian noise."""
        return self.noisy(vectors, self.noise)

    def medium(self, vectors: Tensor) -> Tensor:
        """Return the vectors with Gaussian noise."""
        return self.noisy(vectors, self.noise)

    def strong(self, vectors: Tensor) -> Tensor:
        """Return the vectors with Gaussian noise."""
        return self.noisy(vectors, self.noise)

    def cropped(self, vectors: Tensor) -> Tensor:
        """Return the vectors with a fifth of the features replaced by another row's, and Gaussian noise."""
        return self.noisy(self.masked(vectors, _REPLACED, 1)[0], self.noise)

    def strong_and_original(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return strong views, and the vectors."""
        return self.strong(vectors), vectors

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
