"""What leaves the program: predictions for files."""

from fewlabels.export.predictions import Predictions, predict_files, write_predictions

__all__ = ["Predictions", "predict_files", "write_predictions"]
