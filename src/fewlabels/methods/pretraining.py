"""What the methods share that first learn an encoder without labels, then a classifier from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.inner import inner_method, learned_attributes, settings_with_inner
from fewlabels.methods.ranges import check_above_zero, check_whole, check_within
from fewlabels.methods.self_training import SelfTraining
from fewlabels.methods.session import Session
from fewlabels.methods.spending import seconds_to_fill
from fewlabels.methods.supervised import labeled_loss
from fewlabels.nets import Classifier, Encoder, is_backbone
from fewlabels.storage.errors import InputError, nearest
from fewlabels.training.batches import Batch, Rows, some_rows

# Parts of images, enlarged to an image's size, show what is in them larger than whole images do. At three quarters of
# the side they do so as large, for little more than half the arithmetic.
_SCALE = 0.75
# Below this side in pixels too little would be left.
_LEAST_SCALED = 16
# Gradient images of a member of an ensemble, and most members; see docs/methods/sim-clr.md.
_MEMBER = 200_000
_MOST_MEMBERS = 5
# What the student of an ensemble has of the budget, as a multiple of what a member has.
_STUDENT = 0.5


class Projected(nn.Module):
    """An encoder of raw inputs, and a projection of its features that only pretraining uses.

    Parameters
    ----------
    classifier : Classifier
        Whose encoder is trained.
    width, size : int
        Units of the hidden layer, length of a projection.
    """

    def __init__(self, classifier: Classifier, width: int, size: int) -> None:
        super().__init__()
        self.encoder = classifier.encoder
        self._normalize = classifier.normalize
        self.projection = nn.Sequential(
            nn.Linear(classifier.encoder.feature_size, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, size),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return projections, float32, (batch, size)."""
        return self.projection(self.encoder(self._normalize(inputs))).float()  # type: ignore[no-any-return]


def pretraining_length(method: Any, session: Session) -> dict[str, Any]:
    """Return the length of a method's first step as arguments of `Session.train`.

    As its `pretraining_steps` or `pretraining_epochs` say; with neither, as many steps as the classifier's training.
    """
    steps, epochs = method.pretraining_steps, method.pretraining_epochs
    given = {"pretraining_steps": steps, "pretraining_epochs": epochs}
    asked_by = next((name for name, length in given.items() if length is not None), None)
    if asked_by is None:
        classifier = method._length(session)
        steps = classifier.get("steps")
        if not steps and classifier.get("epochs"):
            steps = session.steps_of(classifier["epochs"])
    return {"steps": steps, "epochs": epochs, "asked_by": asked_by}


def can_pretrain(network: Classifier) -> bool:
    """Say whether a classifier's encoder has weights to learn: `linear` reads features as they are.

    Examples
    --------
    >>> from fewlabels.nets import build_classifier
    >>> [can_pretrain(build_classifier(net, (64,), 10)) for net in ("mlp", "linear")]
    [True, False]
    """
    return any(parameter.requires_grad for parameter in network.encoder.parameters())


def affordable_members(images: float) -> int:
    """Return how many members an ensemble has where so many gradient images are left for it and its student.

    Examples
    --------
    >>> [affordable_members(images) for images in (150_000, 500_000, 1e6, 1e8)]
    [1, 2, 4, 5]
    """
    return min(max(1, int(images / _MEMBER - _STUDENT)), _MOST_MEMBERS)


def check_pretraining(method: Any) -> None:
    """Refuse lengths and rates of a method's first step that cannot be used.

    Raises
    ------
    InputError
        With the name and value of the first that cannot.
    """
    if method.pretraining_steps is not None and method.pretraining_epochs is not None:
        raise InputError("pretraining_steps and pretraining_epochs are given; give one of them")
    if method.pretraining_steps is not None:
        check_whole(method, 1, "pretraining_steps")
    if method.pretraining_epochs is not None:
        check_above_zero(method, "pretraining_epochs")
    check_above_zero(method, "pretraining_rate")


def further_methods() -> list[str]:
    """Return the methods that may train a pretrained encoder further, with a head: those whose only net it is.

    Examples
    --------
    >>> further_methods()[:2]
    ['supervised', 'self-training']
    """
    from fewlabels.methods.registry import METHODS

    return [name for name, method in METHODS.items() if method._goes_on]


