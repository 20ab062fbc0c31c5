"""What a config may hold: looked at before anything starts, whether it would be used or not.

What a key's default is says what kind of value it takes; the tables below say the rest. Options of
a class or function, those beside a ``_target_``, are looked at where it is called.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from medcnn.errors import UserError, check_path, check_whole_number
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.lacking import lacking, nearest

METHODS = (  # of medcnn.cam, whose import takes seconds
    *("cam", "gradcam", "gradcampp", "hirescam", "xgradcam", "layercam", "scorecam", "ablationcam"),
    *("eigencam", "occlusion", "gradient", "smoothgrad", "integrated_gradients"),
    "guided_backprop",
)
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
LISTS = {  # keys that hold all, one or several of …
    "methods": METHODS,
    "scores": ("localisation", "reliance", "faithfulness", "sanity", "stability", "shortcut"),
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "accelerator": ACCELERATORS,
    "aggregate": ("mean", "max", "noisy-or"),
    "calibration": ("none", "temperature", "isotonic"),
    "cam.method": METHODS,
    "normalise": ("zscore", "mean", "pixel_mean", "whiten", "image", "none"),
    "objective.task": ("binary", "multiclass", "multilabel", "ordinal", "regression"),
    "on_error": ("stop", "skip"),
    "precision": PRECISIONS,
    "pseudonymise": (True, False),
    "split": ("train", "val", "test", "holdout", "new"),
    "splits.method": ("auto", "column", "patient", "site"),
    "trainer.accelerator": ACCELERATORS,
    "trainer.deterministic": (True, False, "warn"),
    "trainer.precision": PRECISIONS,
    "trainer.profiler": ("simple", "advanced"),
    "transfer.mode": ("auto", "scratch", "head", "partial", "finetune"),
    "tta": ("none", "flips"),
}
WHOLE_NUMBERS: dict[str, tuple[int, int | None]] = {  # keys: least, most
    "batch_size": (1, None),
    "cam.n": (0, None),
    "channels": (1, 32),
    "evaluation.least": (1, None),
    "evaluation.resamples": (1, None),
    "folds": (2, 100),
    "limit": (1, None),
    "n": (0, None),
    "overfit_batches": (0, None),
    "sample": (1, None),
    "seed": (0, 2**32 - 1),
    "size": (1, None),
    "smooth": (0, None),
    "splits.seed": (0, 2**32 - 1),
    "threads": (1, None),
    "trainer.accumulate_grad_batches": (1, None),
    "trainer.log_every_n_steps": (1, None),
    "trainer.max_epochs": (1, None),
    "trainer.threads": (1, None),
    "transfer.small": (0, None),
    "transfer.unfreeze": (0, None),
}
OF_ROOT: dict[tuple[str, str], tuple[int, int | None]] = {("data", "n"): (1, 500)}
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
OF_LIGHTNING = ("trainer", "callbacks", "logger")  # its Trainer knows more keys than conf/ has
SEVERAL_KINDS = ("trainer.devices",)  # a number or a word


def check_config(cfg: DictConfig, root: str) -> None:
    """Raise UserError at a key that no config of medcnn has, or a value that can't be.

    Args:
        cfg: As composed.
        root: Name of the file in conf/ that it was composed from.
    """
    known = known_keys(root)
    for key in _unknown(cfg, known, ""):
        raise UserError(no_such_key(key, root, OmegaConf.select(cfg, key, throw_on_missing=False)))
    check_values(cfg, root)


def no_such_key(key: str, root: str, *values: object) -> str:
    """Return the message about a key that a root config lacks, and the values it was to have."""
    sentence = lacking(key, *values)
    if sentence is not None:
        return f"there is no key {key}: {sentence}"
    return f"there is no key {key}{nearest(key, list(_names(known_keys(root), '')))}"


def check_values(cfg: DictConfig, root: str) -> None:
    """Raise UserError at a value that can't be, used or not."""
    for key, defaults in _flat(known_keys(root), "").items():
        check = _check_of(key, root, {type(default) for default in defaults} - {type(None)})
        if check is None or not _has(cfg, key):
            continue
        value = OmegaConf.select(cfg, key)
        if value is not None or None not in defaults:
            check(key, value)


def _check_of(key: str, root: str, kinds: set[type]) -> Callable[[str, Any], None] | None:
    """What looks at the values of a key whose defaults are of these kinds."""
    limits = OF_ROOT.get((root, key), WHOLE_NUMBERS.get(key))
    if limits is not None:
        return partial(check_whole_number, least=limits[0], most=limits[1])
    if key in CHECKS:
        return CHECKS[key]
    if key in SEVERAL_KINDS or key.startswith("hydra."):
        return None
    if kinds == {bool}:
        return partial(_choose, known=(True, False))
    return _number if kinds and kinds <= {int, float} else None


