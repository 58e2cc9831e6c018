"""Net and patches: a net and a linear classifier on k-means features err differently, and answer together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fewlabels.methods.kmeans_features import KMeansFeatures
from fewlabels.methods.looks import accuracies
from fewlabels.methods.ranges import check_within
from fewlabels.methods.session import Session
from fewlabels.methods.spending import cost_of_step, seconds_to_predict, steps_in_budget
from fewlabels.methods.supervised import labeled_loss
from fewlabels.nets import Classifier, build_classifier, is_backbone
from fewlabels.nets.joined import joined, scale_logits
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch
from fewlabels.training.calibration import best_temperature
from fewlabels.training.kept import copied_state


@dataclass(kw_only=True, eq=False, repr=False)
class NetAndPatches(KMeansFeatures):
    """A net and logistic regression on k-means features each learn from the labels, and answer together.

    The net learns from the labeled samples as `Supervised` does, the regression from how near their patches are to
    typical patches of all samples, labeled or not (`KMeansFeatures`). The one sees shapes, the other what an image is
    made of, and with few labels neither is much better than the other: they err on different images. Their answer
    is the geometric mean of both, each calibrated on the held-out samples:

        log p(c | x) = (1 - s) z_net(x)_c / T_net + s z_patches(x)_c / T_patches + constant

    with the logits z, the temperatures T and the share s = `patch_share`.

    A budget of time is for both: the patches come first, and the net has what they leave.

    See `SemiSupervisedClassifier` for the parameters and attributes that all methods share, and `KMeansFeatures` for
    `centroids`, `patch`, `patches`, `penalty` and `penalty_`.

    Parameters
    ----------
    patch_share : float
        What the patches have of the answer, in [0, 1]; the rest is the net's.

    References
    ----------
    Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning", 2011, for the patches;
    Hinton, "Products of experts", 1999, for the geometric mean of classifiers.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = NetAndPatches(centroids=100, steps=60, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    patch_share: float = 0.4

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy on the labeled samples."""
        return {"supervised": labeled_loss(nets, batch, view=self.view, label_smoothing=self.label_smoothing)}

    def _learn(self, session: Session) -> Any:
        session.monitor.stage_count = 4
        patches = self._learn_patches(session)
        network = session.new_classifier(plain=True)
        length = self._length(session)
        if session.budget is not None:
            length = {"steps": self._steps_in_budget(session, network, patches), "epochs": None}
        session.train(network, lambda batch: self.loss(network, batch), stage="net", classifier=network, **length)
        session.monitor.begin("both", 1)
        both = self._together(session, network, patches)
        session.monitor.conclude(accuracies(session, both))
        return both

    def _steps_in_budget(self, session: Session, network: Classifier, patches: Classifier) -> int:
        """Return the steps that the net has time for, when both are to answer afterwards."""
        budget = session.budget
        assert budget is not None
        per_step = cost_of_step(session, network, lambda batch: self.loss(network, batch), session.batches)

        def seconds() -> float:
            settings: dict[str, Any] = {"flip": session.flip, "precision": torch.float32}
            # What is held out is asked of both together, and before of each.
            asked = (session.to_fill, session.validation.stored, session.validation.stored)
            return sum(seconds_to_predict(session, patches, rows, **settings) for rows in asked)

        rest = budget.cost_of(seconds)
        return steps_in_budget(session, per_step, network, rest=lambda _: rest)

    def _together(self, session: Session, network: Classifier, patches: Classifier) -> Classifier:
        """Return the two as one, and keep of it what was kept of the net."""
        share = self.patch_share
        scale_logits(patches, share / self._temperature(session, patches))
        factor = (1 - share) / self._temperature(session, network)
        both = self._joined(network, patches).to(network.mean)

        def with_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
            network.load_state_dict(state)
            scale_logits(network, factor)
            return copied_state(both)

        learned = copied_state(network)
        kept = session.kept.get(network, {})
        session.kept[both] = {name: {**found, "state": with_weights(found["state"])} for name, found in kept.items()}
        both.load_state_dict(with_weights(learned))
        return both

    def _temperature(self, session: Session, classifier: Classifier) -> float:
        """Return what calibrates a classifier on the held-out samples; 1 where there are none."""
        if not len(session.validation):
            return 1.0
        logits = session.logits(classifier, session.validation.stored)
        return best_temperature(logits, session.validation.targets.cpu().numpy())

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        network = build_classifier(self.net, sample_shape, classes, dropout=self.dropout)
        return self._joined(network, self._patch_classifier(sample_shape, classes))

    def _joined(self, network: Classifier, patches: Classifier) -> Classifier:
        # What a solver finds is not trained by gradients.
        patches.requires_grad_(False)
        return joined(network, patches)

    def _check_settings(self) -> None:
        if is_backbone(self.net) and not self.freeze:
            raise InputError(
                "NetAndPatches trains a net from random weights, so freeze=False has no meaning for it; leave "
                "freeze=True, or take a method that trains a pretrained net further, such as Supervised"
            )
        super()._check_settings()
        check_within(self, "[0, 1]", "patch_share")
