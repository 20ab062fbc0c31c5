"""From config files to objects: where the files lie, and what they may name."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import hydra.utils
import yaml

from medcnn.errors import UserError
from medcnn.jobs.lacking import nearest

MAX_TEXT, MAX_NODES = 2**24, 10**6  # characters of a YAML file, and the values that it may make
# What medcnn's own config files name, exactly. A config file can name nothing else: it may come
# from a stranger, and to call what it names is to run a stranger's program.
TARGETS = frozenset(
    {
        "medcnn.training.callbacks.EMA",
        "medcnn.training.callbacks.MapsInTensorBoard",
        "medcnn.training.callbacks.SWA",
        "medcnn.training.callbacks.Snapshots",
        "medcnn.training.callbacks.Soup",
        "medcnn.data.augment.Augment",
        "medcnn.data.sources.folder.folder",
        "medcnn.data.sources.medmnist.medmnist",
        "medcnn.data.monai_transforms.MonaiTransforms",
        "medcnn.data.phantom.dataset.phantom",
        "medcnn.data.sources.table.csv",
        "medcnn.nets.build",
        "medcnn.training.optimizers.Lion",
        "medcnn.training.optimizers.sam",
        "medcnn.training.optimizers.schedule_free",
        "medcnn.training.schedulers.cosine",
        "medcnn.training.schedulers.cosine_restarts",
        "medcnn.training.schedulers.onecycle",
        "medcnn.training.schedulers.plateau",
        "medcnn.training.schedulers.polynomial",
        "medcnn.training.schedulers.step",
        "medcnn.training.trackers.MLflow",
        "medcnn.training.trackers.WandB",
        "pytorch_lightning.callbacks.EarlyStopping",
        "pytorch_lightning.loggers.CSVLogger",
        "pytorch_lightning.loggers.TensorBoardLogger",
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.RMSprop",
        "torch.optim.SGD",
    }
)

# Names in checkpoints, run directories and configs that are older than the modules they name
MOVED = {
    "medcnn.callbacks.MapsInTensorBoard": "medcnn.training.callbacks.MapsInTensorBoard",
    "medcnn.data.folder.folder": "medcnn.data.sources.folder.folder",
    "medcnn.data.medmnist.medmnist": "medcnn.data.sources.medmnist.medmnist",
    "medcnn.data.phantom.phantom": "medcnn.data.phantom.dataset.phantom",
    "medcnn.data.table.csv": "medcnn.data.sources.table.csv",
    "medcnn.schedulers.cosine": "medcnn.training.schedulers.cosine",
    "medcnn.schedulers.onecycle": "medcnn.training.schedulers.onecycle",
    "medcnn.schedulers.plateau": "medcnn.training.schedulers.plateau",
    "medcnn.schedulers.step": "medcnn.training.schedulers.step",
}


def conf_dir() -> Path:
    """Return the folder of config files: inside a wheel, beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def check_yaml(text: str) -> None:
    """Check a YAML text before it is loaded, as aliases of aliases can make billions of a few.

    Raises:
        YAMLError: More than `MAX_NODES` values, or a value that holds itself.
    """
    if len(text) > MAX_TEXT:
        raise yaml.YAMLError(f"it has {len(text)} characters, more than the {MAX_TEXT} allowed")
    if not re.search(r"&\w", text):
        return
    counts: dict[int, int] = {}

    def count(node: yaml.Node) -> int:
        if counts.setdefault(id(node), -1) < 0:
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            flat = chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
            counts[id(node)] = MAX_NODES  # of one that holds itself
            counts[id(node)] = 1 + sum(map(count, flat))
        return counts[id(node)]

    top = yaml.compose(text, Loader=yaml.SafeLoader)
    if top is not None and count(top) > MAX_NODES:
        raise yaml.YAMLError(f"its aliases make more than {MAX_NODES} values of it")


def instantiate(
    node: Mapping[str, Any], where: str, trust: Iterable[str] = (), **extra: Any
) -> Any:
    """Return what the call of a config's ``_target_`` gives; None if there is no target.

    Args:
        node: ``_target_``, the full name of a class or function, and the arguments of the call.
        where: The key of that config, for messages.
        trust: Names that the user allows beside `TARGETS`.
        extra: Further arguments.

    Raises:
        UserError: The target is neither medcnn's own nor trusted, doesn't exist, or doesn't take
            these arguments.
    """
    target, call = _prepared(node, where, trust, extra)
    try:
        return call()
    except Exception as error:  # each library has its own for a value that can't be
        if isinstance(error, UserError) or target.startswith("medcnn.") or target not in TARGETS:
            raise  # a fault of that code, unless it says itself that it is the user's
        raise UserError(f"{where}: {target} refuses these options: {error}") from error


def check_call(
    node: Mapping[str, Any], where: str, trust: Iterable[str] = (), **extra: Any
) -> None:
    """Raise the UserError that `instantiate` would; a class of the user's own isn't called."""
    target, _ = _prepared(node, where, trust, extra)
    if target in TARGETS:
        instantiate(node, where, **extra)


def _prepared(
    node: Mapping[str, Any], where: str, trust: Iterable[str], extra: dict[str, Any]
) -> tuple[str, Callable[[], Any]]:
    """Return the target of a config, and its call, which takes the options."""
    if not isinstance(node, Mapping):
        raise UserError(f"{where}={node} is no config with a _target_")
    options = dict(node)
    target = options.pop("_target_", None)
    if target is None:
        return "", lambda: None
    target = MOVED.get(target, target) if isinstance(target, str) else target
    call = _resolve(target, where, trust)
    _refuse_nested_targets(options, where)
    try:
        inspect.signature(call).bind(**options, **extra)
    except TypeError as error:
        near = ""
        if unknown := re.search("unexpected keyword argument '(.*)'", str(error)):
            names = [name for name in inspect.signature(call).parameters if name not in extra]
            near = nearest(unknown[1], names)
        raise UserError(
            f"{where}: {target} can't be called with these options: {error}{near}"
        ) from error
    return target, partial(call, **options, **extra)


def _resolve(target: Any, where: str, trust: Iterable[str]) -> Any:
    if not isinstance(target, str) or target not in TARGETS | set(trust):
        raise UserError(
            f"{where}._target_={target} is not one of medcnn's own; if you know what it does, "
            f"add trust=[{target}] to the command line"
        )
    try:
        return hydra.utils.get_object(target)
    except Exception as error:  # whatever the module raises while it is imported
        raise UserError(f"{where}._target_={target} can't be imported: {error}") from error


def _refuse_nested_targets(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise UserError(f"{where}: a _target_ inside another one's options is not called")
        for key, inner in value.items():
            _refuse_nested_targets(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            _refuse_nested_targets(inner, where)
