"""What to label next: a pool looked at by a model, and in which order its labels would help."""

from fewlabels.labeling.description import PoolDescription, check_table, describe_pool
from fewlabels.labeling.first import first_to_label
from fewlabels.labeling.inside import InDistribution
from fewlabels.labeling.partitions import label_shards
from fewlabels.labeling.ranking import STRATEGIES, check_strategy, rank_for_labeling

__all__ = [
    "STRATEGIES",
    "InDistribution",
    "PoolDescription",
    "check_strategy",
    "check_table",
    "describe_pool",
    "first_to_label",
    "label_shards",
    "rank_for_labeling",
]
