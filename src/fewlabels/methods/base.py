"""The contract of every method: a scikit-learn classifier whose fields are its hyper-parameters."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor, nn

from fewlabels.data.rows import FeatureRows
from fewlabels.methods.embedding import features_of
from fewlabels.methods.identity import conditions, description
from fewlabels.methods.prediction import output_chunks, predict_logits
from fewlabels.methods.ranges import check_above_zero, check_kinds, check_not_below_zero, check_whole, check_within
from fewlabels.methods.samples import is_images, read_features, read_images, read_vectors
from fewlabels.methods.session import Session, TrainingSet, looked_at
from fewlabels.methods.targets import Targets, held_out_rows, read_targets
from fewlabels.methods.weight_sets import finish_weights, use_weights
from fewlabels.nets import Backbone, Classifier, build_classifier, is_backbone, load_backbone, open_backbone
from fewlabels.nets.backbone import BackboneFacts, PretrainedClassifier
from fewlabels.storage.errors import InputError, nearest
from fewlabels.training.batches import Batch, Rows
from fewlabels.training.budget import read_budget
from fewlabels.training.checkpoint import EVERY, Checkpoints
from fewlabels.training.conformal import conformal_sets, conformal_threshold
from fewlabels.training.device import choose_device, deterministic_algorithms
from fewlabels.training.kept import AVERAGE, BEST, LAST
from fewlabels.training.memory import ran_out_of_memory, reused_memory
from fewlabels.training.monitor import Monitor, Observer, both
from fewlabels.training.processes import Processes, current
from fewlabels.training.progress import ProgressBar
from fewlabels.training.recipe import Recipe, choose_precision

if TYPE_CHECKING:
    from fewlabels.training.shares import SharedRows

# What the default recipe was chosen for: 64,000 gradient images of 32 px, under a minute on two cores.
_DEFAULT_STEPS = 500
# Images of a few pixels, such as the embedded digits, and vectors are learned in fewer.
_DEFAULT_SMALL_STEPS = 200
_SMALL_SIDE = 16
# How long to train, and how long a first step: a preset's own hold only where no length is asked for.
_LENGTHS = ("steps", "epochs", "budget", "pretraining_steps", "pretraining_epochs")
# What replaces defaults where a pretrained net is trained further: small steps, small batches.
FINE_TUNING: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "batch_size": 32,
    "view": "weak",
}
# Of a budget, for each of the two trainings that assess a pool.
_POOL_SHARE = 0.1
# Of a budget, for the net to fall back on.
_GUARD_SHARE = 0.2
# From here on the papers' own settings are in their element.
_LONG_STEPS = 100_000


@dataclass(kw_only=True, eq=False, repr=False)
class SemiSupervisedClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
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
        "python:FILE_OR_MODULE:FUNCTION", or a module that maps images in [0, 1] to features (see
        `fewlabels.nets.pretrained.load_backbone`).
    freeze : bool
        Leave a pretrained net as it is: images go through it once, before anything is learned, and the method learns
        from their features as from any vectors. False: it is trained too, gently.
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
        `steps`, `epochs` and `budget`; with none, 500 steps (200 for vectors and for images below 16 pixels).
    batch_size : int
        Labeled samples a step, at least 2.
    optimizer : {"muon", "sgd", "adam"}
        See `fewlabels.training.recipe.Recipe`, also for the next six.
    learning_rate : float
        Peak rate, > 0.
    momentum : float
        In [0, 1).
    weight_decay : float
        At least 0.
    schedule : {"triangle", "constant"}
        Course of the rate.
    warmup : float
        Share of the steps in which a triangle rises, in [0, 1).
    ema_decay : float
        Of the average of the weights that training ends with, in [0, 1); 0 for none.
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
        a net that learned from the labels alone, in as many steps or a fifth of the budget, is the result if it
        is better on the held-out samples by more than chance. `guard_` tells what happened.
    final_weights : {"auto", "last", "best-on-validation", "average"}
        Which of the weights that the last training leaves the model predicts with: those of its last step, those of
        the look on the way at which the most held-out samples were classified rightly, or their moving average.
        "auto" takes the average where one is kept (`ema_decay`, and `teacher_decay` but for autoencoders), else the
        last, so that nothing is chosen by what held-out samples say. All are kept in `kept_weights_`.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps".
    precision : {"auto", "float32", "bfloat16"}
        Of training; "auto" takes bfloat16 where the hardware has it. Vectors are always float32.
    deterministic : bool
        On a GPU, use only operations that give the same bits each time, at some cost; PyTorch refuses those that have
        no such form. On the CPU they all do.
    random_state : int, RandomState instance or None
        An integer makes the fit repeatable.
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
        Hyper-parameters with the preset applied.
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

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    # While a method is fitted: logits of the labeled samples, each from a classifier that had not learned from it.
    _left_out: ClassVar[NDArray[np.floating] | None] = None
    # Whether color images are learned from mirrored as well, so that predictions may be the mean over both.
    _learns_mirrored: ClassVar[bool] = True
    # Whether its outputs hold how frequent the classes are among the labels, which can then be taken off.
    _holds_shares: ClassVar[bool] = True

    preset: str = "default"
    net: Any = "auto"
    freeze: bool = True
    feature_views: int = 1
    backbone_rate: float = 0.1
    layer_decay: float = 0.75
    steps: int | None = None
    epochs: float | None = None
    budget: str | float | None = None
    batch_size: int = 128
    optimizer: str = "muon"
    learning_rate: float = 0.24
    momentum: float = 0.6
    weight_decay: float = 0.0
    schedule: str = "triangle"
    warmup: float = 0.2
    ema_decay: float = 0.0
    label_smoothing: float = 0.1
    dropout: float = 0.0
    view: str = "medium"
    flip: bool | str = "auto"
    shift: float = 0.125
    cutout: float = 0.25
    color: float = 0.2
    operations: int = 2
    noise: float = 0.1
    feature_dropout: float = 0.0
    feature_mixup: float = 0.0
    validation_fraction: float = 0.1
    labeled_in_pool: bool = False
    assess_pool: bool = False
    logit_adjustment: float = 0.0
    guard: bool = False
    final_weights: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    deterministic: bool = False
    random_state: Any = None
    weights_seed: int | None = None
    order_seed: int | None = None
    verbose: bool = False

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
            More samples without labels, of the same form; read a batch at a time, so it may lie on disk.
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
        worker = self._resolved()
        images = is_images(X)
        stored_views = 1
        # Where X has names, they are read with it.
        self.__dict__.pop("feature_names_in_", None)
        if images:
            samples: Any = read_images(X)
            self.n_features_in_ = int(np.prod(samples.shape[1:]))
        elif isinstance(X, FeatureRows):
            samples, stored_views = X[:], X.views
            self.n_features_in_ = X.feature_size
        else:
            samples = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)
        y = column_or_1d(y, warn=True, dtype=None) if not isinstance(y, list) else np.asarray(y)
        if len(y) != len(samples):
            raise InputError(f"X has {len(samples)} samples but y has {len(y)}; give one label each (-1 for none)")
        targets = read_targets(y)
        if len(targets.classes) < 2:
            raise InputError(
                f"only one class ({targets.classes[0]!r}) among the labels; a classifier needs at least 2 classes"
            )
        shape = tuple(samples.shape[1:]) if images else (self.n_features_in_,)
        more = None
        if unlabeled is not None and len(unlabeled):
            more = self._read_more(unlabeled, shape, "unlabeled", stored_views)
        values = None if validation is None else self._read_more(validation[0], shape, "validation", stored_views)
        if validation is not None and len(validation[0]) != len(validation[1]):
            raise InputError(
                f"validation has {len(validation[0])} samples and {len(validation[1])} labels; give one label each"
            )
        given = _Given(
            samples,
            targets,
            more,
            values,
            None if validation is None else validation[1],
            X if isinstance(X, FeatureRows) else None,
        )
        processes = current()
        shared = None if processes is None else _shared_rows(processes)
        checkpoints = None if checkpoint is None else _open(checkpoint, checkpoint_every, processes)
        with contextlib.nullcontext() if checkpoints is None else checkpoints.stoppable():
            try:
                self._fit(worker, given, observer, checkpoints, shared)
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                reason = (str(error) or "no more is given").splitlines()[0]
                raise InputError(f"memory ran out ({reason}); choose a smaller net, image_size or pool") from error
            finally:
                if shared is not None:
                    shared.release()
        return self

    def _fit(
        self,
        worker: Self,
        given: _Given,
        observer: Observer | None,
        checkpoints: Checkpoints | None,
        shared: SharedRows | None,
    ) -> None:
        self._forget()
        samples, targets, more, values = given.samples, given.targets, given.more, given.validation
        images = len(samples.shape) > 2
        shape = tuple(samples.shape[1:]) if images else (self.n_features_in_,)
        stored_views = 1 if given.features is None else given.features.views
        seed = self._seed(checkpoints)
        device = choose_device(worker.device)
        processes = None if shared is None else shared.processes
        if processes is not None:
            # Where nothing fixes it, each has drawn another.
            seed, device = processes.told(seed), processes.device(device)
        frozen = images and worker.freeze and is_backbone(worker.net)
        if frozen:
            stored_views = int(worker.feature_views)
            samples, more, values = worker._embedded([samples, more, values], device, seed, shared)
            images = False
        if (frozen or given.features is not None) and worker.net == "auto":
            worker.net = "linear"
        pool = [samples[np.flatnonzero(targets.indices < 0)]] if (targets.indices < 0).any() else []
        if more is not None:
            pool.append(more)
        speaks = processes is None or processes.is_first
        monitor = Monitor(observer if speaks else None)
        bar = ProgressBar(type(self).__name__) if self.verbose and speaks else None
        if bar is not None:
            monitor.observer = both(bar, observer)
        labeled = targets.labeled
        if values is None:
            draws = np.random.default_rng([seed, 0])
            held_out = held_out_rows(targets.indices, worker.validation_fraction, draws)
            part = _training_set(samples, targets.indices, held_out, device)
        else:
            held_out = np.empty(0, np.int64)
            indices = read_targets(given.validation_labels, targets.classes).indices
            part = _training_set(values, indices, np.flatnonzero(indices >= 0), device)
        learned = np.setdiff1d(labeled, held_out)
        given_pool = sum(len(source) for source in pool)
        if worker.labeled_in_pool and given_pool:
            pool.append(samples[learned])
        session = Session(
            worker,
            labeled=_training_set(samples, targets.indices, learned, device),
            validation=part,
            pool=Rows(pool),
            classes=len(targets.classes),
            seed=seed,
            recipe=worker._recipe(device, vectors=not images),
            device=device,
            monitor=monitor,
            given_pool=given_pool,
            to_fill=Rows(pool[:1] if (targets.indices < 0).any() else []),
            stored_views=stored_views,
            checkpoints=checkpoints,
            weights_seed=None if self.weights_seed is None else _drawn_seed(self.weights_seed),
            order_seed=None if self.order_seed is None else _drawn_seed(self.order_seed),
            shared=shared,
        )
        described = None if checkpoints is None and processes is None else description(self, session)
        if processes is not None:
            processes.agreed(json.dumps(described, sort_keys=True))
        if checkpoints is not None and described is not None:
            checkpoints.describe(described, conditions(device, 1 if processes is None else processes.count))
        # Layers draw their initial weights from the global generator; the caller's is left as it was.
        rng = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with reused_memory(), rng, deterministic_algorithms(worker.deterministic), bar or _Quiet():
            if worker.assess_pool and len(session.pool):
                worker._assess_pool(session)
            guard = worker._new_guard(session) if worker.guard and len(session.pool) else None
            network = worker._learn(session)
            if guard is not None:
                network = guard.accept(network)
                worker.guard_ = guard.record
        worker._finish(session, network, targets.classes, held_out)
        if frozen:
            worker.sample_shape_ = shape
        if frozen or given.features is not None:
            worker.features_net_ = worker.net
        if given.features is not None and given.features.backbone is not None:
            worker.backbone_facts_ = BackboneFacts.from_dict(given.features.backbone)
        if "transduction_" not in vars(worker):
            worker.transduction_ = worker._fill_gaps(samples, targets.indices)
        self.__dict__.update({name: value for name, value in vars(worker).items() if name.endswith("_")})
        self.fit_seconds_ = monitor.seconds
        if checkpoints is not None:
            checkpoints.complete()

    def _forget(self) -> None:
        """Undo an earlier fit: what it left says nothing about this one."""
        for name in list(vars(self)):
            if name.endswith("_") and name not in ("n_features_in_", "feature_names_in_"):
                delattr(self, name)

    def _seed(self, checkpoints: Checkpoints | None) -> int:
        """Return what all randomness follows from: where nothing fixes it, that of the training to continue."""
        kept = None if checkpoints is None else checkpoints.training
        if self.random_state is None and kept is not None and isinstance(kept.get("seed"), int):
            return int(kept["seed"])
        return _drawn_seed(self.random_state)

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
        rows = self._read_for_prediction(X)
        logits = predict_logits(self.network_, rows, self._device(), flip=self.mirrors_)
        return softmax(logits.astype(np.float64) / self.temperature_, axis=1)  # type: ignore[no-any-return]

    def predict_set(self, X: Any, *, coverage: float = 0.9) -> NDArray[np.bool_]:
        """Return for each sample a set of classes that holds the true one with the probability asked for.

        The promise holds on average over draws of the held-out samples, for samples from where those came from
        (split conformal prediction). The fewer were held out, the larger the sets; with fewer than
        `fewlabels.training.conformal.needed_for(coverage)` each set holds all classes.

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
        rows = self._read_for_prediction(X)
        guesses = self._guesses(rows, flip=self.mirrors_)
        return self.classes_[guesses]

    def check_settings(self) -> Self:
        """Check the hyper-parameters, as `fit` does first, without data.

        Raises
        ------
        InputError
            If a setting cannot be used.
        """
        worker = self._resolved()
        device = choose_device(worker.device)
        worker._recipe(device, vectors=False)
        return self

    def resolved_settings(self) -> dict[str, Any]:
        """Return the hyper-parameters that are plain values, as `fit` takes them: the preset applied.

        Examples
        --------
        >>> from fewlabels.methods import Supervised
        >>> Supervised(preset="notebook").resolved_settings()["net"]
        'notebook'
        """
        return _plain_settings(self._resolved())

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the encoder's features, (n, n_features_out)."""
        rows = self._read_for_prediction(X)
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
        return int(self.network_.encoder.feature_size)

    def save(self, folder: str | Path, *, class_names: list[str] | None = None) -> Path:
        """Write the model to a folder: `model.safetensors`, `config.json` and a model card, `README.md`.

        Parameters
        ----------
        folder : str or Path
            Is made, or replaced if it holds a model.
        class_names : list of str, optional
            Names of the classes, kept for whoever predicts with the model.
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

    def _length(self, session: Session) -> dict[str, Any]:
        """Return the length of the classifier's training as arguments of `Session.train`."""
        if self.steps is None and self.epochs is None and self.budget is None:
            small = session.is_vectors or max(session.sample_shape[:2]) < _SMALL_SIDE or is_backbone(self.net)
            return {"steps": _DEFAULT_SMALL_STEPS if small else _DEFAULT_STEPS}
        return {"steps": self.steps, "epochs": self.epochs}

    def _new_guard(self, session: Session) -> Any:
        from fewlabels.methods.guard import Guard

        session.monitor.stages_before += 1
        length = self._length(session) if session.budget is None else {"budget_share": _GUARD_SHARE}
        return Guard(session, length)

    def _assess_pool(self, session: Session) -> None:
        from fewlabels.methods.pool_quality import assess_pool

        session.monitor.stages_before += 2
        length: dict[str, Any] = {"budget_share": _POOL_SHARE}
        if session.budget is None:
            # On a half of the labels each, half as long.
            own = self._length(session)
            half = max(1, own["steps"] // 2) if own.get("steps") else None
            length = {"steps": half, "epochs": own["epochs"] if own.get("epochs") else None}
        session.quality = assess_pool(session, length)
        self.pool_inside_share_ = session.quality.inside_share
        self.pool_prior_ = session.quality.prior
        self.pool_belongs_ = session.quality.belongs[: session.given_pool]

    def _resolved(self) -> Self:
        presets = {"default": {}, "auto": {}, **self.PRESETS}
        if (self.steps or 0) < _LONG_STEPS:
            presets["auto"] = self.PRESETS.get("short", {})
        if self.preset not in presets:
            raise InputError(
                f"unknown preset {self.preset!r}{nearest(str(self.preset), presets)} (known: {', '.join(presets)})"
            )
        worker: Self = clone(self)
        defaults = {field.name: field.default for field in fields(self)}
        chosen = {name: value for name, value in presets[self.preset].items() if getattr(self, name) == defaults[name]}
        lengths = [name for name in _LENGTHS[:3] if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise InputError(f"{' and '.join(lengths)} are given; give one of steps, epochs and budget")
        if lengths:
            # A length that is asked for comes before the preset's own, whatever unit that is in.
            chosen = {name: value for name, value in chosen.items() if name not in _LENGTHS}
        if is_backbone(self.net) and not self.freeze:
            gentle = {name: value for name, value in FINE_TUNING.items() if getattr(self, name) == defaults[name]}
            chosen = {**gentle, **chosen}
        worker.set_params(**chosen)
        worker._check_settings()
        return worker

    def _check_settings(self) -> None:
        check_kinds(self)
        if self.steps is not None and (self.steps != int(self.steps) or self.steps < 1):
            raise InputError(f"steps={self.steps} is not a whole number of at least 1")
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise InputError(f"epochs={self.epochs} is not above 0")
        if self.budget is not None:
            read_budget(self.budget)
        check_whole(self, 2, "batch_size")
        check_whole(self, 1, "feature_views")
        check_not_below_zero(self, "logit_adjustment", "weight_decay", "shift", "cutout", "color", "noise")
        check_above_zero(self, "backbone_rate")
        check_within(self, "(0, 1]", "layer_decay")
        if self.view not in ("strong", "medium", "weak", "plain"):
            raise InputError(f"unknown view {self.view!r} (known: strong, medium, weak, plain)")
        if self.operations != int(self.operations) or not 0 <= self.operations <= 10:
            raise InputError(f"operations={self.operations} is not a whole number from 0 to 10")
        if self.final_weights not in ("auto", LAST, BEST, AVERAGE):
            raise InputError(f"unknown final_weights {self.final_weights!r} (known: auto, {LAST}, {BEST}, {AVERAGE})")
        if self.final_weights == AVERAGE and not (self.ema_decay > 0 or getattr(self, "teacher_decay", 0) > 0):
            raise InputError(f"final_weights={AVERAGE!r} needs an average; give ema_decay, such as 0.99")
        for name in ("weights_seed", "order_seed"):
            value = getattr(self, name)
            if value is not None and (value != int(value) or value < 0):
                raise InputError(f"{name}={value!r} is not a whole number of at least 0")
        if self.flip not in (True, False, "auto"):
            raise InputError(f"flip={self.flip!r} is none of True, False and 'auto'")
        check_within(
            self, "[0, 1)", "label_smoothing", "dropout", "ema_decay", "momentum", "warmup", "validation_fraction"
        )
        check_within(self, "[0, 1)", "feature_dropout", "feature_mixup")

    def _recipe(self, device: torch.device, *, vectors: bool) -> Recipe:
        precision = choose_precision(self.precision, device)
        return Recipe(
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup=self.warmup,
            ema_decay=self.ema_decay,
            precision=torch.float32 if vectors else precision,
        )

    def _finish(self, session: Session, network: Any, classes: NDArray[Any], held_out: NDArray[np.int64]) -> None:
        if session.is_vectors:
            # In double precision a sample's prediction does not depend on which others are in its batch.
            network = network.double()
            if hasattr(self, "autoencoder_"):
                self.autoencoder_.double()
        self.network_ = network.eval()
        if isinstance(network, PretrainedClassifier):
            assert isinstance(network.encoder, Backbone)
            self.backbone_facts_ = network.encoder.facts
        self.classes_ = classes
        self.sample_shape_ = session.sample_shape
        self.mirrors_ = session.flip
        self.history_ = session.monitor.history
        self.notes_ = session.monitor.notes
        rows = looked_at(session.given_pool)
        self.pool_looks_ = [{**look, "rows": rows} for look in session.monitor.pool_looks]
        self.gradient_images_ = session.monitor.gradient_images
        self.stage_steps_ = session.monitor.stage_steps
        self.n_iter_ = getattr(self, "n_iter_", sum(self.stage_steps_.values()))
        self.settings_ = _plain_settings(self)
        if hasattr(self, "backbone_facts_"):
            self.settings_["net"] = self.backbone_facts_.net
        self.validation_rows_ = held_out
        self.n_validation_ = len(session.validation)
        self.n_labeled_ = len(session.labeled)
        self.n_pool_ = session.given_pool
        finish_weights(self, session, network)
        self.__dict__.pop("_left_out", None)

    def _fill_gaps(self, samples: Any, indices: NDArray[np.int64]) -> NDArray[Any]:
        filled = indices.copy()
        missing = np.flatnonzero(indices < 0)
        if len(missing):
            rows = Rows([samples[missing]])
            filled[missing] = self._guesses(rows, flip=False)
        return self.classes_[filled]

    def _embedded(self, parts: list[Any], device: torch.device, seed: int, shared: SharedRows | None) -> list[Any]:
        """Return the features of images, and learn from now on from these as from vectors."""
        self.backbone_ = load_backbone(self.net).to(device)
        if shared is not None:
            shared.divide(self.backbone_)
        self.backbone_facts_ = self.backbone_.facts
        self.net = "auto"
        views = int(self.feature_views)
        flip = parts[0].shape[3] == 3 if self.flip == "auto" else bool(self.flip)
        return [
            None
            if images is None
            else features_of(self.backbone_, images, device, views=views, flip=flip, seed=[seed, number])
            for number, images in enumerate(parts)
        ]

    def _backbone(self) -> Backbone:
        """Return the frozen backbone, from where it was taken if the model was fitted on features."""
        if not hasattr(self, "backbone_"):
            self.backbone_ = open_backbone(self.backbone_facts_).to(self._device())
        return self.backbone_

    @property
    def image_shape_(self) -> tuple[int, ...] | None:
        """Height, width and channels of the images that it classifies, or None where it reads vectors alone."""
        check_is_fitted(self)
        if len(self.sample_shape_) == 3:
            return self.sample_shape_
        facts = getattr(self, "backbone_facts_", None)
        if facts is None or facts.size is None:
            return None
        # The net resizes what it is given, so that it is to be given what it learned from.
        side = (getattr(self, "source_", None) or {}).get("image_size") or facts.read_at or facts.size
        return (side, side, 3)

    def _device(self) -> torch.device:
        return self.network_.mean.device  # type: ignore[no-any-return]

    def _guesses(self, rows: Rows, *, flip: bool) -> NDArray[np.int64]:
        chunks = output_chunks(self.network_, rows, self._device(), flip=flip)
        return np.concatenate([chunk.argmax(1) for chunk in chunks])

    def _read_for_prediction(self, X: Any) -> Rows:
        check_is_fitted(self)
        if len(self.sample_shape_) == 1:
            if isinstance(X, FeatureRows):
                return Rows([read_features(X, X.views, self.sample_shape_[0])])
            if hasattr(self, "backbone_facts_") and is_images(X):
                return Rows([features_of(self._backbone(), read_images(X), self._device())])
            return Rows([validate_data(self, X, reset=False, dtype=np.float32)])
        images = self._read_more(X, self.sample_shape_, "X")
        if hasattr(self, "backbone_facts_") and not isinstance(self.network_, PretrainedClassifier):
            return Rows([features_of(self._backbone(), images, self._device())])
        return Rows([images])

    def _read_more(self, X: Any, sample_shape: tuple[int, ...], what: str, stored_views: int = 1) -> Any:
        if len(sample_shape) == 1:
            if isinstance(X, FeatureRows):
                return read_features(X, stored_views, sample_shape[0])
            vectors = read_vectors(X, sample_shape[0], what)
            if hasattr(self, "feature_names_in_") and hasattr(X, "columns"):
                validate_data(self, X, reset=False, skip_check_array=True)
            return vectors
        images = read_images(X, what=what)
        if tuple(images.shape[1:]) != tuple(sample_shape):
            raise InputError(
                f"{what} has images of shape {tuple(images.shape[1:])}; expected {tuple(sample_shape)} as in training"
            )
        return images


@dataclass(frozen=True)
class _Given:
    """What a fit is given, read and checked."""

    samples: Any
    targets: Targets
    more: Any
    validation: Any
    validation_labels: Any
    features: FeatureRows | None


def _open(folder: str | Path, every: float, processes: Processes | None) -> Checkpoints:
    if processes is None:
        return Checkpoints(folder, every=every)
    from fewlabels.training.shared_checkpoints import SharedCheckpoints

    return SharedCheckpoints(folder, processes, every=every)


def _shared_rows(processes: Processes) -> SharedRows:
    from fewlabels.training.shares import SharedRows

    return SharedRows(processes)


def _plain_settings(method: SemiSupervisedClassifier) -> dict[str, Any]:
    return {name: value for name, value in method.get_params().items() if isinstance(value, str | int | float | None)}


def _drawn_seed(random_state: Any) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))


def _training_set(
    samples: Any, indices: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device
) -> TrainingSet:
    values = torch.from_numpy(np.array(samples[rows]))
    return TrainingSet(values.to(device), torch.from_numpy(indices[rows]).to(device), rows)


class _Quiet:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
