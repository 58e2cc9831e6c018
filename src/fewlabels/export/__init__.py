"""What leaves the program: predictions for files, and models for other programs."""

from fewlabels.export.deployed import export_model
from fewlabels.export.predictions import Predictions, check_place, predict_files, write_predictions

__all__ = ["Predictions", "check_place", "export_model", "predict_files", "write_predictions"]
