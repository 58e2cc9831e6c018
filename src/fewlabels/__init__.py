"""Learn an image classifier from a few labeled and many unlabeled images, and know how far to trust it.

Examples
--------
>>> import fewlabels
>>> data = fewlabels.load_dataset("digits", labels_per_class=20)
>>> method = fewlabels.Supervised(steps=60, random_state=0)
>>> method.fit(data.labeled, data.labels, unlabeled=data.pool).score(data.test, data.test_labels) > 0.8
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewlabels.checks import check_dataset
    from fewlabels.data import ImageDataset, list_datasets, load_dataset
    from fewlabels.labeling import describe_pool, first_to_label, rank_for_labeling
    from fewlabels.methods import (
        METHODS,
        UDA,
        VAT,
        Auto,
        EnsembleLabels,
        FixMatch,
        FlexMatch,
        FreeMatch,
        JointAutoencoder,
        KMeansFeatures,
        LabelSpreading,
        LinearProbe,
        MaskedAutoencoder,
        MeanTeacher,
        MixMatch,
        NetAndPatches,
        NoisyStudent,
        PiModel,
        Prototypes,
        PseudoLabel,
        ReMixMatch,
        SelfTraining,
        SemiSupervisedClassifier,
        SimCLR,
        SimMatch,
        SoftMatch,
        Supervised,
        TwoStepAutoencoder,
        VICReg,
        embed,
        load,
        make_method,
    )
    from fewlabels.methods.published import pull, push
    from fewlabels.report import compare
    from fewlabels.storage.errors import InputError, Interrupted, TrainingWarning
    from fewlabels.tracking import track

__version__ = "0.1.0"

_HOMES = {
    "describe_pool": "labeling",
    "first_to_label": "labeling",
    "rank_for_labeling": "labeling",
    "ImageDataset": "data",
    "list_datasets": "data",
    "load_dataset": "data",
    "check_dataset": "checks",
    "compare": "report",
    "METHODS": "methods",
    "UDA": "methods",
    "VICReg": "methods",
    "SimCLR": "methods",
    "MaskedAutoencoder": "methods",
    "KMeansFeatures": "methods",
    "LabelSpreading": "methods",
    "Auto": "methods",
    "LinearProbe": "methods",
    "Prototypes": "methods",
    "EnsembleLabels": "methods",
    "embed": "methods",
    "NetAndPatches": "methods",
    "NoisyStudent": "methods",
    "SimMatch": "methods",
    "ReMixMatch": "methods",
    "FlexMatch": "methods",
    "FreeMatch": "methods",
    "MeanTeacher": "methods",
    "MixMatch": "methods",
    "PiModel": "methods",
    "PseudoLabel": "methods",
    "SoftMatch": "methods",
    "VAT": "methods",
    "FixMatch": "methods",
    "JointAutoencoder": "methods",
    "SelfTraining": "methods",
    "SemiSupervisedClassifier": "methods",
    "Supervised": "methods",
    "TwoStepAutoencoder": "methods",
    "load": "methods",
    "make_method": "methods",
    "pull": "methods.published",
    "push": "methods.published",
    "track": "tracking",
    "InputError": "storage.errors",
    "Interrupted": "storage.errors",
    "TrainingWarning": "storage.errors",
}

__all__ = [
    "METHODS",
    "UDA",
    "VAT",
    "Auto",
    "EnsembleLabels",
    "FixMatch",
    "FlexMatch",
    "FreeMatch",
    "ImageDataset",
    "InputError",
    "Interrupted",
    "JointAutoencoder",
    "KMeansFeatures",
    "LabelSpreading",
    "LinearProbe",
    "MaskedAutoencoder",
    "MeanTeacher",
    "MixMatch",
    "NetAndPatches",
    "NoisyStudent",
    "PiModel",
    "Prototypes",
    "PseudoLabel",
    "ReMixMatch",
    "SelfTraining",
    "SemiSupervisedClassifier",
    "SimCLR",
    "SimMatch",
    "SoftMatch",
    "Supervised",
    "TrainingWarning",
    "TwoStepAutoencoder",
    "VICReg",
    "check_dataset",
    "compare",
    "describe_pool",
    "embed",
    "first_to_label",
    "list_datasets",
    "load",
    "load_dataset",
    "make_method",
    "pull",
    "push",
    "rank_for_labeling",
    "track",
]


if not TYPE_CHECKING:  # or checkers would take any name for one of these

    def __getattr__(name: str) -> Any:
        # Names are imported when first used: `import fewlabels` and `fewlabels --help` need no PyTorch.
        if name not in _HOMES:
            raise AttributeError(f"module 'fewlabels' has no attribute {name!r}")
        return getattr(importlib.import_module(f"fewlabels.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
