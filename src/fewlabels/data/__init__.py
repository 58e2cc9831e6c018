"""Where images come from: every source ends as one `ImageDataset`."""

from fewlabels.data.dataset import Diagnostics, ImageDataset, ImageNames, SkippedImage
from fewlabels.data.labels_file import GivenLabels, LabelsFile, read_labels
from fewlabels.data.rows import FeatureRows, ImageRows
from fewlabels.data.sources import KnownDataset, list_datasets, load_dataset, load_unlabeled
from fewlabels.data.streamed import StreamedRows

__all__ = [
    "Diagnostics",
    "FeatureRows",
    "GivenLabels",
    "ImageDataset",
    "ImageNames",
    "ImageRows",
    "KnownDataset",
    "LabelsFile",
    "SkippedImage",
    "StreamedRows",
    "list_datasets",
    "load_dataset",
    "load_unlabeled",
    "read_labels",
]
