"""One call of `fit`: the data in training form, the random generators, and the calls that methods make."""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fewlabels.methods.looks import look
from fewlabels.methods.prediction import predict_logits
from fewlabels.methods.spending import cost_of_step, steps_in_budget, tell_costly
from fewlabels.methods.training_set import TrainingSet
from fewlabels.nets import Classifier, build_classifier
from fewlabels.nets.backbone import PretrainedClassifier, layer_rates
from fewlabels.nets.statistics import drawn_in
from fewlabels.storage.errors import InputError
from fewlabels.training.average import WeightAverage
from fewlabels.training.batches import Batch, Batches, Rows, ShuffledRows, pool_order
from fewlabels.training.budget import Budget, TimeBudget, read_budget
from fewlabels.training.checkpoint import Checkpoints, GlobalRandom, Stage
from fewlabels.training.device import has_room, seed_generators
from fewlabels.training.kept import AVERAGE, LAST, KeptWeights, copied_state, kept_state
from fewlabels.training.loop import EVALUATIONS, Loss, train
from fewlabels.training.monitor import Monitor
from fewlabels.training.processes import Processes
from fewlabels.training.recipe import Recipe
from fewlabels.training.recovery import Diverged
from fewlabels.training.snapshot import capture, restore
from fewlabels.views import ImageViews, VectorViews, Views
from fewlabels.views.images import to_float
from fewlabels.views.vectors import first_view

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier
    from fewlabels.methods.guard import Guard
    from fewlabels.methods.pool_quality import PoolQuality
    from fewlabels.training.shares import SharedRows

_SAMPLE = 2000


