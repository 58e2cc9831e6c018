"""Trainings told to experiment trackers: TensorBoard, MLflow."""

from fewlabels.tracking.tracked import TRACKERS, TrackedComparison, TrackedRun, check_trackers, track

__all__ = ["TRACKERS", "TrackedComparison", "TrackedRun", "check_trackers", "track"]
