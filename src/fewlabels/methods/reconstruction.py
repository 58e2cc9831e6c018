"""What the autoencoders share: corrupting samples, reconstructing them, and showing the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.consistency import consistency, guess
from fewlabels.methods.given import rows_to_predict
from fewlabels.methods.guard import was_held_back
from fewlabels.methods.learned import LearnedAutoencoder
from fewlabels.methods.ranges import check_above_zero, check_not_below_zero, check_whole, check_within
from fewlabels.methods.session import Session
from fewlabels.nets import Classifier, build_decoder
from fewlabels.storage.errors import InputError
from fewlabels.training.average import WeightAverage
from fewlabels.training.loop import Loss
from fewlabels.views import ImageViews, Views

_CHUNK = 500


_FEW_FEATURES = 8


class Autoencoder(nn.Module):
    """A classifier's encoder with a decoder behind it, for joint training.

    Parameters
    ----------
    classifier : Classifier
        Gives normalization and encoder.
    decoder : nn.Module
        Maps the encoder's last map to normalized samples.
    """

    def __init__(self, classifier: Classifier, decoder: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.decoder = decoder

    def forward(self, inputs: Tensor) -> Tensor:
        """Return reconstructions in the inputs' own units."""
        reconstructed: Tensor = self.classifier.denormalize(self.decoder(self.classifier.feature_map(inputs)).float())
        return reconstructed


