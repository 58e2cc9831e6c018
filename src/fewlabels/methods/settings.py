"""What every method can be told: its hyper-parameters, what presets make of them, and what they may be."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import torch
from sklearn.base import clone

from fewlabels.methods.estimator import BaseEstimator
from fewlabels.methods.ranges import check_above_zero, check_kinds, check_not_below_zero, check_whole, check_within
from fewlabels.nets import check_net, is_backbone
from fewlabels.storage.errors import InputError, nearest
from fewlabels.storage.plain import python_number
from fewlabels.training.budget import read_budget
from fewlabels.training.device import choose_device
from fewlabels.training.kept import AVERAGE, BEST, LAST
from fewlabels.training.recipe import Recipe, choose_precision

if TYPE_CHECKING:
    from fewlabels.methods.session import Session

# What the default recipe was chosen for: 64,000 gradient images of 32 px, under a minute on two cores.
_DEFAULT_STEPS = 500
# Images of a few pixels, such as the embedded digits, and vectors are learned in fewer.
_DEFAULT_SMALL_STEPS = 200
_SMALL_SIDE = 16
# How long to train, and how long a first step: a preset's own hold only where no length is asked for.
_LENGTHS = ("steps", "epochs", "budget", "pretraining_steps", "pretraining_epochs")
# What replaces defaults where a pretrained net is trained further: small steps, small batches. Where a method's own
# default is another than that of most, it has been chosen for that method, and stays.
FINE_TUNING: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "batch_size": 32,
    "view": "weak",
}
# The defaults are Muon's, up to two hundred times what Adam can use.
_ADAM_RATE = 1e-3
_RATES = ("learning_rate", "pretraining_rate")
# From here on the papers' own settings are in their element.
_LONG_STEPS = 100_000


@dataclass(kw_only=True, eq=False, repr=False)
class Settings(BaseEstimator):
    """The hyper-parameters that all methods share; what each does stands with `SemiSupervisedClassifier`."""

    # By name of the preset, the values of the fields that it replaces.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    # Of a method that cannot train a pretrained net further: why not.
    _why_frozen: ClassVar[str] = ""
    # Of one that was resolved: the settings that neither its user nor the preset has set, but others brought along;
    # without an annotation it is no hyper-parameter.
    _brought_along = cast("tuple[str, ...]", ())

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
        return self._resolved()._plain_settings()

    def _plain_settings(self) -> dict[str, Any]:
        """Return the hyper-parameters that are plain values, as they are."""
        settings = {name: python_number(value) for name, value in self.get_params().items()}
        return {name: value for name, value in settings.items() if isinstance(value, str | int | float | None)}

    def _shared_settings(self) -> dict[str, Any]:
        """Return those of the settings that all methods share which are not at their default, to pass them on.

        What others brought along is left to the method that they are passed on to, which has defaults of its own.
        """
        usual = {name: default for name, default in _usual().items() if name not in self._brought_along}
        return {name: getattr(self, name) for name, default in usual.items() if getattr(self, name) != default}

    def _length(self, session: Session) -> dict[str, Any]:
        """Return the length of the classifier's training as arguments of `Session.train`."""
        if self.steps is None and self.epochs is None and self.budget is None:
            small = session.is_vectors or max(session.sample_shape[:2]) < _SMALL_SIDE or is_backbone(self.net)
            return {"steps": _DEFAULT_SMALL_STEPS if small else _DEFAULT_STEPS}
        return {"steps": self.steps, "epochs": self.epochs}

    def _resolved(self) -> Self:
        check_kinds(self)
        self._check_class()
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
        if any(getattr(self, name, None) is not None for name in _LENGTHS[3:]):
            chosen = {name: value for name, value in chosen.items() if name not in _LENGTHS[3:]}
        brought: dict[str, Any] = {}
        if is_backbone(self.net) and not self.freeze:
            usual = _usual()
            at_usual = [name for name in FINE_TUNING if getattr(self, name) == defaults[name] == usual[name]]
            brought = {name: FINE_TUNING[name] for name in at_usual if name not in chosen}
        if (brought | chosen).get("optimizer", self.optimizer) == "adam":
            at_default = [name for name in _RATES if name in defaults and getattr(self, name) == defaults[name]]
            brought = {name: _ADAM_RATE for name in at_default if name not in chosen} | brought
        worker.set_params(**brought, **chosen)
        worker._brought_along = tuple(brought)
        worker._check_settings()
        return worker

    def _check_class(self) -> None:
        """Refuse a subclass of which settings or their defaults would be lost."""
        kind = type(self).__name__
        kept = self.get_params(deep=False)
        for field in fields(self):
            if field.name not in kept:
                raise InputError(
                    f"{kind} overrides `__init__`, by which {field.name!r} and other settings are lost; take that away "
                    "and write its settings as dataclass fields"
                )
            default = getattr(type(self), field.name, field.default)
            if default is not field.default:
                told_as = f"{field.name}: {getattr(field.type, '__name__', field.type)} = {default!r}"
                raise InputError(
                    f"{kind} has {field.name} = {default!r}, but its constructor keeps {field.default!r}; write "
                    f"`{told_as}`, and `@dataclass(kw_only=True, eq=False, repr=False)` before the class"
                )

    def _check_settings(self) -> None:
        check_net(self.net)
        if self.steps is not None:
            check_whole(self, 1, "steps")
        if self.epochs is not None:
            check_above_zero(self, "epochs")
        if self.budget is not None:
            read_budget(self.budget)
        check_whole(self, 2, "batch_size")
        check_whole(self, 1, "feature_views")
        check_not_below_zero(self, "logit_adjustment", "weight_decay", "shift", "cutout", "color", "noise")
        check_above_zero(self, "learning_rate", "backbone_rate")
        check_within(self, "(0, 1]", "layer_decay")
        if self.view not in ("strong", "medium", "weak", "plain"):
            raise InputError(f"unknown view {self.view!r} (known: strong, medium, weak, plain)")
        if self.operations != int(self.operations) or not 0 <= self.operations <= 10:
            raise InputError(f"operations={self.operations} is not a whole number from 0 to 10")
        if self.final_weights not in ("auto", LAST, BEST, AVERAGE):
            raise InputError(f"unknown final_weights {self.final_weights!r} (known: auto, {LAST}, {BEST}, {AVERAGE})")
        if self.final_weights == AVERAGE and not self._keeps_average:
            raise InputError(f"final_weights={AVERAGE!r} needs an average; give ema_decay, such as 0.99")
        for name in ("weights_seed", "order_seed"):
            if getattr(self, name) is not None:
                check_whole(self, 0, name)
        state = self.random_state
        if isinstance(state, str | bytes | bool | float) or (isinstance(state, Integral) and state < 0):
            raise InputError(f"random_state={state!r} is not a whole number of at least 0, nor a generator")
        if self.flip not in (True, False, "auto"):
            raise InputError(f"flip={self.flip!r} is none of True, False and 'auto'")
        check_within(
            self, "[0, 1)", "label_smoothing", "dropout", "ema_decay", "momentum", "warmup", "validation_fraction"
        )
        check_within(self, "[0, 1)", "feature_dropout", "feature_mixup")
        if self._why_frozen and is_backbone(self.net) and not self.freeze:
            raise InputError(
                f"{self._why_frozen}, so freeze=False has no meaning for {type(self).__name__}; leave freeze=True, or "
                "take a method that trains a pretrained net further, such as Supervised"
            )

    @property
    def _keeps_average(self) -> bool:
        """Whether training keeps a moving average of the weights."""
        return self.ema_decay > 0 or getattr(self, "teacher_decay", 0) > 0

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


def _usual() -> dict[str, Any]:
    """Return the defaults of the settings that all methods share, where a method has no other of its own."""
    return {field.name: field.default for field in fields(Settings)}
