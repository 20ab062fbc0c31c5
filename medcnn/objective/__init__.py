"""The meaning of a label: loss, probabilities, decision, and the score that a map explains."""

from medcnn.objective.choice import TAKE_PRIOR, choose_loss
from medcnn.objective.label_statistics import (
    balanced_weights,
    class_prior,
    effective_weights,
    target_statistics,
)
from medcnn.objective.labels import TASKS, UNKNOWN, Task, decide, known
from medcnn.objective.objective import Objective

__all__ = [
    "TAKE_PRIOR",
    "TASKS",
    "UNKNOWN",
    "Objective",
    "Task",
    "balanced_weights",
    "choose_loss",
    "class_prior",
    "decide",
    "effective_weights",
    "known",
    "target_statistics",
]
