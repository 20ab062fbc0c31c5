"""Which of the four classic cases of transfer learning a job is, and why."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, open_dict
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from medcnn.assemble import make_card, make_classifier
from medcnn.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.samples import Samples
from medcnn.errors import UserError, check_whole_number
from medcnn.freeze import MODES, Freezing
from medcnn.nets import Net
from medcnn.nets.cut import middle_stage
from medcnn.objective import known
from medcnn.trainer import autocast, processes

FOLDS = 5
FITS = {"AUROC": 0.75, "R²": 0.2}  # of a probe; features below are not worth keeping
ALPHAS = np.logspace(-1, 5, 7)
Array = NDArray[Any]


def settle(cfg: DictConfig, samples: Samples, trust: Iterable[str]) -> str | None:
    """Decides what ``transfer=auto`` means here, and where the trunk is cut.

    Sets ``transfer.mode`` and, for partial, ``model.cut`` in the config.

    Args:
        cfg: Of a training.
        samples: Its data; only the training split is looked at.
        trust: Names that the config may hold beside medcnn's own.

    Returns:
        The choice with its reason, a line to print; None where there was nothing to choose.

    Raises:
        UserError: Settings that can't be, or that don't go together.
    """
    check(cfg)
    weights = has_weights(cfg)
    if cfg.transfer.mode == "auto" and not weights:
        cfg.transfer.mode = "scratch"
    if cfg.transfer.mode == "auto":
        return choose(cfg, samples, trust)
    if cfg.transfer.mode == "partial" and cfg.model.cut is None:
        set_cut(cfg, middle_stage(probe_net(cfg, samples, trust).net))  # type: ignore[arg-type]
    return None


def freezing(cfg: DictConfig) -> Freezing:
    """The settings of a config whose mode is settled."""
    node = cfg.transfer
    return Freezing(node.mode, float(node.first_lr), int(node.unfreeze), float(node.head_lr))


def check(cfg: DictConfig) -> None:
    """Raises UserError for settings of transfer that can't be."""
    node, own = cfg.transfer, is_own(cfg)
    if node.mode not in (*MODES, "auto"):
        raise UserError(f"transfer.mode={node.mode}: choose one of {', '.join(MODES)} or auto")
    if not isinstance(node.first_lr, int | float) or not 0 < node.first_lr <= 1:
        raise UserError(f"transfer.first_lr={node.first_lr}: give a share, above 0 and up to 1")
    if not isinstance(node.head_lr, int | float) or node.head_lr <= 0:
        raise UserError(f"transfer.head_lr={node.head_lr}: give a number above 0")
    check_whole_number("transfer.unfreeze", node.unfreeze, least=0)
    check_whole_number("transfer.small", node.small, least=1)
    if node.mode == "scratch" and has_weights(cfg):
        raise UserError("transfer=scratch starts from random weights: leave model.weights out")
    if node.mode in ("head", "partial", "finetune") and own and not has_weights(cfg):
        raise UserError(
            f"transfer={node.mode} needs weights to start from: add model.pretrained=true or "
            "model.weights=…"
        )
    if node.mode == "partial" and not own:
        raise UserError("transfer=partial cuts medcnn's own networks only")
    if node.unfreeze and processes(cfg.trainer) > 1:
        raise UserError("transfer.unfreeze works in one process; set it to 0 for several")


def is_own(cfg: DictConfig) -> bool:
    """Whether the net is one that `medcnn.nets.build` makes."""
    return bool(cfg.model.get("_target_") == "medcnn.nets.build")


def has_weights(cfg: DictConfig) -> bool:
    """Whether a config names weights to start from."""
    return is_own(cfg) and bool(cfg.model.pretrained or cfg.model.weights is not None)


def set_cut(cfg: DictConfig, stage: str) -> None:
    """Sets the stage to cut at, unless the user did."""
    if cfg.model.cut is None:
        with open_dict(cfg):
            cfg.model.cut = stage


def probe_net(cfg: DictConfig, samples: Samples, trust: Iterable[str]) -> Classifier:
    """The whole classifier with its weights, to look at."""
    return make_classifier(make_card(cfg, samples), trust, fresh=True).eval()


