"""The embedded default: scikit-learn's 1,797 handwritten digits of 8x8 pixels."""

from __future__ import annotations

import numpy as np

from fewlabels.data.parts import Part, Parts
from fewlabels.data.rows import ImageRows

_TEST_IMAGES = 597
LABELS_PER_CLASS = 10


def read_digits() -> Parts:
    """Return 1,200 digits to learn from and 597 to test on.

    The digits come person by person, about 130 of each of fourteen. The cut goes through one of them, who wrote the
    last 43 to learn from and the first 87 to test on; the other 510 test digits are of hands that are new.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images / 16 * 255).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    cut = len(images) - _TEST_IMAGES
    return Parts(
        name="digits",
        class_names=tuple(str(name) for name in bunch.target_names),
        train=Part(ImageRows(images[:cut]), labels[:cut]),
        test=Part(ImageRows(images[cut:]), labels[cut:]),
        default_labels_per_class=LABELS_PER_CLASS,
    )