@dataclass(kw_only=True, eq=False, repr=False)
class AutoencoderClassifier(SemiSupervisedClassifier, LearnedAutoencoder):
    """Base of the two autoencoders: their common fields, corruption and reconstructions.

    Parameters
    ----------
    distort : bool
        Show the autoencoder strong views (vectors: with `noise`), and ask for the original, moved alike.
    mask : float
        Share of the patches (of vectors: features) hidden in the autoencoder's input, in [0, 1).
    patch : int
        Side of a patch in pixels.
    sigma : float
        Standard deviation of the noise added to the input, in units of the [0, 1] range (of vectors: of
        each feature's deviation), at least 0.
    masked_weight : float
        Weight of the hidden pixels' error beside the others', in [0, 1]: 1 counts the hidden ones alone,
        as masked autoencoders do, 0 the visible ones alone.
    consistency_weight : float
        Weight of asking the classifier for the same class of a corrupted pool sample as of the uncorrupted
        one, at least 0; 0 leaves reconstruction as all that the pool is used for.
    threshold : float
        Confidence from which a pool sample's class counts there, in [0, 1).
    unlabeled_ratio : float
        Pool samples for each labeled one in a batch of the classifier's training, > 0.
    teacher_decay : float
        Guess these classes by the moving average of the classifier with this decay, in [0, 1); 0: by the
        classifier itself.
    """

    _why_frozen: ClassVar[str] = "a pretrained net shows no map to draw an image from"

    distort: bool = True
    mask: float = 0.0
    patch: int = 4
    sigma: float = 0.0
    masked_weight: float = 0.5
    consistency_weight: float = 1.0
    threshold: float = 0.7
    unlabeled_ratio: float = 2.0
    teacher_decay: float = 0.0

    # The classifier's average, while one is being trained; without an annotation it is no hyper-parameter.
    _teacher = cast("WeightAverage | None", None)

    @property
    def has_autoencoder(self) -> bool:
        """Whether a fitted method has learned to reconstruct: where a guard holds the pool back, none does."""
        return not was_held_back(self)

    def reconstruct(self, X: Any) -> NDArray[Any]:
        """Return what the autoencoder makes of uncorrupted samples.

        Parameters
        ----------
        X : array-like
            As for `predict`.

        Returns
        -------
        ndarray
            uint8 images of shape (n, height, width, channels), or float32 vectors (n, features).
        """
        return np.concatenate([stored for _, stored in self._reconstructions(X)])

    def reconstruction_error(self, X: Any) -> float:
        """Return the mean squared error of the reconstructions of uncorrupted samples.

        In units of the [0, 1] range for images; of each feature's variance for vectors.
        """
        total, count = 0.0, 0
        for error, stored in self._reconstructions(X):
            total += error * len(stored)
            count += len(stored)
        return total / count

    def _decoder_rate(self, session: Session) -> dict[str, float]:
        """Return the decoder's learning rate as a multiple of the others', as an argument of `Session.train`."""
        if not session.is_vectors:
            return {}
        # The error is a mean over features: with one or two of them nothing divides the steps of the linear
        # last layer, and they grow without bounds.
        return {"decoder.": min(1.0, session.sample_shape[0] / _FEW_FEATURES)}

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "mask")
        check_within(self, "[0, 1]", "masked_weight")
        check_whole(self, 1, "patch")
        check_not_below_zero(self, "sigma", "consistency_weight")
        check_within(self, "[0, 1)", "threshold", "teacher_decay")
        check_above_zero(self, "unlabeled_ratio")

    def _new_autoencoder(self, session: Session) -> Autoencoder:
        classifier = session.new_classifier()
        decoder = build_decoder(self.net, classifier.encoder, session.sample_shape).to(session.device)
        if not session.is_vectors:
            decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Autoencoder(classifier, decoder).to(session.device)

    def _train_with_teacher(
        self,
        session: Session,
        nets: nn.Module,
        loss: Loss,
        classifier: Classifier,
        *,
        stage: str,
        unlabeled_size: int,
        rate_factors: dict[str, float],
    ) -> None:
        """Train `nets`, in which a classifier is, on labeled and pool samples; its average guesses where asked for."""
        teacher = WeightAverage(classifier, self.teacher_decay) if self.teacher_decay > 0 else None
        self._teacher = teacher
        session.train(
            nets,
            loss,
            stage=stage,
            batches=lambda: session.batches(unlabeled_size=unlabeled_size),
            classifier=classifier,
            rate_factors=rate_factors,
            after_step=None if teacher is None else teacher.update,
            # A second average would take the place of the net's own weights, which are kept beside the teacher's.
            recipe=None if teacher is None else replace(session.recipe, ema_decay=0.0),
            **self._length(session),
        )
        if teacher is not None:
            session.keep_average(classifier, teacher)
        self._teacher = None

    def _corrupted(self, views: Views, samples: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return samples corrupted, what they are to be decoded to, and where they are hidden."""
        if self.distort:
            inputs, originals = views.strong_and_original(samples)
        else:
            inputs = originals = views.weak(samples)
        if self.sigma > 0:
            inputs = views.noisy(inputs, self.sigma)
        if self.mask > 0:
            inputs, mask = views.masked(inputs, self.mask, self.patch)
            return inputs, originals, mask
        return inputs, originals, None

    def _reconstruction_loss(
        self, nets: Autoencoder, feature_map: Tensor, clean: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Return the mean squared error per pixel or feature in normalized units, hidden ones weighted apart."""
        target = nets.classifier.normalize(clean)
        errors: Tensor = (nets.decoder(feature_map).float() - target).square()
        if mask is None:
            return errors.mean()
        if clean.ndim > 2:
            errors = errors.mean(1, keepdim=True)
        hidden = (errors * mask).sum() / mask.sum().clamp_min(1)
        visible = (errors * (1 - mask)).sum() / (1 - mask).sum().clamp_min(1)
        weighted: Tensor = self.masked_weight * hidden + (1 - self.masked_weight) * visible
        return weighted

    def _consistency_loss(self, classifier: Classifier, weak: Tensor, corrupted_map: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy to the class of the weak view, where that is above the threshold.

        No gradient flows through the weak view; the mean is over all samples, so that few sure ones
        weigh little (as in FixMatch: Sohn et al., 2020).
        """
        if self.consistency_weight == 0:
            return {}
        confidences, classes = guess(classifier if self._teacher is None else self._teacher.nets, weak)
        sure = (confidences > self.threshold).to(confidences.dtype)
        logits = classifier.classify_map(corrupted_map)
        return {"consistency": self.consistency_weight * consistency(logits, classes, sure)}

    @torch.inference_mode()
    def _reconstructions(self, X: Any) -> Any:
        rows = rows_to_predict(self, X)
        if not self.has_autoencoder:
            raise InputError(
                "there is no autoencoder to reconstruct with: the guard held the pool back, as the budget was too "
                "short for it to pay (give more, or guard=False)"
            )
        nets = self.autoencoder_.eval()
        plain = ImageViews(torch.Generator(self._device())).plain
        for chunk in rows.chunks(_CHUNK, self._device()):
            if chunk.ndim == 4:
                clean = plain(chunk)
                made = nets(clean).clamp(0, 1)
                stored = (made * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
                error = (made - clean).square().mean()
            else:
                # Features may hold several views of each image; the first is of the image as it is.
                clean = chunk[:, : nets.classifier.mean.numel()].to(nets.classifier.mean.dtype)
                made = nets(clean)
                stored = made.float()
                error = ((made - clean) / nets.classifier.std).square().mean()
            yield float(error), stored.cpu().numpy()
