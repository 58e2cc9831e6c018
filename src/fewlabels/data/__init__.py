"""Where images come from: every source ends as one `ImageDataset`."""

from fewlabels.data.dataset import Diagnostics, ImageDataset, SkippedImage
from fewlabels.data.rows import FeatureRows, ImageRows
from fewlabels.data.sources import KnownDataset, list_datasets, load_dataset

__all__ = [
    "Diagnostics",
    "FeatureRows",
    "ImageDataset",
    "ImageRows",
    "KnownDataset",
    "SkippedImage",
    "list_datasets",
    "load_dataset",
]
