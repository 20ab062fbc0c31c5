"""From a card to its classifier."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from medcnn.classifier.classifier import Card, Classifier
from medcnn.data.columns.encoding import unknown_row
from medcnn.errors import UserError
from medcnn.jobs.instantiate import check_call, instantiate
from medcnn.nets import Net
from medcnn.objective import Objective


def make_classifier(card: Card, trust: Iterable[str] = (), *, fresh: bool = False) -> Classifier:
    """Return the classifier that a card describes.

    Args:
        card: See `Classifier`.
        trust: Names that the user allows in its config.
        fresh: Load the weights that its config names to start from; else they are random.

    Raises:
        UserError: A model config that can't be called, or whose target gives no net.
    """
    config, standard = card["config"], card["targets"] or {"mean": None, "std": None}
    objective = Objective(
        card["task"],
        len(card["class_names"]),
        positive=card["positive"],
        class_weights=card["class_weights"],
        target_mean=standard["mean"],
        target_std=standard["std"],
        loss=config.get("loss"),
        prior=card.get("loss_prior"),
    )
    node, views = _call_of(config["model"], fresh), card.get("studies", {}).get("views")
    net = instantiate(
        node,
        "model",
        trust,
        in_channels=card["in_channels"],
        num_classes=objective.num_outputs,
        spatial_dims=len(card["input_size"]),
        input_size=tuple(card["input_size"]),
        **({"views": len(views)} if views else {}),
        **_columns_of(card, node, objective),
    )
    if not isinstance(net, nn.Module):
        raise UserError(
            f"model._target_={config['model'].get('_target_')} gives no torch.nn.Module"
        )
    if isinstance(net, Net) and node.get("stem") == "auto":
        config["model"]["stem"] = net.stem  # what auto means may change, and with it the net
    return Classifier(net, objective, card, channels_last=bool(config["trainer"]["channels_last"]))


def check_model(model: Mapping[str, Any], trust: Iterable[str] = ()) -> None:
    """Raise the UserError of a model config with which no net can be built, whatever the data.

    A net of medcnn's own families is built for large images, without memory.
    """
    if model.get("library") is not None:  # which takes seconds, and depends on the images
        return
    given = {"in_channels": 1, "num_classes": 2, "spatial_dims": 2, "input_size": (256, 256)}
    if model.get("fusion") is not None:
        given |= {"columns": (0.0,), "task": "multiclass"}
    with torch.device("meta"):
        check_call(_call_of(model, fresh=False), "model", trust, **given)


def _columns_of(card: Card, node: Mapping[str, Any], objective: Objective) -> dict[str, Any]:
    """Return what `medcnn.nets.build` has to know of the columns that a net takes, if it does."""
    if node.get("fusion") is None:
        return {}
    if objective.task == "ordinal" and objective.num_outputs == 1 and node["fusion"] == "late":
        raise UserError(
            f"model.fusion=late: the mean of probabilities isn't one of loss={objective.loss_name},"
            " which has the same thresholds for all; take loss=corn, or model.fusion=concat"
        )
    return {"columns": unknown_row(card.get("features") or []), "task": objective.task}


def _call_of(model: Mapping[str, Any], fresh: bool) -> dict[str, Any]:
    """Return a model config as `instantiate` takes it."""
    node = dict(model)
    if node.get("_target_") != "medcnn.nets.build":
        node.pop("name", None)  # of a net of the user's it names the run alone
    elif not fresh:
        node |= {"pretrained": False, "weights": None}
    return node
