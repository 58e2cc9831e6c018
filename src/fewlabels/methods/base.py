"""The contract of every method: a scikit-learn classifier whose fields are its hyper-parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.special import softmax
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
from torch import Tensor, nn

from fewlabels.data.parts import as_labels
from fewlabels.methods.estimator import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from fewlabels.methods.given import Given, read_given, rows_to_predict
from fewlabels.methods.learned import Learned
from fewlabels.methods.learning import learn
from fewlabels.methods.prediction import output_chunks, predict_logits
from fewlabels.methods.session import Session
from fewlabels.methods.settings import Settings
from fewlabels.methods.targets import labeled_rows
from fewlabels.methods.weight_sets import use_weights
from fewlabels.nets import Backbone, Classifier, build_classifier, open_backbone
from fewlabels.nets.backbone import PretrainedClassifier
from fewlabels.storage.arguments import check_callable
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch, Rows
from fewlabels.training.checkpoint import EVERY, Checkpoints
from fewlabels.training.conformal import COVERAGE, conformal_sets, conformal_threshold
from fewlabels.training.device import gradients
from fewlabels.training.memory import ran_out_of_memory
from fewlabels.training.monitor import Observer
from fewlabels.training.processes import Processes, current

if TYPE_CHECKING:
    from fewlabels.training.shares import SharedRows

# Of a budget, for the net to fall back on.
_GUARD_SHARE = 0.2
# What scikit-learn knows of the samples of a fit.
_OF_FEATURES = ("n_features_in_", "feature_names_in_")


@dataclass(kw_only=True, eq=False, repr=False)
class SemiSupervisedClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, Learned, Settings):
    """Base of all methods: settings, `fit`, `predict`, `save`.

    Parameters
    ----------
    preset : {"default", "auto", "short", "notebook"}
        All but "default" replace the fields that are at their default by the values that the method's `PRESETS`
        give. "short": for minutes rather than the days that the papers' settings are made for; "notebook": the
        original notebook's nets and training; "auto": "short" where the method has it and `steps` are less than
        100,000, which is what the command line and `compare` take.
    net : str or torch.nn.Module
        A key of `fewlabels.nets.NETS`; or, for images, a pretrained net: "hf:NAME_OR_FOLDER", "timm:NAME",
        "model:FOLDER", "python:FILE_OR_MODULE:FUNCTION", or a module that maps images in [0, 1] to features (see
        `fewlabels.nets.pretrained.load_backbone`).
    freeze : bool
        Leave a pretrained net as it is: images go through it once, before anything is learned, and the method learns
        from their features as from any vectors. False: it is trained too, gently: `optimizer` becomes "adam",
        `learning_rate` 0.001, `weight_decay` 0.05, `batch_size` 32 and `view` "weak", each where it is at the
        default that methods share. The default itself, given, cannot be told from none; a method's own default,
        such as `view` of `NoisyStudent`, stays.
    feature_views : int
        Views of each image that go through a pretrained net that is frozen, at least 1.
    backbone_rate : float
        Learning rate of the last layers of a pretrained net that is trained, as a multiple of the head's, > 0.
    layer_decay : float
        Learning rate of each of its blocks as a multiple of that of the next, in (0, 1].
    steps : int, optional
        Optimizer steps of the classifier's training (of each, where a method trains several).
    epochs : float, optional
        The same as passes over the labeled samples.
    budget : str or float, optional
        Time for the whole fit instead: "90s", "5m", or seconds; or gradient images, "500k images", so that
        methods compare at the same cost. The steps that fit are recorded in `stage_steps_`. At most one of
        `steps`, `epochs` and `budget`; with none, 500 steps (200 for vectors, for images below 16
        pixels and with a pretrained net).
    batch_size : int
        Labeled samples a step, at least 2.
    optimizer : {"muon", "sgd", "adam"}
        See `fewlabels.training.recipe.Recipe`, also for the next six.
    learning_rate : float
        Peak rate, > 0. With Adam and the default, 0.001.
    momentum : float
        In [0, 1).
    weight_decay : float
        At least 0.
    schedule : {"triangle", "constant"}
        Course of the rate.
    warmup : float
        Share of the steps in which a triangle rises, in [0, 1).
    ema_decay : float
        Of the average of the weights that training ends with, in [0, 1); 0 for none. Where a teacher is kept
        (`teacher_decay`), which is an average too, training ends with that one.
    label_smoothing : float
        Share of each target that is spread over all classes, in [0, 1).
    dropout : float
        Share of the features dropped before the head, in [0, 1).
    view : {"strong", "medium", "weak", "plain"}
        Which views of labeled samples to learn from.
    flip : bool or "auto"
        Whether views mirror left to right, and predictions average both sides. "auto": color images
        do, gray ones (digits, letters, scans) do not.
    shift, cutout, color, operations : float
        See `fewlabels.views.ImageViews`.
    noise : float
        Medium and strong views of vectors: standard deviation of the noise, in units of each feature's own.
    feature_dropout : float
        Strong views of vectors: share of the features that become their mean, in [0, 1).
    feature_mixup : float
        Strong views of vectors: how much of another vector is mixed in at most, in [0, 1).
    validation_fraction : float
        Share of the labeled samples of each class held out to measure and calibrate on, in [0, 1).
    labeled_in_pool : bool
        Count the labeled samples that are learned from among the pool's too, as many papers do.
    assess_pool : bool
        Estimate first what the pool is made of, which takes two short trainings on a half of the labels each; then
        learn from what seems to belong to a class, and take the classes to be as frequent there as estimated.
    logit_adjustment : float
        At least 0. So many times the logarithm of each class's share among the labels is taken off its logit when
        training is done: 1 predicts as if all classes were equally frequent (Menon et al., "Long-tail learning via
        logit adjustment", 2021).
    guard : bool
        Keep the pool from doing harm: steps in which its gradient points against that of the labels leave it out, and
        a net that learned from the labels alone is the result if it is better on the held-out samples by more than
        chance: the one that the method begins with, where it begins with the labels alone, else one that learns for
        as many steps or a fifth of the budget. In a `budget` in which no pool was seen to pay, images from scratch,
        the pool is held back and all of it goes into the labels. `guard_` tells what happened.
    final_weights : {"auto", "last", "best-on-validation", "average"}
        Which of the weights that the last training leaves the model predicts with: those of its last step, those of
        the look on the way at which the most held-out samples were classified rightly, or their moving average.
        "auto" takes the average where one is kept (`ema_decay`, and `teacher_decay` but for autoencoders), else the
        last, so that nothing is chosen by what held-out samples say. All are kept in `kept_weights_`.
    device : str
        "auto", "cpu", "cuda", "cuda:1"; "auto" is CUDA where there is one, else the CPU.
    precision : {"auto", "float32", "bfloat16"}
        Of training; "auto" takes bfloat16 where the hardware has it. Vectors are always float32.
    deterministic : bool
        On a GPU, use only operations that give the same bits each time, at some cost; PyTorch refuses those that have
        no such form. On the CPU they all do.
    random_state : int, RandomState instance or None
        An integer makes the fit repeatable, except where several fits run in threads of one process: PyTorch's
        generator is the process's.
    weights_seed, order_seed : int, optional
        What initial weights, and what the order of the samples, their views and dropout follow from, where they are to
        vary apart; `random_state` when not given, which always draws the samples held out.
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels as given.
    n_features_in_ : int
        Length of a vector, or height x width x channels of an image.
    n_iter_ : int
        Optimizer steps of the whole fit (for SelfTraining: rounds).
    transduction_ : ndarray of shape (n_samples,)
        Labels of the rows of `X`: as given, and predicted where missing.
    network_ : Classifier
        The trained net, in evaluation mode.
    history_ : list of dict
        Losses and accuracies on the way.
    validation_rows_ : ndarray
        Rows of `X` that were held out.
    validation_accuracy_ : float
        Accuracy on them, NaN if there are none.
    n_validation_ : int
        Number of samples held out, or given as `validation`.
    unmeasured_classes_ : list of int
        Places in `classes_` of those of which none of these is, where there are any: neither accuracy on held-out
        samples nor calibration nor `predict_set` tells of them.
    n_labeled_ : int
        Number of labeled samples that it learned from.
    n_pool_ : int
        Number of unlabeled samples that it was given.
    temperature_ : float
        What the logits are divided by, found on the held-out samples.
    conformal_scores_ : ndarray of shape (n_validation,)
        What `predict_set` goes by.
    kept_weights_ : dict of str to WeightSet
        The weights that the training left, by name; see `fewlabels.methods.weight_sets`.
    used_weights_ : str
        Which of them the model predicts with.
    gradient_images_ : int
        Samples that went forward and backward.
    fit_seconds_ : float
        Duration of the fit.
    pool_inside_share_ : float
        With `assess_pool`: the share of the pool that belongs to a class, as estimated (at most so much).
    pool_prior_ : ndarray of shape (n_classes,)
        With `assess_pool`: how often each class comes among that.
    pool_belongs_ : ndarray of shape (n_pool,)
        With `assess_pool`: the probability of each pool sample that it belongs to a class.
    guard_ : dict
        With `guard`: see `fewlabels.methods.guard.Guard`.
    stage_steps_ : dict
        Steps of each stage.
    pool_looks_ : list of dict
        What classes some pool samples, drawn at random, were guessed to be of on the way, by methods that learn from
        them in every step: `stage`, `step`, `rows` of the pool and `guesses`, indices into `classes_`. How many are
        right is for those to say who know the classes; training does not.
    notes_ : list of str
        What went wrong in training, or may have, and what to change.
    settings_ : dict
        Hyper-parameters as they were learned by, the preset applied.
    backbone_facts_ : BackboneFacts
        With a pretrained net, or features of one: what it is and what it was trained on.
    features_net_ : str
        What learned from its features, a key of `NETS`.
    backbone_ : Backbone
        With a pretrained net that is frozen: the net.
    examples_ : Examples
        In models of `fewlabels fit` and of comparisons: see `fewlabels.methods.examples`.
    source_ : dict
        In such models: arguments of `load_dataset` for what they were fitted on.
    """

    # While a method is fitted: logits of the labeled samples, each from a classifier that had not learned from it.
    _left_out: ClassVar[NDArray[np.floating] | None] = None
    # Whether its temperature was found by these too, in a fit of this process.
    _calibrated_left_out_: ClassVar[bool] = False
    # The hyper-parameters as its user had set them when it was fitted, by which a saved model is built again.
    _parameters_: ClassVar[dict[str, Any] | None] = None
    # Whether color images are learned from mirrored as well, so that predictions may be the mean over both.
    _learns_mirrored: ClassVar[bool] = True
    # Whether it learns from random views of images.
    _draws_views: ClassVar[bool] = True
    # Whether more images without labels can make it better: else nothing of its accuracy is the pool's.
    _learns_from_pool: ClassVar[bool] = True
    # Whether it pretrains on the whole pool, whatever belongs to a class: images of anything teach an encoder.
    _pretrains: ClassVar[bool] = False
    # Values that later settings had before there were any, for models that were saved without them.
    _SETTINGS_BEFORE: ClassVar[dict[str, Any]] = {}
    # Whether all that it trains is a classifier, which may begin with an encoder that has learned before.
    _goes_on: ClassVar[bool] = False
    # Whether there is something to guard against: no gradient of the others comes from the pool.
    _pool_can_harm: ClassVar[bool] = True
    # Whether its outputs hold how frequent the classes are among the labels, which can then be taken off.
    _holds_shares: ClassVar[bool] = True

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        unlabeled: Any = None,
        validation: tuple[Any, Any] | None = None,
        observer: Observer | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: float = EVERY,
    ) -> Self:
        """Learn from labeled and unlabeled samples.

        Parameters
        ----------
        X : array-like
            uint8 images or floats in [0, 1] of shape (n, H, W) or (n, H, W, C), or vectors (n, d).
        y : array-like of shape (n,)
            Labels; -1, None or NaN where missing.
        unlabeled : array-like, optional
            More samples without labels, of the same form; read a batch at a time, so it may lie on disk. scikit-learn's
            `cross_validate` and `GridSearchCV` cut it with the folds where it has as many rows as `X`: give them the
            pool as rows of `X` with -1 in `y`, and leave `scoring` at its default, as any other takes -1 for a class.
            So do `cross_val_predict` with a `method`, `CalibratedClassifierCV`, `VotingClassifier`,
            `StackingClassifier`, `BaggingClassifier`, `OneVsRestClassifier` and `OneVsOneClassifier`: give these no
            -1. The first takes the pool as `params={"unlabeled": pool}`, the second's `fit` as `unlabeled`.
        validation : tuple of (X, y), optional
            Labeled samples to measure and calibrate on, in place of a share of those in `X`.
        observer : callable, optional
            Is called with each progress event, a dict (see `fewlabels.training.monitor.Monitor`).
        checkpoint : str or Path, optional
            Folder that the training is saved in as it goes, for this call alone. Where it holds a training with the
            same settings and data, that one is continued, and ends as if it had never been stopped. Delete it when
            the model is saved.
        checkpoint_every : float
            Seconds between checkpoints; 0: after every step.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a setting or the data cannot be used; the message says what would do.
        Interrupted
            With `checkpoint`, when stopped by Ctrl-C or SIGTERM; what was reached is saved.
        """
        if y is None:
            raise InputError(
                f"{type(self).__name__}.fit requires y to be passed, but the target y is None; "
                "mark samples without a label by -1"
            )
        # Some sparse matrices are mappings, and are told of as scikit-learn does.
        if X is None or (isinstance(X, Mapping) and not issparse(X)):
            raise InputError(f"X is of the type {type(X).__name__}; expected an array of images or vectors")
        check_callable("observer", observer)
        # A net that is copied within `inference_mode` could never be trained.
        with gradients():
            worker = self._resolved()
            known = {name: value for name, value in vars(self).items() if name in _OF_FEATURES}
            try:
                given = read_given(self, X, y, unlabeled, validation)
                self._learn_from(given, worker, observer, checkpoint, checkpoint_every)
            except BaseException:
                # What was fitted before is as it was, and what was not is still not.
                for name in _OF_FEATURES:
                    self.__dict__.pop(name, None)
                if "network_" in vars(self):
                    self.__dict__.update(known)
                raise
        return self

    def _learn_from(
        self,
        given: Given,
        worker: Self,
        observer: Observer | None,
        checkpoint: str | Path | None,
        checkpoint_every: float,
    ) -> None:
        processes = current()
        shared = None if processes is None else _shared_rows(processes)
        checkpoints = None if checkpoint is None else _open(checkpoint, checkpoint_every, processes)
        with contextlib.nullcontext() if checkpoints is None else checkpoints.stoppable():
            try:
                learn(self, worker, given, observer, checkpoints, shared)
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                reason = (str(error) or "no more is given").splitlines()[0]
                raise InputError(f"memory ran out ({reason}); choose a smaller net, image_size or pool") from error
            finally:
                if shared is not None:
                    shared.release()

    def _forget(self) -> dict[str, Any]:
        """Undo an earlier fit, and return what it left: that says nothing about this one."""
        names = [name for name in vars(self) if name.endswith("_") and name not in _OF_FEATURES]
        return {name: self.__dict__.pop(name) for name in names}

    @property
    def moves(self) -> tuple[str, ...]:
        """Names of what the method changes from step to step, for checkpoints: attributes with an underscore."""
        return tuple(
            name
            for name in vars(self)
            # scikit-learn keeps what has been set of its own beside.
            if name.startswith("_") and not name.endswith("_") and not name.startswith(("_sklearn", "_metadata"))
        )

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, calibrated on the held-out samples.

        Returns
        -------
        ndarray of shape (n, n_classes)
            float64; columns in the order of `classes_`.
        """
        rows = rows_to_predict(self, X)
        logits = predict_logits(self.network_, rows, self._device(), flip=self.mirrors_)
        return softmax(logits.astype(np.float64) / self.temperature_, axis=1)  # type: ignore[no-any-return]

    def predict_set(self, X: Any, *, coverage: float = COVERAGE) -> NDArray[np.bool_]:
        """Return for each sample a set of classes that holds the true one with the probability asked for.

        The promise holds on average over draws of the held-out samples, for samples from where those came from
        (split conformal prediction), and says nothing of `unmeasured_classes_`. The fewer were held out, the larger
        the sets; with fewer than `fewlabels.training.conformal.needed_for(coverage)` each set holds all classes.

        Parameters
        ----------
        X : array-like
            Samples, as in training.
        coverage : float
            Share of the sets that hold the true class, in (0, 1).

        Returns
        -------
        ndarray of bool, shape (n, n_classes)
            Columns in the order of `classes_`; the most probable class is in every set.

        Raises
        ------
        InputError
            If the coverage is not in (0, 1), or the samples have another shape than those of the training.

        References
        ----------
        Sadinle, Lei & Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", 2019.
        """
        check_is_fitted(self)
        threshold = conformal_threshold(self.conformal_scores_, coverage)
        return conformal_sets(self.predict_proba(X), threshold)

    def with_weights(self, name: str) -> Self:
        """Return the fitted method with other weights of those that its training left.

        Parameters
        ----------
        name : str
            A key of `kept_weights_`: "last", "best-on-validation" or "average".

        Returns
        -------
        SemiSupervisedClassifier
            Shares everything else with this one, which stays as it is.

        Raises
        ------
        InputError
            If no weights of that name were kept.
        """
        check_is_fitted(self)
        return use_weights(self, name)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each sample, as it was given in `y`."""
        rows = rows_to_predict(self, X)
        guesses = self._guesses(rows, flip=self.mirrors_)
        predicted: NDArray[Any] = self.classes_[guesses]
        return predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on the samples that have a label.

        Parameters
        ----------
        X : array-like
            Samples, as in training.
        y : array-like of shape (n_samples,)
            Labels; -1, None or NaN where missing, as in `fit`: these samples do not count.
        sample_weight : array-like of shape (n_samples,), optional
            How much each counts.

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        InputError
            If no sample has a label.
        """
        check_is_fitted(self)
        labels = column_or_1d(as_labels(y))
        rows = labeled_rows(labels, self.classes_)
        if not len(rows):
            raise InputError("no sample has a label to measure by: every y is -1, None or NaN")
        check_consistent_length(X, labels, sample_weight)
        weights = None if sample_weight is None else np.asarray(sample_weight)[rows]
        # Of their own type: scikit-learn takes numbers in an array of objects for no classes.
        truth = np.array(labels[rows].tolist())
        return float(accuracy_score(truth, self.predict(X)[rows], sample_weight=weights))

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the encoder's features, (n, n_features_out)."""
        rows = rows_to_predict(self, X)
        return predict_logits(self.network_, rows, self._device(), features=True).astype(np.float64)

    def describe(self) -> str:
        """Return the architecture as text: the layers and how many parameters they have."""
        check_is_fitted(self)
        return f"{self.network_}\n{self.n_parameters_:,} parameters"

    @property
    def n_parameters_(self) -> int:
        """Number of parameters of the classifier."""
        check_is_fitted(self)
        return sum(parameter.numel() for parameter in self.network_.parameters())

    @property
    def _n_features_out(self) -> int:
        return int(self.network_.encoder.embedding_size)

    def save(self, folder: str | Path, *, class_names: Sequence[str] | None = None) -> Path:
        """Write the model to a folder: `model.safetensors`, `config.json` and a model card, `README.md`.

        Parameters
        ----------
        folder : str or Path
            Is made, or replaced if it holds a model.
        class_names : sequence of str, optional
            Names of the classes, in the order of `classes_`, kept for whoever predicts with the model.
        """
        from fewlabels.methods.saved import save_model

        return save_model(self, Path(folder), class_names)

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the named loss terms of one batch, each already weighted."""
        raise NotImplementedError

    def _learn(self, session: Session) -> Any:
        """Train and return the classifier; methods with stages write them here."""
        raise NotImplementedError

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        """Return the classifier with weights that are still to be read or learned."""
        return build_classifier(self.net, sample_shape, classes, dropout=self.dropout)

    def _new_guard(self, session: Session) -> Any:
        """Return what the method is guarded by, if it is: it is asked before the method learns."""
        from fewlabels.methods.guard import Guard

        guard = Guard(session)
        if guard.can_compare and not self._begins_with_labels:
            session.monitor.stages_before += 1
            session.monitor.stage_count = self._stage_count
            guard.train(self._length(session) if session.budget is None else {"budget_share": _GUARD_SHARE})
        return guard

    def _hasty_guard(self, session: Session) -> Any:
        """Return a guard that is to hold the pool back, None where the budget is long enough for it to pay."""
        from fewlabels.methods.guard import Guard

        guard = Guard(session)
        return guard if guard.is_hasty(1.0 if self._begins_with_labels else 1 - _GUARD_SHARE) else None

    def _hold_back(self, session: Session, guard: Any) -> Any:
        """Return what the labels alone teach, and keep what the method would tell of itself without a pool."""
        del session
        network = guard.hold_back()
        self.guard_ = guard.record
        return network

    @property
    def _stage_count(self) -> int:
        """How many stages it will have, as far as its settings tell."""
        return 1

    @property
    def _begins_with_labels(self) -> bool:
        """Whether a finished net of the labels alone comes first, which is told to `Session.learned_alone`."""
        return False

    def _fill_gaps(self, samples: Any, indices: NDArray[np.int64]) -> NDArray[Any]:
        filled = indices.copy()
        missing = np.flatnonzero(indices < 0)
        if len(missing):
            rows = Rows([samples[missing]])
            filled[missing] = self._guesses(rows, flip=self.mirrors_)
        labels: NDArray[Any] = self.classes_[filled]
        return labels

    @property
    def _backbone_place(self) -> Literal["", "network", "beside", "reference"]:
        """Where a fitted method has its pretrained net, if any: in its own net, beside that, or where it came from.

        The last where it was fitted on features of images, which had been made before.
        """
        if not hasattr(self, "backbone_facts_"):
            return ""
        if len(self.sample_shape_) == 1:
            return "reference"
        return "network" if isinstance(self.network_, PretrainedClassifier) else "beside"

    def _backbone(self) -> Backbone:
        """Return the frozen backbone, from where it was taken if the model was fitted on features."""
        if not hasattr(self, "backbone_"):
            self.backbone_ = open_backbone(self.backbone_facts_).to(self._device())
        return self.backbone_

    @property
    def image_shape_(self) -> tuple[int, ...] | None:
        """Height, width and channels of the images that it classifies, or None where it reads vectors alone."""
        check_is_fitted(self)
        shape: tuple[int, ...] = self.sample_shape_
        if len(shape) == 3:
            return shape
        facts = getattr(self, "backbone_facts_", None)
        if facts is None or facts.size is None:
            return None
        # The net resizes what it is given, so that it is to be given what it learned from.
        side = (getattr(self, "source_", None) or {}).get("image_size") or facts.read_at or facts.size
        return (side, side, len(facts.mean))

    def _device(self) -> torch.device:
        return self.network_.mean.device

    def _guesses(self, rows: Rows, *, flip: bool) -> NDArray[np.int64]:
        chunks = output_chunks(self.network_, rows, self._device(), flip=flip)
        return np.concatenate([chunk.argmax(1) for chunk in chunks])


def _open(folder: str | Path, every: float, processes: Processes | None) -> Checkpoints:
    if processes is None:
        return Checkpoints(folder, every=every)
    from fewlabels.training.shared_checkpoints import SharedCheckpoints

    return SharedCheckpoints(folder, processes, every=every)


def _shared_rows(processes: Processes) -> SharedRows:
    from fewlabels.training.shares import SharedRows

    return SharedRows(processes)
