"""From a config to the parts of a training: optimiser, scheduler, freezing, loaders."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch

from medcnn.classifier.build import check_model
from medcnn.classifier.card import check_class_weights, task_of
from medcnn.classifier.classifier import Classifier
from medcnn.data.augment_layout import with_layout
from medcnn.data.batches import DataModule, images_at
from medcnn.data.memory import available_memory
from medcnn.data.samples import SPLITS, Samples
from medcnn.data.sampling import sampling_of
from medcnn.data.studies import learns_studies
from medcnn.errors import UserError
from medcnn.inference.tta import mirrored_axes
from medcnn.jobs.hardware import device, processes, resolve_precision
from medcnn.jobs.instantiate import TARGETS, check_call, instantiate
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.values import is_number
from medcnn.objective import choose_loss
from medcnn.training.compiled import check_compiler
from medcnn.training.freezing import FeatureCache, Freezing
from medcnn.training.module import TrainingModule
from medcnn.training.optimizers import SharpnessAware
from medcnn.training.regularisation import Regularisation
from medcnn.training.trainer import check_trainer


def make_module(
    cfg: Train, classifier: Classifier, samples: Samples, trust: Iterable[str]
) -> TrainingModule:
    """Return the module that trains a classifier as a config says."""
    node = cfg.transfer
    regularisation = Regularisation(**cfg.regularise.plain())
    chosen = Freezing(node.mode, float(node.first_lr), node.unfreeze, float(node.head_lr))
    cache = None
    augments = any(value for key, value in cfg.augment.items() if key != "_target_")
    if chosen.trunk_is_fixed and not augments and not regularisation.mixes:
        images = partial(images_at, samples)
        cache = FeatureCache(len(samples), available_memory() // 4, images, cfg.batch_size)
    return TrainingModule(
        classifier,
        optimizer=partial(make_optimizer, cfg, trust),
        scheduler=partial(make_scheduler, cfg, trust),
        freezing=chosen,
        cache=cache,
        regularisation=regularisation,
    )


def make_optimizer(
    cfg: Train, trust: Iterable[str], groups: list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Return the optimiser of a config for groups of parameters."""
    if cfg.optimizer.get("_target_") in TARGETS:  # others may take None, and more
        check_numbers(cfg.optimizer)
    node = dict(cfg.optimizer)
    if node.get("fused") and _precision(cfg) == "16-mixed":
        node["fused"] = False  # its gradients stay scaled where they are clipped and measured
    made = instantiate(node, "optimizer", trust, params=groups)
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"optimizer._target_={cfg.optimizer.get('_target_')} is no optimiser")
    return made


def _precision(cfg: Train) -> str:
    return resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)


def check_numbers(optimizer: Mapping[str, Any]) -> None:
    """Raise UserError for a number of an optimiser of medcnn's that can't be."""
    for key in ("lr", "weight_decay", "momentum", "alpha"):
        value, share = optimizer.get(key, 0), key in ("momentum", "alpha")
        if not is_number(value) or value < 0 or (share and value >= 1):
            limits = "at least 0 and below 1" if share else "at least 0"
            raise UserError(f"optimizer.{key}={value}: give a number, {limits}")


def make_scheduler(
    cfg: Train, trust: Iterable[str], optimizer: torch.optim.Optimizer, total_steps: int
) -> dict[str, Any] | None:
    """Return the schedule of a config in Lightning's form; None where the rate stays."""
    if cfg.scheduler.get("_target_") is None:
        return None
    options = {"optimizer": optimizer, "total_steps": total_steps}
    schedule: dict[str, Any] = instantiate(cfg.scheduler, "scheduler", trust, **options)
    return schedule


def check_config(cfg: Train, trust: Iterable[str]) -> None:
    """Raise the UserError of options that can't be before data are read."""
    check_class_weights(cfg.objective.class_weights)
    sampling_of(cfg.sampler)
    if cfg.objective.task is not None:
        choose_loss(cfg.loss.plain(), cfg.objective.task)
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]}]
    optimizer = make_optimizer(cfg, trust, groups)
    make_scheduler(cfg, trust, optimizer, total_steps=100)
    check_optimizer(cfg, optimizer)
    check_call(cfg.average, "average", trust)
    check_average(cfg)
    check_model(cfg.model, trust)
    check_with_studies(cfg)
    check_call(cfg.augment, "augment", trust, seed=cfg.seed)
    mirrored_axes(cfg.tta, cfg.plain())
    for name, node in cfg.callbacks.items():
        check_call(node, f"callbacks.{name}", trust)
    for name, node in cfg.logger.items():
        check_call(node, f"logger.{name}", trust, save_dir=cfg.paths.run)
    check_trainer(cfg)
    if cfg.trainer.compile:
        check_compiler(device(cfg.trainer))


