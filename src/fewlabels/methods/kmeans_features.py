"""K-means features: typical patches of all images, and a linear classifier on how near they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.linear import in_their_span, regression, regressions, set_head
from fewlabels.methods.looks import accuracies
from fewlabels.methods.ranges import check_above_zero, check_whole
from fewlabels.methods.session import Session
from fewlabels.methods.typical_patches import CENTROIDS, PATCH, PATCHES, SHRINK_TO, STANDARD, find_typical_patches
from fewlabels.nets import Classifier
from fewlabels.nets.output import OutputLinear
from fewlabels.nets.patches import PatchEncoder
from fewlabels.nets.registry import check_size
from fewlabels.storage.wording import counted
from fewlabels.training.batches import Rows

# Stronger ones first: each regression begins where the one before ended.
_STRENGTHS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
_UNCHOSEN = 0.003
# What finding centroids, and a regression from a sample's features, take on a processor, in the time of an image's
# features there.
_CENTROIDS_COST, _REGRESSION_COST = 900, 1.2
_TIMED = 16
_CHUNK = 250


@dataclass(kw_only=True, eq=False, repr=False)
class KMeansFeatures(SemiSupervisedClassifier):
    """Logistic regression on how near an image's patches are to typical patches of all images.

    Patches x of labeled and pool samples are contrast normalized and whitened, and k-means finds `centroids` c_k
    among them. The feature k of a quarter of an image is the sum over its patches of

        max(0, mean_j |x - c_j| - |x - c_k|)

    and a logistic regression with an L2 penalty learns the classes from the standardized features of labeled
    samples and of their mirror images, where views mirror. No net is trained: minutes on two cores, no settings
    of the training loop are used, and images of other classes in the pool do no harm.

    See `SemiSupervisedClassifier` for the attributes that all methods share; `steps`, `epochs`, `budget`, the
    optimizer's settings and the views' are not used.

    Parameters
    ----------
    centroids : int
        Number of typical patches, at least 2.
    patch : int
        Side of a patch in pixels, at least 2; of small images half their side at most.
    patches : int
        Patches to find the centroids from, at least 100.
    penalty : float, optional
        Strength of the L2 penalty per labeled sample, > 0; None: of six the one that is best on the held-out
        samples.
    shrink_to : int, optional
        Smaller side in pixels, at least 4, that larger images are shrunk to before patches are taken: of the whole
        image, a patch shows more then. None: they are not shrunk.

    Attributes
    ----------
    penalty_ : float
        The penalty that was taken.

    References
    ----------
    Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning", 2011; it introduced
    STL-10, and this is that data set's first baseline.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = KMeansFeatures(centroids=100, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    # What is learned from the pool is what patches look like: images of other classes do no harm.
    _pool_can_harm: ClassVar[bool] = False
    _pretrains: ClassVar[bool] = True
    _why_frozen: ClassVar[str] = "it trains no net"

    centroids: int = CENTROIDS
    patch: int = PATCH
    patches: int = PATCHES
    penalty: float | None = None
    shrink_to: int | None = SHRINK_TO

    _draws_views: ClassVar[bool] = False
    _SETTINGS_BEFORE: ClassVar[dict[str, Any]] = {"shrink_to": None}

    def _learn(self, session: Session) -> Any:
        session.monitor.stage_count = 2
        return self._learn_patches(session)

    def _learn_patches(self, session: Session, classifier: str = "classifier") -> Classifier:
        """Return the classifier of what patches an image is made of; of the monitor's stages these are two.

        `classifier` names the second.
        """
        # Patches of half the side would be single pixels, which are all the same once their contrast is.
        check_size(session.sample_shape)
        network = self._patch_classifier(session.sample_shape, session.classes).to(session.device)
        encoder = network.encoder
        assert isinstance(encoder, PatchEncoder)
        session.start(network)
        draws = np.random.default_rng(session.next_seed())
        session.monitor.begin("typical patches", 1)
        find_typical_patches(
            encoder,
            session.everything,
            lambda stored: network.normalize(session.plain(stored)),
            patches=int(self.patches),
            draws=draws,
            device=session.device,
        )
        session.monitor.conclude({})
        session.monitor.begin(classifier, 1)
        self._fit_head(session, network, encoder)
        session.monitor.conclude(accuracies(session, network))
        return network

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        return self._patch_classifier(sample_shape, classes)

    def _patch_classifier(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        encoder = self._patch_encoder(sample_shape)
        return Classifier(encoder, OutputLinear(encoder.feature_size, classes), sample_shape[-1])

    def _patch_encoder(self, sample_shape: tuple[int, ...]) -> PatchEncoder:
        shrink_to = None if self.shrink_to is None else int(self.shrink_to)
        return PatchEncoder(sample_shape, int(self.centroids), int(self.patch), shrink_to)

    def _fit_head(self, session: Session, network: Classifier, encoder: PatchEncoder) -> None:
        labels = session.labeled.labels
        features = self._features(session, network, session.labeled.samples)
        held_out = session.validation
        strengths: tuple[float, ...] = (_UNCHOSEN,) if self.penalty is None else (self.penalty,)
        if self.penalty is None and len(held_out):
            strengths = _STRENGTHS
            judged = self._features(session, network, held_out.samples, mirrored=False)
        # For a list of what a fit chose, see `choices`.
        self._penalty_looked_at_ = counted(len(held_out), "held-out image") if len(strengths) > 1 else ""
        repeated = np.tile(labels, len(features) // len(labels))
        rows, basis = in_their_span(features)
        best, most, self.penalty_ = None, -1.0, strengths[0]
        if len(strengths) > 1:
            found = regressions(rows, repeated, session.classes, strengths)
        else:
            found = iter([regression(rows, repeated, session.classes, strengths[0])])
        for strength, (weights, bias) in zip(strengths, found, strict=True):
            if basis is not None:
                weights = weights @ basis
            right = 0.0
            if len(strengths) > 1:
                guesses = (judged @ weights.T + bias).argmax(1)
                right = float((guesses == held_out.labels).mean())
            # Of equally good ones the stronger penalty, which comes first.
            if right > most:
                best, most, self.penalty_ = (weights, bias), right, strength
        assert best is not None
        set_head(network, *best)

    @torch.no_grad()
    def _features(
        self, session: Session, network: Classifier, samples: Tensor, *, mirrored: bool | None = None
    ) -> NDArray[np.float32]:
        """Return the features of samples and, where views mirror, of their mirror images behind them."""
        mirrored = session.flip if mirrored is None else mirrored
        found = []
        for mirror in (False, True)[: 1 + mirrored]:
            for stored in Rows([samples.cpu().numpy()]).chunks(_CHUNK, session.device):
                inputs = session.plain(stored)
                found.append(network.features(inputs.flip(3) if mirror else inputs).cpu())
        return np.asarray(torch.cat(found).numpy(), np.float32)

    @torch.no_grad()
    def _seconds_of_patches(self, session: Session) -> float:
        """Return about how long patches and their classifier take, and answers for what a fit asks; of images.

        It is measured on a few of them.
        """
        encoder = self._patch_encoder(session.sample_shape)
        learned = len(session.labeled) * (1 + session.flip)
        asked = (2 * len(session.validation) + len(session.to_fill)) * (1 + session.flip)
        here = self._seconds_of_features(session, encoder, torch.device("cpu"))
        there = here
        if session.device.type != "cpu":
            there = self._seconds_of_features(session, encoder.to(session.device), session.device)
        return here * (_CENTROIDS_COST + _REGRESSION_COST * learned) + there * (STANDARD + learned + asked)

    def _seconds_of_features(self, session: Session, encoder: PatchEncoder, device: torch.device) -> float:
        inputs = session.plain(session.everything.sample(_TIMED, device))
        times = []
        for _ in range(3):  # the first time allocates
            began = session.clock()
            # Waits for the device.
            encoder(inputs).sum().item()
            times.append(session.clock() - began)
        return min(times) / len(inputs)

    def _check_settings(self) -> None:
        super()._check_settings()
        check_whole(self, 2, "centroids", "patch")
        check_whole(self, 100, "patches")
        if self.shrink_to is not None:
            check_whole(self, 4, "shrink_to")
        if self.penalty is not None:
            check_above_zero(self, "penalty")