class Session:
    """What a method works with while it learns.

    With checkpoints, a training that was stopped is continued by running the method's code again: `train` then
    returns at once for stages that were finished, and what was measured comes to the same numbers.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Its hyper-parameters, with the preset applied.
    labeled, validation : TrainingSet
        Labeled samples to learn from, and those held out.
    pool : Rows
        Unlabeled samples; may be empty.
    classes : int
        Number of classes.
    seed : int
        All randomness follows from it, but for what the next two decide.
    weights_seed, order_seed : int, optional
        What initial weights, and what everything else that training draws (order, views, dropout), follows from;
        `seed` when not given.
    recipe : Recipe
        The method's optimizer settings.
    device : torch.device
        Where to compute.
    monitor : Monitor
        Collects the history.
    given_pool : int, optional
        How many of the pool samples come first that were given as such; all when not given.
    to_fill : Rows, optional
        Samples that will be classified when training is done: a budget leaves time for them.
    checkpoints : Checkpoints, optional
        Where the training is saved, and continued from.
    stored_views : int
        Views of an image that each stored vector holds, one after the other.
    shared : SharedRows, optional
        Divides the work of nets among several processes.

    Attributes
    ----------
    quality : PoolQuality or None
        What was estimated of the pool, where a method asks for that.
    guard : Guard or None
        Keeps the pool from doing harm, where that is asked for.
    watches_pool : bool
        Whether looks on the way ask for the classes of some pool samples too, for whoever knows them afterwards.
    stage : str
        What the names of its stages begin with.
    is_trial : bool
        Whether it learns from a part of the labeled samples, to decide something by: that is meant to be short.
    kept : mapping of nn.Module to dict
        For each classifier that was measured in training, the weights kept of it, by name.
    """

    moves = ("_drawn", "budget", "evaluations", "monitor", "_stage_kept")

    def __init__(
        self,
        method: SemiSupervisedClassifier,
        *,
        labeled: TrainingSet,
        validation: TrainingSet,
        pool: Rows,
        classes: int,
        seed: int,
        recipe: Recipe,
        device: torch.device,
        monitor: Monitor,
        given_pool: int | None = None,
        to_fill: Rows | None = None,
        checkpoints: Checkpoints | None = None,
        weights_seed: int | None = None,
        order_seed: int | None = None,
        stored_views: int = 1,
        shared: SharedRows | None = None,
    ) -> None:
        self.method = method
        self.shared = shared
        self.labeled, self.validation, self.pool = labeled, validation, pool
        self.classes, self.seed, self.recipe = classes, seed, recipe
        self.device, self.monitor = device, monitor
        self.stored_views = stored_views
        self.sample_shape = tuple(labeled.samples.shape[1:])
        if self.is_vectors:
            self.sample_shape = (self.sample_shape[0] // stored_views,)
        self.budget: Budget | None = None
        self.evaluations = EVALUATIONS
        if method.budget is not None:
            self.budget = read_budget(method.budget, lambda: monitor.gradient_images, self.clock)
            if isinstance(self.budget, TimeBudget):
                gone = monitor.seconds
                self.budget.remaining -= gone if self.processes is None else self.processes.told(gone)
        self.given_pool = len(pool) if given_pool is None else given_pool
        self.to_fill = Rows([]) if to_fill is None else to_fill
        self.checkpoints = checkpoints
        self.quality: PoolQuality | None = None
        self.guard: Guard | None = None
        self.watches_pool = False
        self.stage, self.is_trial = "", False
        # Whether the batches of the stage that runs are of labeled and pool samples in a row.
        self._draws_everything = False
        self.weights_seed = seed if weights_seed is None else weights_seed
        self.order_seed = seed if order_seed is None else order_seed
        # Of nets that are still in use alone: those of rounds that are over are let go with their weights.
        self.kept: weakref.WeakKeyDictionary[nn.Module, dict[str, dict[str, Any]]] = weakref.WeakKeyDictionary()
        # Of the stage that runs, and so part of its checkpoints.
        self._stage_kept: dict[str, dict[str, Any]] = {}
        # What new classifiers begin with, at which share of the rate that is trained, and whether it has learned from
        # the pool; see `beginning_with`.
        self._encoder: dict[str, Tensor] | None = None
        self._encoder_rate = 1.0
        self._pretrained = False
        self._drawn = 0
        self._random = GlobalRandom(device)
        self._sample = self.everything.sample(_SAMPLE, device)
        if has_room(device, pool.nbytes()):
            pool.keep_on(device)

    @property
    def processes(self) -> Processes | None:
        """Those among which the work of nets is divided."""
        return None if self.shared is None else self.shared.processes

    def clock(self) -> float:
        """Return the time in seconds, the same in all processes."""
        return time.perf_counter() if self.processes is None else self.processes.clock()

    @property
    def everything(self) -> Rows:
        """Labeled and pool samples in a row, whether they belong to a class or not."""
        return Rows([self.labeled.stored, self.pool])

    @property
    def members(self) -> NDArray[np.int64]:
        """Rows of the pool to learn from: all, or those that seem to belong to a class."""
        return np.arange(len(self.pool)) if self.quality is None else np.flatnonzero(self.quality.members)

    def prior(self, assumed: NDArray[np.floating] | None = None) -> Tensor:
        """Return how often each class comes in the pool, float32, (classes,).

        As was estimated; else what a method assumes, which is equally often where nothing is given.
        """
        if self.quality is not None:
            assumed = self.quality.prior
        elif assumed is None:
            assumed = np.full(self.classes, 1 / self.classes)
        return torch.from_numpy(np.asarray(assumed, np.float32)).to(self.device)

    def part(self, rows: NDArray[np.int64], held_out: NDArray[np.int64] | None = None, *, stage: str = "") -> Session:
        """Return a session that learns from some of the labeled samples; its seeds are those that come next here.

        Parameters
        ----------
        rows, held_out : ndarray of int
            Labeled samples to learn from, and those to measure on; those held out here when not given.
        stage : str
            What the names of its stages begin with.
        """
        part = copy.copy(self)
        part.labeled = self.labeled.part(rows)
        if held_out is not None:
            part.validation = self.labeled.part(held_out)
        part.stage, part.is_trial, part.guard = stage, True, None
        return part

    def of(self, method: SemiSupervisedClassifier) -> Session:
        """Return a session on the same data for another method; its seeds are those that come next here."""
        other = copy.copy(self)
        other.method = method
        other.recipe = method._recipe(self.device, vectors=self.is_vectors)
        return other

    def beginning_with(self, encoder: nn.Module, rate: float, *, pretrained: bool) -> Session:
        """Return a session whose new classifiers begin with an encoder's weights, as they are now.

        Parameters
        ----------
        encoder : nn.Module
            Of a classifier that this session made.
        rate : float
            Learning rate of the encoder as a multiple of the head's; 0: it stays as it is.
        pretrained : bool
            Whether it has learned from the pool.
        """
        other = copy.copy(self)
        other._encoder, other._encoder_rate, other._pretrained = copied_state(encoder), rate, pretrained
        return other

    @property
    def is_vectors(self) -> bool:
        """Whether samples are vectors rather than images."""
        return len(self.sample_shape) == 1

    def class_counts(self) -> NDArray[np.int64]:
        """Return how many of the labeled samples are of each class, (classes,)."""
        return np.bincount(self.labeled.labels, minlength=self.classes)

    @property
    def flip(self) -> bool:
        """Whether views mirror: as asked for, or for color images where that is left to choose."""
        if self.is_vectors or not self.method._learns_mirrored:
            return False
        return self.sample_shape[2] == 3 if self.method.flip == "auto" else bool(self.method.flip)

    def next_seed(self, *, weights: bool = False) -> int:
        """Return a new seed; the sequence is the same in every run with the same `random_state`.

        Parameters
        ----------
        weights : bool
            For initial weights, which `weights_seed` decides; else for the order of training.
        """
        self._drawn += 1
        root = self.weights_seed if weights else self.order_seed
        return int(np.random.SeedSequence([root, self._drawn]).generate_state(1)[0])

    def seed_weights(self) -> None:
        """Have new layers draw their initial weights by the next seed for these."""
        seed_generators(self.device, self.next_seed(weights=True))

    def new_views(self) -> Views:
        """Return views with a generator of their own."""
        generator = torch.Generator(self.device).manual_seed(self.next_seed())
        method = self.method
        if self.is_vectors:
            std, mean = torch.std_mean(self._to_normalize_by(), 0, correction=0)
            return VectorViews(
                generator,
                scale=std,
                center=mean,
                noise=method.noise,
                dropout=method.feature_dropout,
                mixup=method.feature_mixup,
                views=self.stored_views,
            )
        return ImageViews(generator, self.flip, method.shift, method.cutout, method.color, method.operations)

    def new_classifier(self, *, plain: bool = False) -> Classifier:
        """Return a freshly initialized classifier, normalized by labeled and pool samples.

        Parameters
        ----------
        plain : bool
            Build what `net` names, also where the method has a net of its own.
        """
        self.seed_weights()
        method = self.method
        if plain:
            network = build_classifier(method.net, self.sample_shape, self.classes, dropout=method.dropout)
        else:
            network = method._empty_network(self.sample_shape, self.classes)
        if isinstance(network, PretrainedClassifier):
            self._check_can_train(network.encoder)
        network.to(self.device)
        if not self.is_vectors:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.start(network)
        if self._encoder is not None:
            network.encoder.load_state_dict(self._encoder)
            if not self._encoder_rate:
                network.encoder.requires_grad_(False)
        if self.shared is not None:
            self.shared.divide(network)
        return network

    def _check_can_train(self, backbone: nn.Module) -> None:
        """Refuse a pretrained net whose copies cannot be trained, and note where none of its parameters is to be."""
        parameters = list(backbone.parameters())
        if not all(parameter.is_leaf for parameter in parameters):
            raise InputError(
                "a net of TorchScript cannot be trained further; give the torch.nn.Module that it was made of, or "
                "leave freeze=True"
            )
        sentence = (
            "no parameter of the net has requires_grad, so that freeze=False trains the head alone; turn it on by "
            "net.requires_grad_(), or leave freeze=True, which takes less time"
        )
        if not any(parameter.requires_grad for parameter in parameters) and sentence not in self.monitor.notes:
            self.monitor.note(sentence)

    def start(self, network: Classifier) -> None:
        """Give a classifier its normalization, and what else depends on the data, from labeled and pool samples."""
        network.start(self._to_normalize_by())

    def _to_normalize_by(self) -> Tensor:
        """Return samples as a net reads them, without what would be all that their statistics tell."""
        plain = self.plain(self._sample)
        return drawn_in(plain) if self.is_vectors else plain

    def plain(self, stored: Tensor) -> Tensor:
        """Return stored samples as a net reads them."""
        return first_view(stored, self.stored_views) if self.is_vectors else to_float(stored)

    def batches(
        self,
        *,
        labeled_size: int | None = None,
        unlabeled_size: int = 0,
        everything: bool = False,
        sized_by: str = "batch_size",
    ) -> Batches:
        """Return batches without end, each a random draw without replacement until all rows have come.

        Parameters
        ----------
        labeled_size : int, optional
            Labeled samples a batch; the method's batch size when not given; may be 0.
        unlabeled_size : int
            Pool samples a batch.
        everything : bool
            Draw these from all labeled and pool samples in a row, as pretraining does; else from the pool's `members`.
        sized_by : str
            The setting that the sizes come from.
        """
        source = self.everything if everything else self.pool
        self._draws_everything = everything
        streamed = source.windows is not None
        some = not everything and self.quality is not None
        # A list of all rows of a pool that does not fit would not fit either.
        members = self.members if some else np.empty(0, np.int64) if streamed else np.arange(len(source))
        labeled_size = self.method.batch_size if labeled_size is None else labeled_size
        order = np.random.default_rng(self.next_seed())
        views = self.new_views()
        rows = ShuffledRows(len(self.labeled), labeled_size, order)
        draws_pool = unlabeled_size > 0 and (len(members) > 0 or (streamed and not some))
        pool_rows = pool_order(source, members if some or not streamed else None, unlabeled_size, order)

        def make() -> Batch:
            chosen = torch.from_numpy(next(rows)).to(self.device)
            unlabeled_rows = next(pool_rows) if draws_pool else None
            if unlabeled_rows is not None and not streamed:
                unlabeled_rows = members[unlabeled_rows]
            return Batch(
                labeled=self.labeled.samples[chosen],
                targets=self.labeled.targets[chosen],
                weights=None,
                unlabeled=None if unlabeled_rows is None else source.take(unlabeled_rows, self.device),
                views=views,
                progress=0.0,
                labeled_rows=chosen,
                unlabeled_rows=None if unlabeled_rows is None else torch.from_numpy(unlabeled_rows).to(self.device),
                sized_by=sized_by,
            )

        return Batches(make, views, order, rows, pool_rows)

    def steps_of(self, epochs: float, samples: int | None = None) -> int:
        """Return the steps of so many passes over labeled samples, or over so many `samples`; at least one."""
        return max(1, round(epochs * (len(self.labeled) if samples is None else samples) / self.method.batch_size))

    def train(
        self,
        nets: nn.Module,
        loss: Loss,
        *,
        stage: str,
        batches: Callable[[], Batches] | None = None,
        classifier: Classifier | None = None,
        steps: int | None = None,
        epochs: float | None = None,
        epoch_samples: int | None = None,
        asked_by: str | None = None,
        budget_share: float = 1.0,
        budget_rest: Callable[[int], float] | None = None,
        budget_stages: int = 1,
        recipe: Recipe | None = None,
        rate_factors: dict[str, float] | None = None,
        after_step: Callable[[], None] | None = None,
    ) -> int:
        """Train nets for one stage and return its number of steps.

        Parameters
        ----------
        nets : nn.Module
            Modules to train.
        loss : callable
            Maps a batch to named scalars.
        stage : str
            Name of the stage.
        batches : callable, optional
            Returns batches without end; the session's labeled batches when not given.
        classifier : Classifier, optional
            Is measured on training and validation samples on the way.
        steps, epochs : optional
            Length: steps, or passes over `epoch_samples` (the labeled samples when not given); with neither,
            what fits into the budget.
        asked_by : str, optional
            The setting that gave the length, where that is asked for beside a budget: what is dearer is told of.
        budget_share : float
            Share of what is left of a budget that this stage gets.
        budget_rest : callable, optional
            Returns what of a budget to leave for what is not training, given this stage's steps; it grows with them.
        budget_stages : int
            How many stages are to come that have looks at accuracies, this one counted.
        recipe : Recipe, optional
            Other optimizer settings than the session's.
        rate_factors : dict of str to float, optional
            Learning rates of the parameters whose name begins so, as a multiple.
        after_step : callable, optional
            Called after each step, when the weights have moved.
        """
        batches = self.batches if batches is None else batches
        if self.shared is not None:
            self.shared.divide(nets)
        self._stage_kept = {}
        checkpoint = self._next_stage(f"{self.stage}: {stage}" if self.stage else stage)
        if checkpoint is not None and (ended := checkpoint.replay(nets)) is not None:
            if classifier is not None:
                self.kept[classifier] = self._stage_kept
            self.monitor.tell_again()
            return ended
        of_layers = layer_rates(nets, share=self.method.backbone_rate, decay=self.method.layer_decay)
        if self._encoder is not None:
            encoders = _encoders(nets)
            of_layers |= {f"{name}.": self._encoder_rate for name in encoders}
            if not self._encoder_rate:
                loss = _with_frozen(loss, list(encoders.values()))
        settings: dict[str, Any] = {
            "recipe": self.recipe if recipe is None else recipe,
            "rate_factors": {**of_layers, **(rate_factors or {})},
        }
        if steps is None and epochs is None:
            if self.budget is None:
                raise ValueError(f"stage {stage} has no length: neither steps nor epochs nor a budget")
            per_step = cost_of_step(self, nets, loss, batches, **settings)
            steps = steps_in_budget(
                self, per_step, classifier, share=budget_share, rest=budget_rest, stages=budget_stages
            )
        elif steps is None:
            steps = self.steps_of(epochs or 0, epoch_samples)
        if asked_by is not None and self.budget is not None:
            tell_costly(self, asked_by, steps * cost_of_step(self, nets, loss, batches, **settings))
        # Dropout draws from the global generator, which `fit` gives back as it was.
        seed_generators(self.device, self.next_seed())
        keep = None if classifier is None else KeptWeights(classifier, self._stage_kept)
        try:
            train(
                nets,
                batches(),
                loss,
                steps=steps,
                monitor=self.monitor,
                stage=f"{self.stage}: {stage}" if self.stage else stage,
                accuracies=None if classifier is None else lambda: look(self, classifier),
                after_step=after_step,
                agreement=self.method.guard,
                state={"method": self.method, "random": self._random},
                checkpoint=checkpoint,
                keep=keep,
                processes=self.processes,
                evaluations=self.evaluations,
                **settings,
            )
        except Diverged as error:
            if self._draws_everything:
                before = len(self.labeled)
                error.labeled = [row for row in error.pool if row < before]
                error.pool = [row - before for row in error.pool if row >= before]
            error.name(self.labeled.rows, None)
            raise
        if classifier is not None:
            self.kept[classifier] = self._stage_kept
        return steps

    def _next_stage(self, name: str) -> Stage | None:
        if self.checkpoints is None:
            return None
        run = {"session": self, "method": self.method, "random": self._random}
        return self.checkpoints.next_stage(name, run, self.device)

    def decided(self, compute: Callable[[], float]) -> float:
        """Return what was measured, the same again when a training is continued: whatever depends on time goes here."""
        if self.checkpoints is not None:
            return self.checkpoints.decided(compute)
        return compute() if self.processes is None else float(self.processes.told(compute()))

    def leaving_no_trace(self, nets: nn.Module, compute: Callable[[], float]) -> float:
        """Return what was computed; nets, method and seeds are then as if nothing had been."""
        state = {"nets": nets, "method": self.method, "random": self._random}
        before, drawn = capture(state), self._drawn
        found = compute()
        restore(state, before, self.device)
        self._drawn = drawn
        return found

    def learned_alone(self, network: Classifier) -> None:
        """Tell that a net has learned from the labeled samples alone so far, as far as that goes."""
        if self.guard is not None:
            self.guard.keep(network, pretrained=self._pretrained)

    def keep_average(self, network: nn.Module, average: WeightAverage) -> None:
        """Keep the weights of a net's average, unless one was kept in training."""
        kept = self.kept.setdefault(network, {})
        kept.setdefault(AVERAGE, kept_state(average.nets, kept[LAST]["step"]))

    def take_average(self, network: nn.Module, average: WeightAverage) -> None:
        """Give a net the weights of its average, and keep these and, as the last ones, its own."""
        kept = dict(self.kept.get(average.nets, {}))
        step = kept[LAST]["step"] if LAST in kept else 0
        kept[LAST], kept[AVERAGE] = kept_state(network, step), kept_state(average.nets, step)
        average.copy_to(network)
        self.kept[network] = kept

    def logits(self, classifier: Classifier, rows: Rows, *, flip: bool | None = None) -> NDArray[np.floating]:
        """Return a classifier's outputs in the training's own precision, (n, classes).

        Parameters
        ----------
        classifier : Classifier
            Is put in evaluation mode.
        rows : Rows
            Stored samples.
        flip : bool, optional
            Average with the mirrored image's; where views mirror, when not given.
        """
        flip = self.flip if flip is None else flip
        return predict_logits(classifier, rows, self.device, flip=flip, precision=self.recipe.precision)


def _encoders(nets: nn.Module) -> dict[str, nn.Module]:
    """Return the encoders of all classifiers in `nets` by name."""
    found = {name: module.encoder for name, module in nets.named_modules() if isinstance(module, Classifier)}
    return {f"{name}.encoder" if name else "encoder": encoder for name, encoder in found.items()}


def _with_frozen(loss: Loss, encoders: list[nn.Module]) -> Loss:
    """Return a loss for which encoders leave their statistics as they are."""

    def of(batch: Batch) -> dict[str, Tensor]:
        for encoder in encoders:
            encoder.eval()
        return loss(batch)

    return of
