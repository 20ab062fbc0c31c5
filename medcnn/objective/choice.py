"""The losses by their names in the config, and the tasks that each is meant for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from medcnn.errors import UserError
from medcnn.objective import losses
from medcnn.objective.labels import Task

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": losses.cross_entropy,
    "focal": losses.focal,
    "asymmetric": losses.asymmetric,
    "hinge": partial(losses.hinge, power=1),
    "squared_hinge": partial(losses.hinge, power=2),
    "auc_margin": losses.auc_margin,
    "logit_adjusted": losses.logit_adjusted,
    "generalised_cross_entropy": losses.generalised_cross_entropy,
    "corn": losses.corn,
    "coral": losses.coral,
    "cumulative": losses.cumulative,
    "mse": losses.mse,
    "l1": losses.l1,
    "huber": losses.huber,
    "quantile": losses.quantile,
}
OF_PRIOR = ("logit_adjusted", "auc_margin")  # need the shares of the classes in the training split
MARGINS = ("hinge", "squared_hinge", "auc_margin")  # their logits are no log odds of probabilities
OF_THRESHOLDS = ("coral", "cumulative")  # one score of the net, and thresholds that are learnt
TAKE_PRIOR = (*OF_PRIOR, *OF_THRESHOLDS)  # and those that begin with them
OWN: dict[Task, str] = {  # each task's own loss
    "binary": "cross_entropy",
    "multiclass": "cross_entropy",
    "multilabel": "cross_entropy",
    "ordinal": "corn",
    "regression": "mse",
}
_YES_OR_NO: tuple[Task, ...] = ("binary", "multilabel")
_OF_TASKS: dict[str, tuple[Task, ...]] = {
    "asymmetric": _YES_OR_NO,
    "auc_margin": _YES_OR_NO,
    **dict.fromkeys(("corn", "coral", "cumulative"), ("ordinal",)),
    **dict.fromkeys(("mse", "l1", "huber", "quantile"), ("regression",)),
}
_NOMINAL: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


def tasks_of(name: str) -> tuple[Task, ...]:
    """Return the tasks that a loss is meant for."""
    return _OF_TASKS.get(name, _NOMINAL)


def choose_loss(loss: Mapping[str, Any] | None, task: Task) -> tuple[str, dict[str, Any]]:
    """Return the name of a loss and its parameters, from its node of the config.

    Args:
        loss: ``name`` and parameters; without a name, or None, the task's own.
        task: One of `medcnn.objective.TASKS`.

    Raises:
        UserError: There is no such loss, or it isn't meant for that task.
    """
    options = dict(loss or {})
    name = options.pop("name", None)
    if name is None:
        return OWN[task], {}
    if name not in FUNCTIONS:
        raise UserError(f"loss={name}: choose one of {', '.join(FUNCTIONS)}")
    if task not in tasks_of(name):
        fitting = [other for other in FUNCTIONS if task in tasks_of(other)]
        raise UserError(
            f"loss={name} is for {' and '.join(tasks_of(name))} tasks, and this one is {task}: "
            f"choose one of {', '.join(fitting)}, or loss=auto"
        )
    return name, options
