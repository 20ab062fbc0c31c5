"""Predictions to numbers: every metric that medcnn reports is computed here."""

from medcnn.evaluation.analysis import Settings, analyse
from medcnn.evaluation.epoch_score import score
from medcnn.evaluation.figures import Figure, evaluate
from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.intervals import Interval, bootstrap_means
from medcnn.evaluation.predictions import Predictions, read_predictions

__all__ = [
    "Figure",
    "Interval",
    "Predictions",
    "Settings",
    "analyse",
    "bootstrap_means",
    "evaluate",
    "figures_with_intervals",
    "read_predictions",
    "score",
]
