"""From a card to its classifier."""

from collections.abc import Iterable

from torch import nn

from medcnn.classifier.classifier import Card, Classifier
from medcnn.errors import UserError
from medcnn.jobs.instantiate import instantiate
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
    )
    node = dict(config["model"])
    if node.get("_target_") != "medcnn.nets.build":
        node.pop("name", None)  # of a net of the user's it names the run alone
    elif not fresh:
        node |= {"pretrained": False, "weights": None}
    net = instantiate(
        node,
        "model",
        trust,
        in_channels=card["in_channels"],
        num_classes=objective.num_outputs,
        spatial_dims=len(card["input_size"]),
        input_size=tuple(card["input_size"]),
    )
    if not isinstance(net, nn.Module):
        raise UserError(
            f"model._target_={config['model'].get('_target_')} gives no torch.nn.Module"
        )
    if isinstance(net, Net) and node.get("stem") == "auto":
        config["model"]["stem"] = net.stem  # what auto means may change, and with it the net
    return Classifier(net, objective, card, channels_last=bool(config["trainer"]["channels_last"]))