def choose(cfg: DictConfig, samples: Samples, trust: Iterable[str]) -> str:
    """Chooses among the four cases by the size of the data and how well the features fit them.

    Data are small below ``transfer.small`` training images. They count as similar to those that
    the weights were trained on if of all stages the last has the features that tell their classes
    apart best; if not, the trunk is cut after the stage that has. Where none does so well
    as `FITS` says, or none better than the first (whose edges and blobs any net has), all is
    fine-tuned. These two limits were chosen on the experiments of docs/transfer.csv.
    """
    rows = samples.rows("train")
    few = len(rows) < cfg.transfer.small
    size = f"{len(rows)} training images are {'few' if few else 'many'}"
    size += f" ({'below' if few else 'at least'} {cfg.transfer.small})"
    if not few:
        cfg.transfer.mode = "finetune"
        return f"transfer: finetune, for {size}"
    cfg.transfer.mode, stage, reason = best_stage(probe_net(cfg, samples, trust), samples)
    if cfg.transfer.mode == "partial":
        set_cut(cfg, stage)
    return f"transfer: {cfg.transfer.mode}, for {size}, and {reason}"


def best_stage(classifier: Classifier, samples: Samples) -> tuple[str, str, str]:
    """The way for few images, the stage whose features fit them best, and why."""
    net = classifier.net
    assert isinstance(net, Net)
    *_, last = (name for name, _ in net.features.named_children())
    if not net.spatial:
        return "head", last, "the net has no feature maps to compare"
    rows = samples.rows("train")
    labels = samples.labels[rows]
    rows = rows[known(labels) if labels.ndim == 1 else known(labels).any(1)]
    truth = targets(samples, rows)
    patients = samples.table["patient"].astype(str).to_numpy()[rows.numpy()]
    if len(np.unique(patients)) < FOLDS or score(truth, truth, samples.task) is None:
        return "head", last, "they are too few to measure how well the features fit"
    means = stage_means(classifier, samples, rows)
    figures = {
        name: score(truth, probe(features, truth, patients), samples.task) or 0.0
        for name, features in means.items()
    }
    best = max(reversed(figures), key=lambda name: figures[name])
    what = "R²" if samples.task == "regression" else "AUROC"
    shown = f"{figures[best]:.3f} of {best}" + (f", {figures[last]:.3f} of {last}" * (best != last))
    how = f"(cross-validated {what} of a linear probe {shown})"
    if best == next(iter(figures)) != last:
        return "finetune", best, f"no stage's features fit them better than the first's {how}"
    if figures[best] < FITS[what]:
        return "finetune", best, f"no stage's features fit them: below {FITS[what]} {how}"
    if best == last:
        return "head", last, f"the features of the last stage fit them best {how}"
    return "partial", best, f"the features of {best} fit them better than those of the last {how}"


@torch.inference_mode()
def stage_means(classifier: Classifier, samples: Samples, rows: Tensor) -> dict[str, Array]:
    """Mean over the image (n, K) of what each stage gives for some rows."""
    net = classifier.net
    assert isinstance(net, Net)
    found: dict[str, list[Array]] = {name: [] for name, _ in net.features.named_children()}
    with autocast(classifier):
        for part in rows.split(classifier.card["config"]["batch_size"]):
            images = unit_intensity(samples.images[part], samples.ranges(part))
            x = classifier.normalise(images.to(classifier.device))
            for name, stage in net.features.named_children():
                x = stage(x)
                found[name].append(x.float().flatten(2).mean(2).cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def targets(samples: Samples, rows: Tensor) -> Array:
    """What a linear probe is to give (n, outputs); NaN where a label is unknown."""
    labels = samples.labels[rows]
    if samples.task in ("multilabel", "regression"):
        columns = labels.reshape(len(labels), -1)
        return torch.where(known(columns), columns.double(), torch.nan).numpy()
    return np.eye(len(samples.class_names))[labels.numpy()]


def probe(means: Array, truth: Array, patients: Array) -> Array:
    """Cross-validated predictions (n, outputs) by ridge regression; no patient is in two folds."""
    filled = np.where(np.isnan(truth), np.nanmean(truth, 0), truth)
    model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    folds = GroupKFold(FOLDS)
    given = cross_val_predict(model, means, filled, groups=patients, cv=folds)
    return np.asarray(given).reshape(truth.shape)


def score(truth: Array, given: Array, task: str) -> float | None:
    """Mean over the outputs of AUROC, or of R² in regression; None where none is defined."""
    values = []
    for want, got in zip(truth.T, given.T, strict=True):
        there = ~np.isnan(want)
        if len(np.unique(want[there])) > 1:
            measure = r2_score if task == "regression" else roc_auc_score
            values.append(measure(want[there], np.nan_to_num(got[there])))
    return float(np.mean(values)) if values else None
