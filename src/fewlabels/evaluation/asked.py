"""What a comparison is asked for, read and checked before there are any data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from fewlabels.evaluation.choosing import check_choices, combinations, fields_of, own_settings
from fewlabels.evaluation.conditions import VARIED
from fewlabels.methods import BASIC_METHODS, METHODS, make_method, method_name
from fewlabels.methods.rungs import RUNGS
from fewlabels.storage.arguments import check_kind
from fewlabels.storage.errors import InputError, nearest
from fewlabels.storage.plain import python_number

# What a comparison has an argument of its own for, by what it would be among the settings.
_ARGUMENTS = {
    "random_state": "seeds",
    "weights_seed": "seeds and vary",
    "order_seed": "seeds and vary",
    **{name: name for name in ("steps", "epochs", "budget", "preset")},
}


@dataclass(frozen=True)
class Asked:
    """What a comparison is to train; `of` reads it from the arguments of `compare`.

    Attributes
    ----------
    methods : list of str
        Keys of `METHODS`; where rungs are compared, those that they are made of.
    sizes : list of (int or None)
        Numbers of labels per class; None: as the source gives them.
    seeds : list of int
    varied : list of str
        What differs from seed to seed, of `VARIED`.
    given : dict
        Preset and length, which every method has.
    settings : dict
        More hyper-parameters; each goes to the methods that have it.
    choices : dict
        Hyper-parameters and the values to try, likewise.
    """

    methods: list[str]
    sizes: list[int | None]
    seeds: list[int]
    varied: list[str]
    given: dict[str, Any]
    settings: dict[str, Any]
    choices: dict[str, list[Any]]

    @classmethod
    def of(
        cls,
        *,
        methods: Sequence[str] | str | None,
        rungs: Sequence[str] | str | None,
        labels_per_class: int | Sequence[int] | None,
        seeds: int | Sequence[int],
        vary: Sequence[str] | str,
        settings: Mapping[str, Any] | None,
        choose: Mapping[str, Sequence[Any]] | None,
        **given: Any,
    ) -> Asked:
        """Return what the arguments of `compare` ask for; `given` are its preset, steps, epochs and budget.

        Raises
        ------
        InputError
            If one of them cannot be read.
        """
        if methods is not None:
            check_kind("methods", methods, (str, Collection), "names of methods, such as ['supervised']")
            for method in [] if isinstance(methods, str) else methods:
                check_kind("methods", method, str, "a name; methods=['supervised'], and settings= for its settings")
        check_kind("vary", vary, (str, Collection), f"a list of {', '.join(VARIED)}")
        if settings is not None:
            check_kind("settings", settings, Mapping, "a dict, such as {'learning_rate': 0.1}")
        if choose is not None:
            check_kind("choose", choose, Mapping, "a dict, such as {'learning_rate': [0.1, 0.2]}")
        if rungs is not None and methods is not None:
            raise InputError("methods and rungs are given; give one of them")
        return cls(
            methods=_methods(methods) if rungs is None else _methods(list(_methods_of(rungs))),
            sizes=_label_counts(labels_per_class),
            seeds=_seeds(seeds),
            varied=_varied(vary),
            given={name: python_number(value) for name, value in given.items() if value is not None},
            settings={name: python_number(value) for name, value in (settings or {}).items()},
            choices=_choices(choose or {}),
        )

    def check(self) -> None:
        """Refuse hyper-parameters that no method has, or that one of them cannot use.

        Raises
        ------
        InputError
            With the name of the first.
        """
        known = sorted({name for method in self.methods for name in fields_of(method)})
        for setting in {**self.settings, **self.choices}:
            if setting not in known:
                raise InputError(
                    f"none of {', '.join(self.methods)} has a setting {setting!r}{nearest(setting, known)}"
                )
            if setting in _ARGUMENTS:
                raise InputError(f"{setting!r} is no extra setting; give {_ARGUMENTS[setting]} itself")
        for method in self.methods:
            for values in self.combinations(method):
                make_method(method, **{**self.settings_of(method), **values}).check_settings()

    def settings_of(self, method: str) -> dict[str, Any]:
        """Return the hyper-parameters that a method is given, but for those to choose."""
        return {**self.given, **own_settings(method, self.settings)}

    def combinations(self, method: str) -> list[dict[str, Any]]:
        """Return the combinations of hyper-parameters that a method is to choose among; one empty one without."""
        return combinations(method, self.choices)

    def states(self, seed: int) -> dict[str, Any]:
        """Return what a method's randomness follows from: one number where all of it varies together."""
        labels, weights, order = (seed if name in self.varied else self.seeds[0] for name in VARIED)
        apart = {"weights_seed": weights, "order_seed": order} if {weights, order} != {labels} else {}
        return {"random_state": labels, **apart}


def _methods_of(rungs: Sequence[str] | str) -> set[str]:
    """Return the methods of rungs, whose settings are checked before anything is read."""
    chosen = list(RUNGS) if rungs in ("all", ["all"]) else [rungs] if isinstance(rungs, str) else rungs
    return {method_name(type(RUNGS[name].make())) for name in chosen if name in RUNGS} or {"supervised"}


def _methods(methods: Sequence[str] | str | None) -> list[str]:
    chosen = list(BASIC_METHODS) if methods is None else [methods] if isinstance(methods, str) else list(methods)
    if chosen == ["all"]:
        chosen = list(METHODS)
    if not chosen:
        raise InputError(f"no method is given; choose of {', '.join(METHODS)}")
    return list(dict.fromkeys(method_name(type(make_method(name))) for name in chosen))


def _label_counts(labels_per_class: int | Sequence[int] | None) -> list[int | None]:
    if labels_per_class is None:
        return [None]
    counts = _whole_numbers(labels_per_class)
    if not counts or min(counts) < 1:
        raise InputError(f"labels_per_class={labels_per_class!r} is not one or several whole numbers of at least 1")
    return [*counts]


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    chosen = _whole_numbers(seeds)
    if chosen and isinstance(seeds, Real):
        chosen = list(range(chosen[0]))
    if not chosen or min(chosen) < 0:
        raise InputError(f"seeds={seeds!r} is neither a number of seeds of at least 1 nor a list of seeds from 0 on")
    return chosen


def _whole_numbers(given: Any) -> list[int]:
    """Return a number or several, each once, of NumPy's kinds too; none where one is not whole."""
    values: list[Any] = [given] if isinstance(given, Real) else list(given)
    if any(not isinstance(value, Real) or not float(value).is_integer() for value in values):
        return []
    return list(dict.fromkeys(int(value) for value in values))


def _varied(vary: Sequence[str] | str) -> list[str]:
    chosen = [vary] if isinstance(vary, str) else list(vary)
    for name in chosen:
        if name not in VARIED:
            raise InputError(f"vary={name!r} is none of {', '.join(VARIED)}{nearest(str(name), VARIED)}")
    if not chosen:
        raise InputError(f"nothing is to vary from seed to seed; give some of {', '.join(VARIED)}")
    return [name for name in VARIED if name in chosen]


def _choices(choose: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    listed = {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in choose.items()}
    check_choices(listed)
    return {name: [python_number(value) for value in values] for name, values in listed.items()}