def _choose(key: str, value: Any, known: Sequence[Any]) -> None:
    if not any(value == word and type(value) is type(word) for word in known):  # True == 1
        words = ", ".join(str(word).lower() for word in known)
        raise UserError(f"{key}={value}: {lacking(value) or f'choose one of {words}'}")


def _some(key: str, value: Any, known: Sequence[str]) -> None:
    several = isinstance(value, ListConfig)
    for one in value if several else (value,):
        _choose(key, one, known if several else ("all", *known))


def _number(key: str, value: Any) -> None:
    if not _is_number(value):
        raise UserError(f"{key}={value}: give a number")


def _above_zero(key: str, value: Any) -> None:
    if not _is_number(value) or value <= 0:
        raise UserError(f"{key}={value}: give a number above 0, or null")


def _batches(key: str, value: Any) -> None:
    share = isinstance(value, float) and 0 < value <= 1
    if not share and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UserError(
            f"{key}={value}: give a share, above 0 and up to 1.0, or a number of batches, at least "
            "1"
        )


def _bytes(key: str, value: Any, auto: bool = False) -> None:
    if not (auto and value == "auto"):
        parse_bytes(key, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def parse_bytes(key: str, value: str | int) -> int:
    """Return a number of bytes such as 64MB or 50 GB, in powers of 1000.

    >>> parse_bytes("cache.memory", "64MB")
    64000000

    Raises:
        UserError: Anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", str(value).strip(), re.IGNORECASE)
    if match is None:
        raise UserError(f"{key}={value}: give a size such as 500MB or 20GB")
    return int(float(match[1]) * UNITS[match[2].upper()])


CHECKS: dict[str, Callable[[str, Any], None]] = {
    **{key: partial(_choose, known=words) for key, words in CHOICES.items()},
    **{key: partial(_some, known=words) for key, words in LISTS.items()},
    **{f"trainer.limit_{split}_batches": _batches for split in ("train", "val", "test")},
    "trainer.gradient_clip_val": _above_zero,
    "cache.folder": check_path,
    "cache.memory": partial(_bytes, auto=True),
    "cache.disk": _bytes,
}


@cache
def known_keys(root: str) -> dict[str, Any]:
    """Return what conf/ has for a root config: keys, nested, each with a list of its defaults."""
    file = _read(root)
    tree: dict[str, Any] = {}
    for entry in file.pop("defaults", ()):
        name = next(iter(entry)) if isinstance(entry, dict) else ""
        group = name.removeprefix("optional ")
        if not group or name.startswith("override "):
            continue
        choices = tree.setdefault(group, {})
        for path in sorted((conf_dir() / group).glob("*.yaml")):
            if "@package _global_" not in path.read_text(encoding="utf-8").partition("\n")[0]:
                _merge(choices, _read(f"{group}/{path.stem}"))
    _merge(tree, file)
    return tree


def _read(name: str) -> dict[str, Any]:
    text = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text) or {}
    if "/" in name:
        content.pop("defaults", None)
    return dict(content)


def _merge(tree: dict[str, Any], content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(tree.get(key, {}), dict):
            _merge(tree.setdefault(key, {}), value)
        elif not isinstance(tree.get(key), dict):
            tree.setdefault(key, []).append(value)


def _unknown(node: DictConfig, known: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key in map(str, node):
        name = f"{prefix}{key}"
        if key not in known:
            yield name
        elif isinstance(known[key], dict) and name not in (*OF_LIGHTNING, "hydra"):
            inner = None if OmegaConf.is_missing(node, key) else node[key]
            if isinstance(inner, DictConfig) and inner.get("_target_") is None:
                yield from _unknown(inner, known[key], f"{name}.")


def _flat(tree: Mapping[str, Any], prefix: str) -> dict[str, list[Any]]:
    """The defaults of all keys that stand in a config, in any depth, but for those of calls."""
    found: dict[str, list[Any]] = {}
    for key, value in tree.items():
        if not isinstance(value, dict):
            found[f"{prefix}{key}"] = value
        elif "_target_" not in value:
            found |= _flat(value, f"{prefix}{key}.")
    return found


def _names(tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """All keys, in any depth, those of calls too."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{key}.")


def _has(cfg: DictConfig, key: str) -> bool:
    """Whether a config has a key, and a value for it."""
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node or OmegaConf.is_missing(node, part):
            return False
        node = node[part]
    return True
