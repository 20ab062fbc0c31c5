"""Trackers of experiments: servers that are told of a run, one a file."""

from medcnn.training.trackers.begin_and_end import is_tracker, tracked
from medcnn.training.trackers.of_mlflow import MLflow
from medcnn.training.trackers.of_wandb import WandB

__all__ = ["MLflow", "WandB", "is_tracker", "tracked"]
