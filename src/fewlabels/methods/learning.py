"""One fit: from what was given to a trained method."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fewlabels.methods.embedding import features_of
from fewlabels.methods.given import Given
from fewlabels.methods.identity import conditions, description
from fewlabels.methods.session import Session
from fewlabels.methods.targets import held_out_rows
from fewlabels.methods.training_set import TrainingSet, looked_at
from fewlabels.methods.weight_sets import finish_weights
from fewlabels.nets import Backbone, Classifier, is_backbone, load_backbone
from fewlabels.nets.backbone import BackboneFacts, PretrainedClassifier
from fewlabels.nets.pretrained import name_from_anywhere
from fewlabels.nets.registry import resolve_net
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Rows
from fewlabels.training.checkpoint import Checkpoints
from fewlabels.training.conformal import COVERAGE, needed_for
from fewlabels.training.device import choose_device, deterministic_algorithms, single_precision
from fewlabels.training.memory import reused_memory
from fewlabels.training.monitor import Monitor, Observer, both
from fewlabels.training.progress import ProgressBar

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier
    from fewlabels.training.shares import SharedRows

# Of a budget, for each of the two trainings that assess a pool.
_POOL_SHARE = 0.1
# Of the labeled samples: classes that hold fewer and of which nothing is held out move held-out figures by less than
# these are sure to.
_MANY_UNMEASURED = 0.1


@single_precision()
def learn(
    method: SemiSupervisedClassifier,
    worker: SemiSupervisedClassifier,
    given: Given,
    observer: Observer | None,
    checkpoints: Checkpoints | None,
    shared: SharedRows | None,
) -> None:
    """Train a method, and leave in it what was learned.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        As its user has set it.
    worker : SemiSupervisedClassifier
        A copy with the preset applied, which learns and may change.
    given : Given
        The samples.
    observer, checkpoints, shared : optional
        See `Monitor` and `Session`.
    """
    processes = None if shared is None else shared.processes
    speaks = processes is None or processes.is_first
    # From here on time counts: a pretrained net's pass over the images is part of it.
    monitor = Monitor(observer if speaks else None)
    seed, device = _seed(method, checkpoints), choose_device(worker.device)
    if processes is not None:
        # Where nothing fixes it, each has drawn another.
        seed, device = processes.told(seed), processes.device(device)
    if given.are_images and worker.freeze and is_backbone(worker.net):
        given = _embedded(worker, given, device, seed, shared)
    elif not given.are_images and is_backbone(worker.net):
        _leave_net(worker, given)
    if given.are_features and worker.net == "auto":
        worker.net = "linear"
    bar = ProgressBar(type(method).__name__) if method.verbose and speaks else None
    if bar is not None:
        monitor.observer = both(bar, observer)
    session = _open_session(worker, given, seed, device, monitor, checkpoints, shared)
    _note_what_is_odd(worker, given, session)
    described = None if checkpoints is None and processes is None else description(method, session)
    if processes is not None:
        processes.agreed(json.dumps(described, sort_keys=True))
    if checkpoints is not None and described is not None:
        count = 1 if processes is None else processes.count
        checkpoints.describe(described, conditions(device, session.recipe.precision, count))
    # Until here an earlier fit stays as it was, and where a net is refused, before it takes a step, it does too.
    before = method._forget()
    # Layers draw their initial weights from the global generator; the caller's is left as it was.
    rng = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with reused_memory(), rng, deterministic_algorithms(worker.deterministic), bar or contextlib.nullcontext():
        try:
            network = _train(worker, session)
        except InputError:
            if not monitor.events:
                method.__dict__.update(before)
            raise
    _finish(worker, session, network, given)
    method.__dict__.update({name: value for name, value in vars(worker).items() if name.endswith("_")})
    # Whoever sets others afterwards has not learned by them.
    method._parameters_ = method.get_params(deep=False)  # type: ignore[misc]
    method.fit_seconds_ = monitor.seconds
    if checkpoints is not None:
        checkpoints.complete()


def _note_what_is_odd(worker: SemiSupervisedClassifier, given: Given, session: Session) -> None:
    """Tell what of the samples will not be learned from, or measured on, as it is meant."""
    monitor = session.monitor
    unmeasured = _unmeasured_classes(session)
    many = np.isin(given.targets.indices[given.targets.labeled], unmeasured).mean() >= _MANY_UNMEASURED
    # Of fewer held-out samples nobody expects much: sets promise nothing, and intervals are wide.
    if many and len(session.validation) >= needed_for(COVERAGE):
        lacking = f"{len(unmeasured)} of the {session.classes} classes"
        monitor.note(
            f"no labeled sample of {lacking} is held out, as they have too few: what is measured on held-out samples, "
            "and what prediction sets promise, is of the others; more labels of these would do"
            if given.validation is None
            else f"validation has no sample of {lacking}: what is measured on it, and what prediction sets promise, is "
            "of the others"
        )
    for name in given.elsewhere:
        instead = (
            "give the pool as rows of X with the label -1"
            if name == "unlabeled"
            else "leave it away, or give it as that step leaves it"
        )
        monitor.note(
            f"{name} lies far from X, or is spread otherwise, as if it were in other units; what an earlier step of a "
            f"Pipeline does to X it does not do to {name}: {instead}"
        )
    if worker._draws_views and (brightest := given.dark_up_to) is not None:
        monitor.note(
            f"no pixel of the images is brighter than {brightest} of 255, where views that have gray in them "
            "are far from all of them, and little is learned; bring the images to the whole range"
        )
    if given.blurred:
        which, more = given.blurred[0], len(given.blurred) - 1
        hold = f"and {more} other{'s' if more > 1 else ''} hold" if more else "holds"
        monitor.note(
            f"column {which} of X {hold} values that differ by too little for their size to be told apart as "
            "float32; subtract their mean first, as scikit-learn's StandardScaler does"
        )


def _leave_net(worker: SemiSupervisedClassifier, given: Given) -> None:
    """Refuse a pretrained net for what is no image, but for features that it has made itself, which need it no more."""
    if not given.are_features:
        resolve_net(worker.net, given.shape)
    elif given.backbone is not None:
        made_by = name_from_anywhere(given.backbone["net"])
        if isinstance(worker.net, str) and name_from_anywhere(worker.net) != made_by:
            raise InputError(f"these are features of {made_by}; leave net={worker.net!r} away")
        worker.net = "auto"
        worker.backbone_facts_ = BackboneFacts.from_dict(given.backbone)


def _seed(method: SemiSupervisedClassifier, checkpoints: Checkpoints | None) -> int:
    """Return what all randomness follows from: where no number fixes it, that of the training to continue."""
    kept = None if checkpoints is None else checkpoints.training
    # A generator has moved on since the training began.
    drawn = method.random_state is None or isinstance(method.random_state, np.random.RandomState)
    if drawn and kept is not None and isinstance(kept.get("seed"), int):
        return int(kept["seed"])
    return _drawn_seed(method.random_state)


def _drawn_seed(random_state: Any) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))


def _embedded(
    worker: SemiSupervisedClassifier, given: Given, device: torch.device, seed: int, shared: SharedRows | None
) -> Given:
    """Return the features of images, from which the method learns from now on as from any vectors."""
    with torch.random.fork_rng(devices=[]):
        worker.backbone_ = load_backbone(worker.net).to(device)
    worker.backbone_facts_ = worker.backbone_.facts
    if shared is not None:
        shared.divide(worker.backbone_)
    worker.net = "auto"
    views = int(worker.feature_views)
    flip = given.shape[2] == 3 if worker.flip == "auto" else bool(worker.flip)
    samples, more, validation = (
        None
        if images is None
        else features_of(
            worker.backbone_, images, device, views=views, flip=flip, shift=worker.shift, seed=[seed, number]
        )
        for number, images in enumerate((given.samples, given.more, given.validation))
    )
    return replace(given, samples=samples, more=more, validation=validation, stored_views=views, are_features=True)


def _open_session(
    worker: SemiSupervisedClassifier,
    given: Given,
    seed: int,
    device: torch.device,
    monitor: Monitor,
    checkpoints: Checkpoints | None,
    shared: SharedRows | None,
) -> Session:
    """Return a session in which each sample has its part: to learn from, held out, or in the pool."""
    samples, indices = given.samples, given.targets.indices
    if given.validation_targets is None:
        held_out = held_out_rows(indices, worker.validation_fraction, np.random.default_rng([seed, 0]))
        validation = _training_set(samples, indices, held_out, device)
    else:
        held_out, others = np.empty(0, np.int64), given.validation_targets
        validation = _training_set(given.validation, others.indices, others.labeled, device)
    learned = np.setdiff1d(given.targets.labeled, held_out)
    unlabeled = [samples[np.flatnonzero(indices < 0)]] if (indices < 0).any() else []
    pool = [*unlabeled, *([] if given.more is None else [given.more])]
    given_pool = sum(len(source) for source in pool)
    if worker.labeled_in_pool and given_pool:
        pool.append(samples[learned])
    return Session(
        worker,
        labeled=_training_set(samples, indices, learned, device),
        validation=validation,
        pool=Rows(pool),
        classes=len(given.targets.classes),
        seed=seed,
        recipe=worker._recipe(device, vectors=not given.are_images),
        device=device,
        monitor=monitor,
        given_pool=given_pool,
        to_fill=Rows(unlabeled),
        stored_views=given.stored_views,
        checkpoints=checkpoints,
        weights_seed=None if worker.weights_seed is None else _drawn_seed(worker.weights_seed),
        order_seed=None if worker.order_seed is None else _drawn_seed(worker.order_seed),
        shared=shared,
    )


def _unmeasured_classes(session: Session) -> list[int]:
    """Return the classes of which no sample is held out, where others have some."""
    held_out = session.validation.labels
    found: list[int] = np.setdiff1d(np.arange(session.classes), held_out).tolist()
    return found if len(held_out) else []


def _training_set(
    samples: Any, indices: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device
) -> TrainingSet:
    values = torch.from_numpy(np.array(samples[rows]))
    return TrainingSet(values.to(device), torch.from_numpy(indices[rows]).to(device), rows)


def _train(worker: SemiSupervisedClassifier, session: Session) -> Classifier:
    """Return what the method has learned, with what was asked for around it: a look at the pool, and a guard."""
    from fewlabels.methods.guard import learn_guarded

    if worker.assess_pool and len(session.pool):
        from fewlabels.methods.pool_quality import assess_pool

        session.monitor.stages_before += 2
        session.monitor.stage_count = worker._stage_count
        session.quality = assess_pool(session, _length_to_assess(worker, session))
        worker.pool_inside_share_ = session.quality.inside_share
        worker.pool_prior_ = session.quality.prior
        worker.pool_belongs_ = session.quality.belongs[: session.given_pool]
    return learn_guarded(worker, session)


def _length_to_assess(worker: SemiSupervisedClassifier, session: Session) -> dict[str, Any]:
    """Return the length of a training on a half of the labels: half of the whole one's."""
    if session.budget is not None:
        return {"budget_share": _POOL_SHARE}
    own = worker._length(session)
    half = max(1, own["steps"] // 2) if own.get("steps") else None
    # Passes over half as many samples are half as long.
    return {"steps": half, "epochs": own["epochs"] if own.get("epochs") else None}


def _finish(worker: SemiSupervisedClassifier, session: Session, network: Any, given: Given) -> None:
    """Keep what was learned, and what is to be told of how."""
    if session.is_vectors:
        # In double precision a sample's prediction does not depend on which others are in its batch.
        network = network.double()
        if hasattr(worker, "autoencoder_"):
            worker.autoencoder_.double()
    worker.network_ = network.eval()
    if isinstance(network, PretrainedClassifier):
        assert isinstance(network.encoder, Backbone)
        worker.backbone_facts_ = network.encoder.facts
    worker.classes_ = given.targets.classes
    worker.sample_shape_ = given.shape
    worker.mirrors_ = session.flip
    worker.history_ = session.monitor.history
    worker.notes_ = session.monitor.notes
    rows = looked_at(session.given_pool)
    worker.pool_looks_ = [{**look, "rows": rows} for look in session.monitor.pool_looks]
    worker.gradient_images_ = session.monitor.gradient_images
    worker.stage_steps_ = session.monitor.stage_steps
    worker.n_iter_ = getattr(worker, "n_iter_", sum(worker.stage_steps_.values()))
    if "settings_" not in vars(worker):
        worker.settings_ = worker._plain_settings()
    if hasattr(worker, "backbone_facts_"):
        worker.settings_["net"] = worker.backbone_facts_.net
    worker.validation_rows_ = session.validation.rows if given.validation is None else np.empty(0, np.int64)
    worker.n_validation_ = len(session.validation)
    worker.unmeasured_classes_ = _unmeasured_classes(session)
    worker.n_labeled_ = len(session.labeled)
    worker.n_pool_ = session.given_pool
    finish_weights(worker, session, network)
    # For a list of what a fit chose, see `choices`.
    worker._calibrated_left_out_ = worker._left_out is not None  # type: ignore[misc]
    worker.__dict__.pop("_left_out", None)
    if given.are_features:
        worker.features_net_ = worker.net
    if given.backbone is not None:
        worker.backbone_facts_ = BackboneFacts.from_dict(given.backbone)
    if "transduction_" not in vars(worker):
        worker.transduction_ = worker._fill_gaps(given.samples, given.targets.indices)
