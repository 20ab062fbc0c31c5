"""The channels of an image that mean one thing each, by name."""

from collections.abc import Mapping
from typing import Any

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
        >>> spec = {"columns": ["t1", "flair"], "channels": [1, 1], "missing_channel": "zero"}
        >>> channel_groups({"in_channels": 4, "image_spec": spec})
        {'t1': [0, 2], 'flair': [1, 3]}
    """
    count, spec = int(card["in_channels"]), card.get("image_spec") or {}
    mask = {"mask": [count - 1]} if spec.get("mask_as") == "channel" else {}
    count -= len(mask)
    if not spec.get("columns"):
        whole = {"image": list(range(count))}
        named = whole if count in COLOUR else {f"channel {k}": [k] for k in range(count)}
        return named | mask
    groups, end = {}, 0
    for name, channels in zip(spec["columns"], spec["channels"], strict=True):
        groups[str(name)] = list(range(end, end + channels))
        end += channels
    if spec.get("missing_channel") == "zero":
        for k, group in enumerate(groups.values()):
            group.append(end + k)
    return groups | mask
