"""Masked autoencoder: what is hidden is to be drawn from what is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fewlabels.methods.two_step_autoencoder import TwoStepAutoencoder


@dataclass(kw_only=True, eq=False, repr=False)
class MaskedAutoencoder(TwoStepAutoencoder):
    """Pretrain an encoder by drawing what is hidden from what is not, then train a classifier from it.

    Step 1 minimizes the mean squared error of the hidden pixels alone, `mask` of all, in patches of `patch` pixels;
    step 2 the cross-entropy on the labeled samples. It is `TwoStepAutoencoder` with these settings. The paper's
    encoder leaves hidden patches out, which a transformer can and a convolution cannot: here they are gray.

    See `TwoStepAutoencoder` for the parameters and attributes.

    References
    ----------
    He et al., "Masked autoencoders are scalable vision learners", 2022; Pathak et al., "Context encoders: feature
    learning by inpainting", 2016, for convolutions.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = MaskedAutoencoder(patch=2, steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    # The notebook knew no masks.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    distort: bool = False
    mask: float = 0.6
    masked_weight: float = 1.0
    consistency_weight: float = 0.0
