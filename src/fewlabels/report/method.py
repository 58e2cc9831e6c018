"""What the page shows of a method, at each number of labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewlabels.evaluation.contenders import idea_of
from fewlabels.evaluation.metrics import confusion_matrix
from fewlabels.evaluation.run import Run
from fewlabels.evaluation.standings import Group, Standing
from fewlabels.evaluation.verdicts import duel_sentence, labels_text, standing_sentences
from fewlabels.methods import METHODS
from fewlabels.methods.card import summary_of
from fewlabels.report.classes import class_rows, confusion_cells, frequent_confusions
from fewlabels.report.curves import admitted_chart, reliability_chart, rounds_chart, selective_chart
from fewlabels.report.feature_map import feature_map
from fewlabels.report.figures import accuracies_in, accuracy_chart, confusion_chart, loss_chart
from fewlabels.report.formats import sentence
from fewlabels.report.galleries import mistakes_view, pool_view
from fewlabels.report.overview import direction
from fewlabels.report.pictures import picture
from fewlabels.report.room import Room

_CHARTS = ("loss", "accuracy", "rounds_chart", "admitted", "reliability", "selective", "confusion")

# Of the accuracies on images of these kinds, as `accuracy_chart` draws them.
_COLORS = {"training": "first", "validation": "second", "pool": "good"}


def method_view(name: str, groups: list[Group], class_names: tuple[str, ...], room: Room) -> dict[str, Any]:
    """Return a method's idea and its parts, one a number of labels.

    Parameters
    ----------
    name : str
        Of the method.
    groups : list of Group
    class_names : tuple of str
    room : Room
        What is left for charts and pictures.
    """
    parts = []
    for group in groups:
        for standing in group.standings:
            if standing.method == name:
                parts.append(_part(group, standing, class_names, room))
                room.next_part()
    known = METHODS.get(name)
    runs = [run for group in groups for standing in group.standings if standing.method == name for run in standing.runs]
    return {
        "name": name,
        "idea": summary_of(known) if known else idea_of(name),
        "parts": parts,
        "first": runs[0],
        "first_is": f" {_which(runs[0])}" if len(runs) > 1 else "",
        "otherwise": _otherwise(runs),
    }


def _which(run: Run) -> str:
    """Return which of a method's runs one is, in words."""
    return f"{labels_text(run.labels_per_class, run.labels_given)}, seed {run.seed}"


def _otherwise(runs: list[Run]) -> list[tuple[str, Any, str]]:
    """Return the settings in which runs differ from the first: name, value and of which runs it is."""
    first, *others = runs
    found: dict[tuple[str, str], tuple[Any, list[str]]] = {}
    for run in others:
        for name, value in run.settings.items():
            # The seed says itself which run it is of.
            if name != "random_state" and value != first.settings.get(name):
                found.setdefault((name, repr(value)), (value, []))[1].append(_which(run))
    return [(name, value, "; ".join(which)) for (name, _), (value, which) in found.items()]


def _part(group: Group, standing: Standing, class_names: tuple[str, ...], room: Room) -> dict[str, Any]:
    run = standing.runs[0]
    view: dict[str, Any] = {
        "labels": labels_text(group.labels_per_class, group.labels_given),
        "standing": standing,
        "run": run,
        "several_seeds": len(standing.runs) > 1,
        "duels": [(direction(duel), duel_sentence(duel)) for duel in standing.duels],
        "facts": [sentence(fact) for fact in standing_sentences(standing)[len(standing.duels) :]],
        "choices": run.choices,
        "weights": run.weights,
        "trust": run.trust,
        "has_truth": any(record.get("precision") is not None for record in run.rounds),
        "classes": class_rows(run, class_names),
        "confusions": frequent_confusions(run, class_names),
        "cells": confusion_cells(run, class_names),
    }
    return view | _pictures(run, class_names, room)


def _pictures(run: Run, class_names: tuple[str, ...], room: Room) -> dict[str, Any]:
    counts = confusion_matrix(run.test_labels, run.guesses, len(class_names))
    view: dict[str, Any] = {
        "loss": loss_chart(run.history),
        "accuracy": accuracy_chart(run.history),
        "accuracies": [(images, _COLORS[images]) for images in accuracies_in(run.history)],
        "rounds_chart": rounds_chart(run.rounds),
        "admitted": admitted_chart(run.history),
        "reliability": None if run.trust is None else reliability_chart(run.trust),
        "selective": None if run.trust is None else selective_chart(run.trust),
        "confusion": None if confusion_cells(run, class_names) else confusion_chart(counts, class_names),
        "map": feature_map(run.feature_sample, class_names),
        "mistakes": mistakes_view(run, class_names),
        "reconstructions": _reconstructions(run, class_names),
        "left_out": False,
    }
    charts = [view[name] for name in _CHARTS] + ([view["map"]["svg"]] if view["map"] else [])
    images = [one["image"] for one in view["mistakes"]["images"]] + [
        uri for _, *pair in view["reconstructions"] for uri in pair
    ]
    if not room.take(*charts, *images):
        nothing: dict[str, Any] = {"images": [], "truths": [], "guesses": []}
        empty: dict[str, Any] = {"map": None, "mistakes": nothing, "reconstructions": [], "pool": None}
        return dict.fromkeys(_CHARTS) | empty | {"left_out": True}
    view["pool"] = pool_view(run.pool_sample, class_names, room)
    return view


def _reconstructions(run: Run, class_names: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Return (class, image, reconstruction) of the first test image of each class."""
    if run.reconstructions is None:
        return []
    labels = np.unique(run.test_labels)
    pairs = zip(run.reconstructions.originals, run.reconstructions.reconstructed, strict=True)
    return [(class_names[labels[number]], picture(image), picture(made)) for number, (image, made) in enumerate(pairs)]
