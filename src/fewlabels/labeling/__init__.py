"""What to label next: a pool looked at by a model, and in which order its labels would help."""

from fewlabels.labeling.description import PoolDescription, describe_pool
from fewlabels.labeling.inside import InDistribution
from fewlabels.labeling.ranking import STRATEGIES, rank_for_labeling

__all__ = ["STRATEGIES", "InDistribution", "PoolDescription", "describe_pool", "rank_for_labeling"]