def check_with_studies(cfg: Train) -> None:
    """Raise UserError for what doesn't go with a net that takes the images of a study together."""
    chunk, several = cfg.model.get("chunk"), processes(cfg.trainer) > 1
    if chunk is not None and several and (cfg.trainer.model_extra or {}).get("sync_batchnorm"):
        raise UserError(
            f"model.chunk={chunk}: processes have different numbers of chunks, and "
            "trainer.sync_batchnorm=true would wait for ever; set one of them to null or false"
        )
    if not learns_studies(cfg.model):
        return
    how = f"model.aggregate={cfg.model['aggregate']}"
    for key in ("mixup", "cutmix"):
        if getattr(cfg.regularise, key) > 0:
            raise UserError(
                f"regularise.{key} mixes single images, which {how} takes together; set it to 0"
            )


def check_optimizer(cfg: Train, optimizer: torch.optim.Optimizer) -> None:
    """Raise UserError for a setting that doesn't go with an optimiser."""
    if isinstance(optimizer, SharpnessAware):
        if cfg.trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={cfg.trainer.accumulate_grad_batches}: "
                "optimizer=sam takes both its gradients on one batch; set it to 1"
            )
        if _precision(cfg) == "16-mixed":
            raise UserError(
                "trainer.precision=16-mixed: optimizer=sam takes two gradients a step, which its "
                "scaling of the loss doesn't know; choose bf16-mixed or 32-true"
            )
    own_schedule = cfg.optimizer.get("_target_") == "medcnn.training.optimizers.schedule_free"
    if own_schedule and cfg.scheduler.get("_target_") is not None:
        raise UserError("optimizer=schedule_free goes without a schedule: add scheduler=none")
    if own_schedule and cfg.average.get("_target_") is not None:
        raise UserError("optimizer=schedule_free averages the weights itself: add average=none")
    if own_schedule and cfg.regularise.max_norm is not None:
        raise UserError(
            f"regularise.max_norm={cfg.regularise.max_norm}: optimizer=schedule_free tests other "
            "weights than those that it would keep short; set it to null"
        )


def check_average(cfg: Train) -> None:
    """Raise UserError for an average that doesn't go with the epochs, or with the schedule."""
    target, epochs = cfg.average.get("_target_"), cfg.trainer.max_epochs
    if target == "medcnn.training.callbacks.EMA" and cfg.average["start"] >= epochs:
        raise UserError(
            f"average.start={cfg.average['start']}: it never begins; choose less than "
            f"trainer.max_epochs={epochs}"
        )
    if target == "medcnn.training.callbacks.Snapshots":
        check_cycles(cfg)


def check_cycles(cfg: Train) -> None:
    """Raise UserError where the cycles of a snapshot ensemble don't end with an epoch."""
    epochs, cycles = cfg.trainer.max_epochs, cfg.average["cycles"]
    if cycles != cfg.scheduler.get("cycles"):
        raise UserError(
            f"average.cycles={cycles}: take those of scheduler=cosine_restarts: scheduler.cycles"
        )
    if epochs % cycles:
        raise UserError(
            f"scheduler.cycles={cycles}: with average=snapshots a number that divides "
            f"trainer.max_epochs={epochs}, so that each cycle ends with an epoch"
        )
    if cfg.scheduler["growth"] != 1:
        raise UserError(
            f"scheduler.growth={cfg.scheduler['growth']}: with average=snapshots 1, so that each "
            "cycle ends with an epoch"
        )


def make_data(cfg: Train, samples: Samples, trust: Iterable[str]) -> DataModule:
    """Return the loaders of training, validation, and at the end validation and test.

    Raises:
        UserError: A split without samples, before anything is trained.
    """
    for split in SPLITS:
        samples.rows(split)
    sampling, task = sampling_of(cfg.sampler), task_of(cfg, samples)
    augment = instantiate(cfg.augment, "augment", trust, seed=cfg.seed)
    return DataModule(
        samples,
        cfg.batch_size,
        seed=cfg.seed,
        augment=with_layout(augment, samples.layout),
        overfit_batches=cfg.overfit_batches,
        test_splits=("val", "test"),
        limits={split: getattr(cfg.trainer, f"limit_{split}_batches") for split in SPLITS},
        draws=None if sampling is None else partial(sampling.draws, samples, task=task),
    )
