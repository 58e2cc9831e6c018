"""One step: one net learns to classify the labeled images and to reconstruct all of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fewlabels.methods.ranges import check_not_below_zero, check_within
from fewlabels.methods.reconstruction import Autoencoder, AutoencoderClassifier
from fewlabels.methods.session import Session
from fewlabels.methods.supervised import Supervised, labeled_loss
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch, pool_part


@dataclass(kw_only=True, eq=False, repr=False)
class JointAutoencoder(AutoencoderClassifier):
    """Classify and reconstruct from the same code, in one training.

    Minimizes, over labeled (x, y) and pool samples u, with encoder e, head h and decoder d,

        H(y, h(e(m(x)))) + lambda(t) ||d(e(c(u))) - g(u)||^2
                         + mu 1[max p(w(u)) > tau] H(argmax p(w(u)), h(e(c(u))))

    where w, m and c are weak, medium and strong views, g(u) is u moved as in c(u) but otherwise unchanged, and
    p = softmax(h(e(.))). The second term is the reconstruction: a mean over pixels, in units of the normalized
    input, whose weight lambda falls linearly over the training: first the pool shapes the encoder, in the end
    the labels have the last word. The third term asks that the code of the corrupted sample, which is there
    anyway, gives the class that the weak view surely has (no gradient flows through the latter): the
    corruption then teaches the classifier, not the encoder alone.

    With `preset="notebook"`: its encoder, decoder and classifier of dense layers. Mended: 20 passes over the
    labeled samples, with `unlabeled_ratio` of the pool to each, where it made five over both; the classifier
    reads the code, not the reconstruction; no softmax between its layers; the cross-entropy is taken on labeled
    samples alone, where the pool had come with labels of all zeros; the decoder's last layer is linear; images
    are held out; dropout regularizes.

    See `SemiSupervisedClassifier` and `AutoencoderClassifier` for the other parameters and attributes.

    Parameters
    ----------
    reconstruction_weight : float
        lambda at the start, at least 0.
    final_weight : float
        lambda at the end as a share of that at the start, in [0, 1].

    Attributes
    ----------
    autoencoder_ : Autoencoder
        The trained encoder and decoder.

    References
    ----------
    Rasmus et al., "Semi-supervised learning with ladder networks", 2015; Zhang, Lee & Lee, "Augmenting
    supervised neural networks with unsupervised objectives for large-scale image classification", 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = JointAutoencoder(steps=40, batch_size=32, random_state=0).fit(images, y)
    >>> method.reconstruction_error(images[:100]) < 0.1
    True
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "notebook": {
            **Supervised.PRESETS["notebook"],
            "net": "notebook-autoencoder",
            "dropout": 0.1,
            "epochs": 20,
            "final_weight": 1.0,
            "reconstruction_weight": 1.0,
            "distort": False,
            "consistency_weight": 0.0,
        }
    }

    reconstruction_weight: float = 0.1
    final_weight: float = 0.0
    # With no pretraining before it, it can afford more of the pool: as many gradient images as in two steps.
    unlabeled_ratio: float = 3.0

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy on labeled samples and the weighted reconstruction error of the pool's."""
        assert isinstance(nets, Autoencoder)
        samples = batch.labeled if batch.unlabeled is None else batch.unlabeled
        if batch.unlabeled is None:
            batch.labeled_passes = 2  # to be classified, and corrupted
        corrupted, originals, mask = self._corrupted(batch.views, samples)
        weight = self.reconstruction_weight * (1 - batch.progress * (1 - self.final_weight))
        losses = {
            "supervised": labeled_loss(nets.classifier, batch, view=self.view, label_smoothing=self.label_smoothing)
        }
        # Corrupted images have other statistics than those to be classified: they must not enter the
        # running ones that predictions use.
        with frozen_statistics(nets.classifier):
            feature_map = nets.classifier.feature_map(corrupted)
            losses["reconstruction"] = weight * self._reconstruction_loss(nets, feature_map, originals, mask)
            losses |= self._consistency_loss(nets.classifier, batch.views.weak(samples), feature_map)
        return losses

    def _learn(self, session: Session) -> Any:
        nets = self._new_autoencoder(session)
        session.watches_pool = self.consistency_weight > 0
        self._train_with_teacher(
            session,
            nets,
            lambda batch: self.loss(nets, batch),
            nets.classifier,
            stage="classifier and autoencoder",
            unlabeled_size=pool_part(self.unlabeled_ratio, self.batch_size),
            rate_factors=self._decoder_rate(session),
        )
        # A copy, since the classifier may get other weights: earlier ones, or adjusted ones.
        self.autoencoder_ = copy.deepcopy(nets)
        return nets.classifier

    def _check_settings(self) -> None:
        super()._check_settings()
        check_not_below_zero(self, "reconstruction_weight")
        check_within(self, "[0, 1]", "final_weight")
