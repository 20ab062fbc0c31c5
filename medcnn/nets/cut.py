"""The lower part of a net with a new head."""

from torch import nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, stage_shapes, stages_of
from medcnn.nets.heads import POOLED, pooled_head


def cut(net: Net, stage: str, *, head: str = "gap", dropout: float = 0.0) -> Net:
    """Return the stages of a net up to one of them, and a new head on what that one gives.

    Early layers hold general features, late ones those of the task they were trained for (J.
    Yosinski et al., "How transferable are features in deep neural networks?", 2014).

    Args:
        net: Any net with a map; its stages are used, not copied.
        stage: Name of the last stage that is kept.
        head: gap, attention, lse or top.
        dropout: Probability, before the last layer.

    Raises:
        UserError: No such stage, or a net without a map.
    """
    stages = list(stages_of(net))
    if not net.spatial:
        raise UserError(f"model.cut={stage}: {net.name} has no feature maps to cut at")
    if stage not in stages:
        raise UserError(f"model.cut={stage}: {net.name} has the stages {', '.join(stages)}")
    kept = net.features[: stages.index(stage) + 1]
    size = net.input_size or (max(net.min_size, 32),) * net.spatial_dims
    channels = stage_shapes(net, size)[stage][0]
    made = Net(
        f"{net.name}[:{stage}]",
        kept,
        pooled_head(net.name, head, channels, net.num_classes, dropout),
        net.problem,
        min_size=net.min_size,
        stem=net.stem,
        published_names=net.published_names,
        nonlinearity=net.nonlinearity,
    )
    kept.training, made.training = net.features.training, net.training
    made.head.train(net.training)
    return made


def middle_stage(net: Net) -> str:
    """Return the name of a net's middle stage, the earlier of two: where `cut` is usual."""
    names = list(stages_of(net))
    return names[(len(names) - 1) // 2]


def head_kind(head: nn.Module) -> str:
    """Return which of gap, attention, lse and top a head is; gap for any other."""
    return next((kind for kind, form in POOLED.items() if type(head) is form), "gap")
