"""Whether left and right, up and down carry a meaning in images of a kind."""

# Side has a meaning: the heart lies left, the liver right.
SIDED = ("chestmnist", "pneumoniamnist", "organ", "nodule", "CR", "DX", "CT", "MR", "PT")
# Left and right are alike.
MIRRORED = ("breastmnist", "US", "MG", "retinamnist", "OP", "octmnist", "OPT")
TURNED = ("pathmnist", "bloodmnist", "tissuemnist", "dermamnist", "SM", "XC", "GM")  # no way up


def mirrored(kind: str) -> tuple[list[int], str]:
    """Return the axes along which images may be mirrored, and why.

    Args:
        kind: MedMNIST's name of the set, or DICOM's of the modality; empty where nobody says.
    """
    flips = [-1, -2] if _is(kind, TURNED) else [-1] if _is(kind, MIRRORED) else []
    what = f"images of {kind}" if kind else "images of what kind nobody says"
    why = {
        2: "there is no way up: mirrored both ways",
        1: "left and right are alike: mirrored",
        0: f"side {'carries' if _is(kind, SIDED) else 'may carry'} a meaning: not mirrored",
    }[len(flips)]
    return flips, f"{what}, {why}"


def _is(kind: str, names: tuple[str, ...]) -> bool:
    return any(kind == name or (name.islower() and kind.startswith(name)) for name in names)
