"""Predictions to numbers: every metric that medcnn reports is computed here."""

from medcnn.evaluation.figures import Figure, evaluate
from medcnn.evaluation.intervals import bootstrap_mean, bootstrap_means, wilson
from medcnn.evaluation.selection import score

__all__ = ["Figure", "bootstrap_mean", "bootstrap_means", "evaluate", "score", "wilson"]
