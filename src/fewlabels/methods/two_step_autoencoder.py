"""Two steps: an autoencoder learns from all images, then a classifier starts from its encoder."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from fewlabels.methods.pretraining import can_pretrain, check_pretraining, pretraining_length
from fewlabels.methods.ranges import check_within
from fewlabels.methods.reconstruction import Autoencoder, AutoencoderClassifier
from fewlabels.methods.session import Session
from fewlabels.methods.supervised import Supervised, labeled_loss
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch, pool_part


@dataclass(kw_only=True, eq=False, repr=False)
class TwoStepAutoencoder(AutoencoderClassifier):
    """Pretrain an encoder by reconstruction on labeled and pool samples, then train a classifier from it.

    Step 1 minimizes ||d(e(c(x))) - g(x)||^2 over all samples x, where c is a strong view and g(x) is x moved as
    in c(x) but otherwise unchanged (noise and hidden patches may corrupt it more): copying the input does
    not help, so the encoder must learn what images look like. Step 2 throws the decoder away, puts a linear
    head on the pooled code and trains both. It minimizes, over labeled (x, y) and pool samples u,

        H(y, h(e(m(x)))) + mu 1[max p(w(u)) > tau] H(argmax p(w(u)), h(e(c(u))))

    with weak and medium views w and m, where p = softmax(h(e(.))): the labels' loss as in `Supervised`, and the
    corruption of step 1 once more, now asking that it leaves a surely known class as it is (no gradient flows
    through p).

    With `preset="notebook"`: its encoder (a code of 11x11x32 for 32 px) and decoder, plain reconstruction,
    five passes, then dense layers of 25 and 15 on the code. Mended: the decoder's last layer is
    linear, where a ReLU could die and reconstruct nothing; the code is centered and scaled before the dense
    layers, whose units had died, and the encoder goes on learning with them, since codes made for pixels alone
    tell classes apart badly (`freeze_encoder=True` keeps them); images are held out; dropout regularizes.

    See `SemiSupervisedClassifier` and `AutoencoderClassifier` for the other parameters and attributes.

    Parameters
    ----------
    pretraining_steps : int, optional
        Steps of the autoencoder.
    pretraining_epochs : float, optional
        The same as passes over labeled and pool samples. With neither, as many steps as the classifier has, or half of
        a budget; given beside a budget, step 1 takes what it takes, and step 2 has the rest.
    pretraining_rate : float
        Peak rate of the autoencoder's training, > 0. With Adam and the default, 0.001.
    freeze_encoder : bool
        Train the head alone on the code.
    encoder_rate : float
        Rate of the encoder in step 2 as a share of the head's, in (0, 1]. With Muon it governs how far filters turn:
        their norm is held, and the stem, fixed in step 1, takes on that norm in the first step at any rate.

    Attributes
    ----------
    autoencoder_ : Autoencoder
        Encoder and decoder as step 1 left them.

    References
    ----------
    Hinton & Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006. Vincent et
    al., "Extracting and composing robust features with denoising autoencoders", 2008. He et al., "Masked
    autoencoders are scalable vision learners", 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = TwoStepAutoencoder(steps=40, batch_size=32, random_state=0).fit(images, y)
    >>> method.reconstruct(images[:3]).shape
    (3, 8, 8, 1)
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "notebook": {
            **Supervised.PRESETS["notebook"],
            "net": "notebook-autoencoder",
            "pretraining_epochs": 5,
            "pretraining_rate": 1e-3,
            "epochs": 20,
            "dropout": 0.1,
            "encoder_rate": 1.0,
            "distort": False,
            "consistency_weight": 0.0,
        }
    }

    _pretrains: ClassVar[bool] = True

    pretraining_steps: int | None = None
    pretraining_epochs: float | None = None
    pretraining_rate: float = 0.24
    freeze_encoder: bool = False
    encoder_rate: float = 0.5

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the reconstruction error of step 1."""
        assert isinstance(nets, Autoencoder)
        corrupted, originals, mask = self._corrupted(batch.views, batch.pool)
        feature_map = nets.classifier.feature_map(corrupted)
        return {"reconstruction": self._reconstruction_loss(nets, feature_map, originals, mask)}

    def _learn(self, session: Session) -> Any:
        session.monitor.stage_count = self._stage_count
        nets = self._new_autoencoder(session)
        if not can_pretrain(nets.classifier):
            session.monitor.note(
                f"net={self.net!r} has no encoder to pretrain: the first step, with its part of a budget, teaches the "
                "decoder alone"
            )
        self._pretrain(session, nets)
        self.autoencoder_ = copy.deepcopy(nets)
        classifier = nets.classifier
        # The stem too: what it had whitened has served step 1, and left fixed it was no better (one point either way).
        # Muon, which holds filters at a norm of its own, takes its scale away in the first step, at any rate.
        classifier.encoder.requires_grad_(not self.freeze_encoder)

        def loss(batch: Batch) -> dict[str, Tensor]:
            if self.freeze_encoder:
                classifier.encoder.eval()  # batch statistics are part of what stays frozen
            losses = {
                "supervised": labeled_loss(classifier, batch, view=self.view, label_smoothing=self.label_smoothing)
            }
            if batch.unlabeled is not None:
                with frozen_statistics(classifier):
                    feature_map = classifier.feature_map(self._corrupted(batch.views, batch.unlabeled)[0])
                    losses |= self._consistency_loss(classifier, batch.views.weak(batch.unlabeled), feature_map)
            return losses

        pool_size = pool_part(self.unlabeled_ratio, self.batch_size) if self.consistency_weight > 0 else 0
        self._train_with_teacher(
            session,
            classifier,
            loss,
            classifier,
            stage="classifier",
            unlabeled_size=pool_size,
            rate_factors={"encoder.": self.encoder_rate},
        )
        return classifier

    @property
    def _stage_count(self) -> int:
        return 2

    def _pretrain(self, session: Session, nets: Autoencoder) -> None:
        everything = session.everything
        session.train(
            nets,
            lambda batch: self.loss(nets, batch),
            stage="autoencoder",
            batches=lambda: session.batches(labeled_size=0, unlabeled_size=self.batch_size, everything=True),
            epoch_samples=len(everything),
            budget_share=0.5,
            recipe=replace(session.recipe, learning_rate=self.pretraining_rate),
            rate_factors=self._decoder_rate(session),
            **pretraining_length(self, session),
        )

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "(0, 1]", "encoder_rate")
        check_pretraining(self)
