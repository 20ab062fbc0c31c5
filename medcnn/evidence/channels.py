"""The channels of an image that mean one thing each, by name."""

from collections.abc import Mapping
from typing import Any

from medcnn.data.image import layout_of

COLOUR = (1, 3)  # channels of a picture that nobody named: one picture


def channel_groups(card: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return the channels of each part of a classifier's images, by the part's name.

    Of images made of several files each file is a part, with the channel that says that it is
    there; the lesion's mask is one. A grey or coloured picture is one part; of other images, such
    as arrays, each channel.

    Args:
        card: Of the classifier.

    Returns:
        All channels, each in one part.

    Example:
        >>> channel_groups({"in_channels": 2, "image_spec": None})
        {'channel 0': [0], 'channel 1': [1]}
        >>> spec = {"size": [8, 8], "columns": ["t1", "flair"], "channels": [1, 1],
        ...         "missing_channel": "zero"}
        >>> channel_groups({"in_channels": 4, "image_spec": spec})
        {'t1': [0, 2], 'flair': [1, 3]}
    """
    count, layout = int(card["in_channels"]), layout_of(card)
    if layout is None:
        whole = {"image": list(range(count))}
        return whole if count in COLOUR else {f"channel {k}": [k] for k in range(count)}
    names = card["image_spec"]["columns"] or ["image"]
    groups = {}
    for k, (name, own) in enumerate(zip(names, layout.files, strict=True)):
        presence = [layout.pictures + k] if layout.presence else []
        groups[str(name)] = [*range(own.start, own.stop), *presence]
    return groups | ({"mask": [count - 1]} if layout.lesion else {})
