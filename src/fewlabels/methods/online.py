"""What the methods share that learn from labeled and pool samples in the same step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.ranges import check_above_zero, check_not_below_zero, check_within
from fewlabels.methods.running import RunningMean, uniform
from fewlabels.methods.session import Session
from fewlabels.methods.spending import cost_of_step, steps_in_budget
from fewlabels.methods.supervised import labeled_loss
from fewlabels.nets import Classifier
from fewlabels.training.average import WeightAverage
from fewlabels.training.batches import Batch, pool_part

# What thresholds and weights need for minutes rather than days: fewer pool samples a step, and a start on the labeled
# samples alone, without which the first minutes pass with few sure guesses.
SHORT: dict[str, Any] = {"unlabeled_ratio": 2.0, "warm_start": 0.2, "view": "medium"}

# An average over more than this share of the steps lags so far behind the net that its guesses hold training back.
_LONGEST_AVERAGE = 0.1
# Of the running mean that guesses are aligned by: some hundred steps.
_ALIGNMENT_DECAY = 0.99


@dataclass(kw_only=True, eq=False, repr=False)
class OnlineClassifier(SemiSupervisedClassifier):
    """Base of methods whose every step takes labeled and pool samples.

    Their loss is the cross-entropy on the labeled samples plus what `pool_loss` makes of the pool's. See
    `SemiSupervisedClassifier` for the other parameters and attributes.

    Parameters
    ----------
    unlabeled_ratio : float
        Pool samples for each labeled one in a batch, > 0.
    unlabeled_weight : float
        Weight of the pool's loss, at least 0.
    warm_start : float
        Share of the steps at the start that learn from the labeled samples alone, in [0, 1).
    second_rate : float
        Peak learning rate after the warm start as a share of `learning_rate`, at least 0: a high one would unlearn
        what the warm start has brought. 0: no second rise, one schedule over all steps, for the shortest trainings.
    teacher_decay : float
        Guess the pool's classes by the moving average of the net with this decay, in [0, 1); 0: by the net
        itself. After a warm start it averages over a tenth of the steps at most. `VAT` and `SimMatch` guess by the
        net in any case, and end with the average.
    align_guesses : bool
        Scale the guesses of each class so that their running mean becomes the pool's classes as estimated by
        `assess_pool`, or equally frequent ones (distribution alignment, Berthelot et al., "ReMixMatch", 2020).
        `ReMixMatch` and `SimMatch` align in any case, `VAT` guesses no classes.
    """

    unlabeled_ratio: float = 7.0
    unlabeled_weight: float = 1.0
    warm_start: float = 0.0
    second_rate: float = 1.0
    teacher_decay: float = 0.0
    align_guesses: bool = False
    view: str = "weak"
    label_smoothing: float = 0.0

    _goes_on: ClassVar[bool] = True
    # Whether what a guess must pass moves in training, from where all may pass it.
    _threshold_moves: ClassVar[bool] = False
    # The average of the net, while one is being trained; without an annotation it is no hyper-parameter.
    _teacher = cast("WeightAverage | None", None)
    # What the guesses pass through, where they are aligned.
    _alignment = cast("AlignedGuesses | None", None)
    # What a method keeps from step to step, while it learns.
    _state = cast(Any, None)

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the named loss terms of a batch's pool samples, each already weighted.

        Parameters
        ----------
        nets : nn.Module
            The net in training.
        teacher : nn.Module
            What guesses the classes of pool samples: the net itself or its average.
        batch : Batch
            With pool samples.
        """
        raise NotImplementedError

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy on labeled samples and the pool's terms."""
        losses = {"supervised": labeled_loss(nets, batch, view=self.view, label_smoothing=self.label_smoothing)}
        if batch.unlabeled is not None:
            losses |= self.pool_loss(nets, self.guesser_of(nets), batch)
        return losses

    def teacher_of(self, nets: nn.Module) -> nn.Module:
        """Return what guesses the pool's classes: the average of the net where one is kept, else the net itself."""
        return nets if self._teacher is None else self._teacher.nets

    def guesser_of(self, nets: nn.Module) -> nn.Module:
        """Return what guesses the pool's classes in training: the teacher, its guesses aligned where asked for."""
        teacher = self.teacher_of(nets)
        return teacher if self._alignment is None else self._alignment.of(teacher)

    def _new_state(self, session: Session) -> Any:
        """Return what the method keeps from step to step; nothing, unless it says otherwise."""
        del session

    def _new_nets(self, session: Session, network: Classifier) -> nn.Module:
        """Return all that is trained, called as the classifier is; the classifier alone, unless it says otherwise."""
        del session
        return network

    def _learn(self, session: Session) -> Any:
        network = session.new_classifier()
        nets = self._new_nets(session, network)
        self._state = self._new_state(session)
        session.watches_pool = True
        session.monitor.threshold_moves = self._threshold_moves
        if self.align_guesses:
            self._alignment = AlignedGuesses(session.prior())
        length = self._length(session)
        if self.warm_start > 0:
            session.monitor.stage_count = self._stage_count
            if session.budget is not None:
                length = {"steps": self._steps_in_budget(session, nets, network)}
            if self.second_rate == 0:
                first = replace(session.recipe, part=(0.0, self.warm_start))
                second = replace(session.recipe, part=(self.warm_start, 1.0))
            else:
                first = session.recipe
                second = replace(first, learning_rate=self.second_rate * first.learning_rate)
            alone, rest = _divided(length, self.warm_start)
            if alone.get("steps") != 0:
                self._train(session, nets, network, "labeled samples alone", alone | {"recipe": first}, with_pool=False)
            if self._begins_with_labels:
                session.learned_alone(network)
            length = rest | {"recipe": second}
        if self.teacher_decay > 0:
            # After a warm start the average begins with a net that is worth carrying along.
            decay = self.teacher_decay if self.warm_start == 0 else self._decay_within(session, length)
            self._teacher = WeightAverage(network, decay, ramp=self.warm_start == 0)
        self._train(session, nets, network, "classifier", length, with_pool=True)
        if self._teacher is not None:
            session.take_average(network, self._teacher)
        self._teacher = self._state = self._alignment = None
        return network

    def _train(
        self,
        session: Session,
        nets: nn.Module,
        network: Classifier,
        stage: str,
        settings: dict[str, Any],
        *,
        with_pool: bool,
    ) -> None:
        if self._teacher is not None:
            # A second average would take the place of the net's own weights, which are kept beside the teacher's.
            settings = settings | {"recipe": replace(settings.get("recipe", session.recipe), ema_decay=0.0)}
        session.train(
            nets,
            partial(self.loss, nets),
            stage=stage,
            batches=partial(session.batches, unlabeled_size=self._pool_size if with_pool else 0),
            classifier=self.teacher_of(network),  # type: ignore[arg-type]
            after_step=None if self._teacher is None else self._teacher.update,
            **settings,
        )

    @property
    def _stage_count(self) -> int:
        return 2 if self.warm_start > 0 else 1

    @property
    def _begins_with_labels(self) -> bool:
        # With one schedule over all steps the first stage ends at a high rate, in an unfinished net.
        return self.warm_start > 0 and self.second_rate > 0

    @property
    def _pool_size(self) -> int:
        return pool_part(self.unlabeled_ratio, self.batch_size)

    def _decay_within(self, session: Session, length: dict[str, Any]) -> float:
        """Return the average's decay for a stage of a length: what is asked for, or less where the stage is short."""
        steps = length.get("steps") or session.steps_of(length["epochs"])
        return max(0.0, min(self.teacher_decay, 1 - 1 / max(1.0, _LONGEST_AVERAGE * steps)))

    def _steps_in_budget(self, session: Session, nets: nn.Module, network: Classifier) -> int:
        """Return the steps of both stages together that fit into the budget, so that they repeat the run."""
        loss = partial(self.loss, nets)
        alone = cost_of_step(session, nets, loss, session.batches)
        with_pool = cost_of_step(session, nets, loss, partial(session.batches, unlabeled_size=self._pool_size))
        mean = self.warm_start * alone + (1 - self.warm_start) * with_pool
        steps = max(2, steps_in_budget(session, mean, network, stages=2))
        first, rest = (part["steps"] for part in _divided({"steps": steps}, self.warm_start))
        budget = session.budget
        assert budget is not None
        # What is divided is rounded, and may come to more of the dearer steps.
        is_over = session.decided(lambda: float(first * alone + rest * with_pool > budget.left()))
        return steps - 1 if steps > 2 and is_over else steps

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "warm_start", "teacher_decay")
        check_above_zero(self, "unlabeled_ratio")
        check_not_below_zero(self, "unlabeled_weight", "second_rate")


class AlignedGuesses(nn.Module):
    """What a teacher says of a batch, scaled so that the running mean of its guesses becomes a target.

    Parameters
    ----------
    target : Tensor
        How often each class should be guessed, (classes,).
    """

    moves = ("_seen",)

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self._target = target
        self._seen = RunningMean(uniform(len(target), target.device), _ALIGNMENT_DECAY)
        self._teacher: nn.Module | None = None

    def of(self, teacher: nn.Module) -> AlignedGuesses:
        """Take this teacher's guesses from here on."""
        self._teacher = teacher
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, (batch, classes)."""
        assert self._teacher is not None
        logits: Tensor = self._teacher(inputs).float()
        seen = self._seen.update(logits.detach().softmax(1).mean(0))
        return logits + (self._target.clamp_min(1e-6) / seen.clamp_min(1e-6)).log()


def _divided(length: dict[str, Any], share: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a share of a length in steps or passes, and the rest; of a single step all is the rest."""
    steps = length.get("steps")
    if steps is not None:
        first = min(steps - 1, max(1, round(steps * share)))
        return {"steps": first}, {"steps": steps - first}
    return {"epochs": length["epochs"] * share}, {"epochs": length["epochs"] * (1 - share)}
