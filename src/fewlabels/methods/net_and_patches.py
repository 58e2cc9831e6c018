"""Net and patches: a net and a linear classifier on k-means features err differently, and answer together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor, nn

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.guard import (
    after_pretraining,
    has_fallen_back,
    has_fallen_back_on_pretrained,
    learn_guarded,
    was_held_back,
)
from fewlabels.methods.inner import inner_method, learned_attributes, settings_with_inner
from fewlabels.methods.kmeans_features import KMeansFeatures
from fewlabels.methods.looks import accuracies
from fewlabels.methods.ranges import check_within
from fewlabels.methods.session import Session
from fewlabels.methods.training_set import looked_at
from fewlabels.nets import Classifier
from fewlabels.nets.joined import joined, scale_logits
from fewlabels.nets.patches import PatchEncoder
from fewlabels.storage.errors import InputError, nearest
from fewlabels.training.batches import Batch
from fewlabels.training.calibration import best_temperature
from fewlabels.training.kept import copied_state

# Methods that train no net, or are made of others.
_NO_NET = ("auto", "kmeans-features", "net-and-patches", "linear-probe", "prototypes")
# The share that is taken where nothing tells otherwise, and how much it counts beside a held-out sample's loss: of
# 50 such samples, it stays within 0.1 of the usual one.
_USUAL_SHARE, _USUAL_COUNTS = 0.4, 50.0
_SHARES = np.linspace(0.0, 0.8, 17)
# Weights that a training leaves of a net: the last, and those that were best on the way.
_KEPT = 2
# What the net's method keeps of itself that says nothing of both together.
_OF_NET_ALONE = ("autoencoder_",)


@dataclass(kw_only=True, eq=False, repr=False)
class NetAndPatches(KMeansFeatures):
    """A net and logistic regression on k-means features each learn by themselves, and answer together.

    The net learns as any method teaches it, from the labeled samples alone when nothing is said; the regression from
    how near samples' patches are to typical patches of all samples, labeled or not (`KMeansFeatures`). The one sees
    shapes, the other what an image is made of, and with few labels neither is much better than the other: they err on
    different images. Their answer is the geometric mean of both, each calibrated on the held-out samples:

        log p(c | x) = (1 - s) z_net(x)_c / T_net + s z_patches(x)_c / T_patches + constant

    with the logits z, the temperatures T and the share s = `patch_share_`.

    A budget of time is for both: the patches come first, and the net has what they leave.

    See `SemiSupervisedClassifier` for the parameters and attributes that all methods share, and `KMeansFeatures` for
    `centroids`, `patch`, `patches`, `penalty`, `shrink_to` and `penalty_`. With `guard`, what is guarded is the net:
    where that has the labels alone in the end, `notes_` says so, and there is no `guard_`, as the patches have learned
    from the pool. `transform` gives the net's features.

    Parameters
    ----------
    patch_share : float, optional
        What the patches have of the answer, in [0, 1]; the rest is the net's. When not given: the share under which
        the held-out samples are most likely, drawn to the 0.4 that was best where labels were few; the better the
        net, the less the patches have to add.
    net_method : str
        What the net learns by: a key of `fewlabels.METHODS` that trains a net. Settings that all methods share are
        passed on to it, `preset` where it has that one; the others are at its defaults.

    Attributes
    ----------
    patch_share_ : float
        The share that was taken.
    settings_ : dict
        Of the settings that all methods share, the values that the net learned by; those that only its method has are
        named `net.NAME`.

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

    # The net's method may have one: see `net_method`.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"short": {}}
    _why_frozen: ClassVar[str] = "it trains a net from random weights"

    patch_share: float | None = None
    net_method: str = "supervised"

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the named loss terms by which the net learns."""
        return self._of_net().loss(nets, batch)

    def _learn(self, session: Session) -> Any:
        # Typical patches, their classifier, and both together; the net's own are counted as it learns.
        session.monitor.stages_before += 3
        method = self._of_net()
        session.monitor.stage_count = method._stage_count
        patches = self._learn_patches(session, classifier="classifier of patches")
        own = session.of(method)
        if session.budget is not None:
            afterwards = session.budget.cost_of(partial(self._seconds_to_answer, session, patches))
            own.budget = session.budget.part(session.decided(session.budget.left) - afterwards)
        network = learn_guarded(method, own)
        found = learned_attributes(method).items()
        self.__dict__.update({name: value for name, value in found if name not in _OF_NET_ALONE})
        self.settings_ = settings_with_inner(self, method, "net")
        why = None
        if was_held_back(self):
            why = f"in so short a budget the net learned from the labels alone: {self.net_method} needs a longer one"
        elif has_fallen_back(self):
            after = after_pretraining(has_fallen_back_on_pretrained(self))
            why = (
                f"the pool did harm to the net by {self.net_method}, and the guard fired: the net is what the labels "
                f"alone gave{after}, {self.guard_['supervised_accuracy']:.1%} on held-out images against "
                f"{self.guard_['accuracy']:.1%} with the pool; the patches learned from the pool"
            )
        if why is not None:
            # What the guard says is of the net alone: the patches have learned from the pool.
            del self.guard_
            session.monitor.note(why)
        session.monitor.begin("both", 1)
        both = self._together(session, network, patches)
        session.monitor.conclude(accuracies(session, both))
        return both

    @property
    def _keeps_average(self) -> bool:
        # That is for the net's method to say: it has the setting too, and is checked.
        return True

    def _of_net(self) -> SemiSupervisedClassifier:
        """Return the method that the net learns by."""
        return inner_method(self, self.net_method)

    @torch.no_grad()
    def _seconds_to_answer(self, session: Session, patches: Classifier) -> float:
        """Return how long the patches take for what both together will be asked."""
        assert isinstance(patches.encoder, PatchEncoder)
        # What is held out is asked of the patches, and of both together for each of the weights that are kept.
        whole = len(session.to_fill) + (1 + _KEPT) * len(session.validation)
        some = len(looked_at(len(session.labeled))) + len(looked_at(len(session.validation)))
        each = self._seconds_of_features(session, patches.encoder, session.device)
        return each * ((1 + session.flip) * whole + some)

    def _together(self, session: Session, network: Classifier, patches: Classifier) -> Classifier:
        """Return the two as one, and keep of it what was kept of the net."""
        (of_net, net_temperature), (of_patches, patch_temperature) = (
            self._calibrated(session, classifier) for classifier in (network, patches)
        )
        share = self.patch_share
        if share is None:
            share = chosen_share(of_net, of_patches, session.validation.labels)
        self.patch_share_ = share
        scale_logits(patches, share / patch_temperature)
        factor = (1 - share) / net_temperature
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

    def _calibrated(self, session: Session, classifier: Classifier) -> tuple[NDArray[np.floating], float]:
        """Return a classifier's calibrated logits of the held-out samples, and the temperature; 1 where none is."""
        if not len(session.validation):
            return np.empty((0, session.classes)), 1.0
        logits = session.logits(classifier, session.validation.stored)
        temperature = best_temperature(logits, session.validation.labels)
        return logits / temperature, temperature

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        network = self._of_net()._empty_network(sample_shape, classes)
        return self._joined(network, self._patch_classifier(sample_shape, classes))

    def _joined(self, network: Classifier, patches: Classifier) -> Classifier:
        # What a solver finds is not trained by gradients.
        patches.requires_grad_(False)
        return joined(network, patches)

    def _check_settings(self) -> None:
        from fewlabels.methods.registry import METHODS

        super()._check_settings()
        if self.patch_share is not None:
            check_within(self, "[0, 1]", "patch_share")
        known = [name for name in METHODS if name not in _NO_NET]
        if self.net_method not in known:
            hint = nearest(str(self.net_method), known)
            asked = f"net_method={self.net_method!r}"
            raise InputError(f"{asked} is no method that trains a net{hint} (known: {', '.join(known)})")
        self._of_net()


def chosen_share(net: NDArray[np.floating], patches: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the share of the patches in the answer under which held-out samples are most likely, near to the usual.

    Parameters
    ----------
    net, patches : ndarray of shape (n, classes)
        Calibrated logits of both.
    labels : ndarray of shape (n,)
        Indices of the samples' classes.

    Examples
    --------
    >>> labels = np.arange(200) % 2
    >>> right, chance = np.eye(2)[labels] * 4, np.zeros((200, 2))
    >>> chosen_share(right, right, labels), chosen_share(chance[:0], chance[:0], labels[:0])
    (0.4, 0.4)
    """
    losses = []
    for share in _SHARES:
        logits = (1 - share) * net + share * patches
        if len(labels):
            logits = log_softmax(logits / best_temperature(logits, labels), axis=1)
        loss = -logits[np.arange(len(labels)), labels].sum()
        losses.append(loss + _USUAL_COUNTS * (share - _USUAL_SHARE) ** 2)
    return float(_SHARES[int(np.argmin(losses))])