@dataclass(kw_only=True, eq=False, repr=False)
class PretrainingClassifier(SemiSupervisedClassifier):
    """Base of methods in two steps: an encoder learns from all samples, then a classifier starts from it.

    Step 1 draws batches from labeled and pool samples together, their labels not used, and minimizes `view_loss` of
    the projections of two views. Step 2 minimizes the cross-entropy on the labeled samples, or what another method
    does, `classifier_method`. A net whose encoder has nothing to learn, `linear` on features as they are, has no step
    1, and `notes_` says so.

    `preset="short"` is for few labels and minutes to hours: most of a budget for step 1, then `FreeMatch`, the encoder
    at a low rate; where a budget has room for it, an ensemble of several. With `guard` and such a method, what there is
    to fall back on has learned from the labels alone, but for step 1.

    See `SemiSupervisedClassifier` for the other parameters and attributes.

    Parameters
    ----------
    pretraining_steps, pretraining_epochs : optional
        Length of step 1: steps, or passes over all samples; with neither, as many steps as step 2, or its share of
        the budget. Given beside a budget, step 1 takes what it takes, and step 2 has the rest.
    pretraining_share : float
        Share of a budget for step 1, in (0, 1).
    pretraining_batch : int
        Samples in a batch of step 1, at least 2; no more than there are, whose copies would count as other samples.
    pretraining_rate : float
        Peak learning rate of step 1, > 0. With Adam and the default, 0.001.
    pretraining_scale : float, optional
        Sides of the views of step 1 as a share of the images', in [0.5, 1]. Parts of images that are enlarged to an
        image's size show things larger than they are in the images that are classified (Touvron et al., "Fixing the
        train-test resolution discrepancy", 2019). When not given: 0.75, at little more than half the arithmetic; 1 of
        images below 16 pixels, and for nets that take one size. Of no effect for vectors.
    projection_width, projection_size : int
        Units of the projection's hidden layer and of its output, at least 1.
    freeze_encoder : bool
        Leave the encoder as it is in step 2.
    encoder_rate : float
        The encoder's learning rate in step 2 as a multiple of the head's, in (0, 1]. The layers of a pretrained net
        that is trained have the rates of `backbone_rate` and `layer_decay` in both steps; another value is refused.
    classifier_method : str, optional
        What step 2 learns by: a key of `fewlabels.METHODS`, such as "free-match", which then has the pool too. Settings
        that all methods share are passed on to it, `preset` where it has that one; the others are at its defaults.
        "supervised", and the same when not given and no preset says otherwise: the labels alone.
    ensemble_size : int, optional
        How many classifiers step 2 trains by `classifier_method`, each from the encoder, at least 1. With more than
        one, a student that begins with the encoder too learns from the labeled samples and, of the pool, the mean of
        their calibrated probabilities (Hinton et al., "Distilling the knowledge in a neural network", 2015): what
        guesses lead to differs from classifier to classifier where labels are few, and their mean is better than one.
        Of a budget, a member has twice what the student has. None: as many as have 200,000 gradient images each of
        what step 1 leaves of a budget, at most 5; without a budget 1. Only with a `classifier_method` that learns from
        the pool.

    Attributes
    ----------
    settings_ : dict
        Of the settings that all methods share, the values that were learned by; those that only the method of step 2
        has are named `classifier.NAME`.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "short": {
            "classifier_method": "free-match",
            "encoder_rate": 0.1,
            "pretraining_share": 0.75,
            "ensemble_size": None,
        }
    }

    _pretrains: ClassVar[bool] = True

    pretraining_steps: int | None = None
    pretraining_epochs: float | None = None
    pretraining_share: float = 0.5
    pretraining_batch: int = 256
    pretraining_rate: float = 0.12
    pretraining_scale: float | None = None
    projection_width: int = 256
    projection_size: int = 64
    freeze_encoder: bool = False
    encoder_rate: float = 0.5
    classifier_method: str | None = None
    ensemble_size: int | None = 1

    def view_loss(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the named loss terms of the projections of two views of the same samples, (batch, size)."""
        raise NotImplementedError

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return step 1's loss for projected nets, else step 2's, of the labeled samples alone."""
        if isinstance(nets, Projected):
            scale = self._scale(nets.encoder, batch.pool)
            both = torch.cat([batch.views.cropped(batch.pool, scale) for _ in range(2)])
            batch.pool_passes = 2
            first, second = nets(both).chunk(2)
            return self.view_loss(first, second)
        if self.freeze_encoder:
            nets.encoder.eval()  # type: ignore[union-attr]
        return {"supervised": labeled_loss(nets, batch, view=self.view, label_smoothing=self.label_smoothing)}

    def _scale(self, encoder: Encoder, samples: Tensor) -> float:
        """Return `pretraining_scale`, or what it is for these samples, (batch, height, width, channels)."""
        if self.pretraining_scale is not None:
            return self.pretraining_scale
        return _SCALE if encoder.any_side and min(samples.shape[1:3]) >= _LEAST_SCALED else 1.0

    def _learn(self, session: Session) -> Any:
        network = session.new_classifier()
        images_left = 0.0
        if can_pretrain(network):
            session.monitor.stage_count = self._stage_count
            images_left = self._pretrain(session, network)
        else:
            rest = ", and nothing was learned from the pool" if self._further is None else f", by {self._further}"
            session.monitor.note(
                f"net={self.net!r} has no encoder to pretrain: all of the training went into the classifier{rest}"
            )
        if self._further is not None:
            return self._learn_further(session, network, images_left)
        if self.freeze_encoder:
            network.encoder.requires_grad_(False)
        session.train(
            network,
            partial(self.loss, network),
            stage="classifier",
            classifier=network,
            rate_factors={"encoder.": self.encoder_rate},
            **self._length(session),
        )
        return network

    def _learn_further(self, session: Session, network: Classifier, images: float) -> Any:
        """Return what the method of step 2 makes of the encoder; about so many gradient images are left of a budget."""
        assert self._further is not None
        method = inner_method(self, self._further)
        pretrained = can_pretrain(network)
        if pretrained:
            session.monitor.stages_before += 1
        session.monitor.stage_count = method._stage_count
        own = session.of(method).beginning_with(network.encoder, self._rate_of_encoder, pretrained=pretrained)
        if self.ensemble_size is None:
            self.ensemble_size = affordable_members(images)
        if self.ensemble_size > 1 and len(session.pool):
            method, learned = self._learn_from_ensemble(own, images)
        else:
            learned = method._learn(own)
        self.__dict__.update(learned_attributes(method))
        self.settings_ = settings_with_inner(self, method, "classifier")
        return learned

    def _learn_from_ensemble(self, session: Session, images: float) -> tuple[SemiSupervisedClassifier, Any]:
        """Return the last member of the ensemble, and what a student learns from what all say of the pool.

        Parameters
        ----------
        session : Session
            Whose new classifiers begin with the encoder.
        images : float
            How many gradient images are left of a budget, about.
        """
        assert self._further is not None
        assert self.ensemble_size is not None
        count, whole = int(self.ensemble_size), session.budget
        session.monitor.stages_before += (count - 1) * session.method._stage_count + 1
        student = inner_method(self, "self-training", soft_labels=True, student_steps=1.0)
        assert isinstance(student, SelfTraining)
        length = self._length(session)
        steps = length["steps"]
        if whole is not None:
            steps = max(1, round(images * _STUDENT / (count + _STUDENT) / self.batch_size))
        asked = student._asked(session, steps)

        @cache
        def labels_of_a_member() -> float:
            """Return what they cost, once what follows all trainings is reserved."""
            assert whole is not None
            network = session.new_classifier()
            whole.reserve(partial(seconds_to_fill, session, network))
            share = len(asked) / len(session.pool)
            return share * whole.cost_of(partial(student._seconds_to_label, session, network))

        def left(members: int) -> float:
            assert whole is not None
            return whole.left() - members * labels_of_a_member()

        own = session.of(student)
        own.to_fill = Rows([])
        said = np.zeros((len(asked), session.classes))
        for number in range(1, count + 1):
            method = inner_method(self, self._further)
            own = own.of(method)
            own.stage = f"{session.stage}, member {number}" if session.stage else f"member {number}"
            if whole is not None:
                to_come = count - number + 1
                own.budget = whole.part(own.decided(partial(left, to_come)) / (to_come + _STUDENT))
            learned = method._learn(own)
            said += student._label(own, learned, some_rows(own.pool, asked))[0] / count
        taken = np.isin(asked, own.members)
        if not taken.any():
            return method, learned
        own = own.of(student)
        own.stage, own.budget, own.to_fill = session.stage, whole, session.to_fill
        learned = own.new_classifier()
        rest = student._student_length(own, length, taken) if whole is None else {}
        student._teach(own, learned, "student", rest, asked, said, taken)
        return method, learned

    @property
    def _further(self) -> str | None:
        """The method that goes on from the encoder; None for the labels alone."""
        return None if self.classifier_method == "supervised" else self.classifier_method

    @property
    def _rate_of_encoder(self) -> float:
        return 0.0 if self.freeze_encoder else self.encoder_rate

    @property
    def _keeps_average(self) -> bool:
        # Of step 2, the method that goes on says whether it does: it has the setting too, and is checked.
        return super()._keeps_average or self._further is not None

    @property
    def _stage_count(self) -> int:
        if self._further is None:
            return 2
        members = self.ensemble_size or 1
        return 1 + members * inner_method(self, self._further)._stage_count + (members > 1)

    @property
    def _begins_with_labels(self) -> bool:
        return self._further is not None and inner_method(self, self._further)._begins_with_labels

    def _pretrain(self, session: Session, network: Classifier) -> float:
        """Have the encoder of a classifier learn, and return how many gradient images like its own a budget leaves."""
        if self.pretraining_scale not in (None, 1) and not session.is_vectors and not network.encoder.any_side:
            raise InputError(
                f"pretraining_scale={self.pretraining_scale} does not count for a net that takes images of one size; "
                "leave it away"
            )
        session.seed_weights()
        nets = Projected(network, self.projection_width, self.projection_size).to(session.device)
        everything = session.everything
        size = min(self.pretraining_batch, len(everything))
        before = 0.0 if session.budget is None else session.decided(session.budget.left)
        steps = session.train(
            nets,
            partial(self.loss, nets),
            stage="encoder",
            batches=partial(
                session.batches,
                labeled_size=0,
                unlabeled_size=size,
                everything=True,
                sized_by="pretraining_batch",
            ),
            epoch_samples=round(len(everything) * self.batch_size / size),
            budget_share=self.pretraining_share,
            recipe=replace(session.recipe, learning_rate=self.pretraining_rate),
            **pretraining_length(self, session),
        )
        if session.budget is None:
            return 0.0
        left = max(0.0, session.decided(session.budget.left))
        return 2 * steps * size * left / max(before - left, 1e-9)

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "(0, 1]", "encoder_rate")
        check_within(self, "(0, 1)", "pretraining_share")
        check_within(self, "[0.5, 1]", "pretraining_scale")
        usual = [type(self).encoder_rate]
        if self.preset != "default":
            usual.append(self.PRESETS["short"]["encoder_rate"])
        if is_backbone(self.net) and not self.freeze and self.encoder_rate not in usual:
            raise InputError(
                f"encoder_rate={self.encoder_rate} does not count for a pretrained net that is trained; leave it away "
                "and give backbone_rate, or layer_decay, which are for its layers"
            )
        check_whole(self, 2, "pretraining_batch")
        check_whole(self, 1, "projection_width", "projection_size")
        check_pretraining(self)
        known = further_methods()
        if self.classifier_method is not None and self.classifier_method not in known:
            hint = nearest(str(self.classifier_method), known)
            asked = f"classifier_method={self.classifier_method!r}"
            raise InputError(
                f"{asked} is no method that trains a pretrained encoder further{hint} (known: {', '.join(known)})"
            )
        if self._further is not None:
            inner_method(self, self._further)
        if self.ensemble_size is not None:
            check_whole(self, 1, "ensemble_size")
            if self.ensemble_size > 1 and self._further is None:
                raise InputError(
                    f"ensemble_size={self.ensemble_size} counts only with a classifier_method that learns from the "
                    "pool, such as 'free-match'"
                )
