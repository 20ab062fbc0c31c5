"""The four classic cases of transfer learning, and the choice among them."""

from collections.abc import Iterable

from medcnn.classifier.build import make_classifier
from medcnn.classifier.card import make_card
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.jobs.hardware import processes
from medcnn.jobs.settings.commands import Train
from medcnn.nets import Net
from medcnn.nets.cut import middle_stage


def settle(cfg: Train, samples: Samples, trust: Iterable[str]) -> str | None:
    """Decide what ``transfer=auto`` means here, and where the trunk is cut.

    Sets ``transfer.mode`` and, for partial, ``model.cut`` in the config.

    Args:
        cfg: Of a training.
        samples: Its data; only the training split is looked at.
        trust: Names that the config may hold beside medcnn's own.

    Returns:
        The choice with its reason, a line to print; None where there was nothing to choose.

    Raises:
        UserError: Settings that don't go together.
    """
    check(cfg)
    weights = has_weights(cfg)
    if cfg.transfer.mode == "auto" and not weights:
        cfg.transfer.mode = "scratch"
    if cfg.transfer.mode == "auto":
        return choose(cfg, samples, trust)
    if cfg.transfer.mode == "partial" and cfg.model.get("cut") is None:
        whole = make_classifier(make_card(cfg, samples), trust).net
        assert isinstance(whole, Net)
        set_cut(cfg, middle_stage(whole))
    return None


def check(cfg: Train) -> None:
    """Raise UserError for settings of transfer that don't go together."""
    node, own = cfg.transfer, is_own(cfg)
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


def is_own(cfg: Train) -> bool:
    """Return True if the net is one that `medcnn.nets.build` makes."""
    return bool(cfg.model.get("_target_") == "medcnn.nets.build")


def has_weights(cfg: Train) -> bool:
    """Return True if a config names weights to start from."""
    return is_own(cfg) and bool(cfg.model.get("pretrained") or cfg.model.get("weights") is not None)


def set_cut(cfg: Train, stage: str) -> None:
    """Set the stage to cut at, unless the user did."""
    if cfg.model.get("cut") is None:
        cfg.model["cut"] = stage


def choose(cfg: Train, samples: Samples, trust: Iterable[str]) -> str:
    """Choose among the four cases by the size of the data and how well the features fit them.

    Data are small below ``transfer.small`` training images. They count as similar to those that
    the weights were trained on if of all stages the last has the features that tell their classes
    apart best; if not, the trunk is cut after the stage that has. Where none does as well as
    `medcnn.training.linear_probe.FITS` says, or none better than the first (whose edges and blobs
    any net has), all is fine-tuned. These two limits were chosen on the experiments of
    docs/transfer.csv.
    """
    rows = samples.rows("train")
    few = len(rows) < cfg.transfer.small
    size = f"{len(rows)} training images are {'few' if few else 'many'}"
    size += f" ({'below' if few else 'at least'} {cfg.transfer.small})"
    if not few:
        cfg.transfer.mode = "finetune"
        return f"transfer: finetune, for {size}"
    from medcnn.training.linear_probe import best_stage  # scikit-learn is slow to import

    whole = make_classifier(make_card(cfg, samples), trust, fresh=True).eval()
    cfg.transfer.mode, stage, reason = best_stage(whole, samples)
    if cfg.transfer.mode == "partial":
        set_cut(cfg, stage)
    return f"transfer: {cfg.transfer.mode}, for {size}, and {reason}"
