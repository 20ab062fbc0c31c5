"""Fit, then pass validation and test split through the best checkpoint."""

import os
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from medcnn.classifier.build import make_classifier
from medcnn.classifier.card import make_card
from medcnn.classifier.checkpoint import read_checkpoint
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import DataModule
from medcnn.data.columns.encoding import described
from medcnn.data.samples import ALL_SPLITS, HOLDOUT, Samples
from medcnn.data.sampling import drawn_line
from medcnn.evaluation.few_images import validation_lines
from medcnn.inference.logits import as_looks
from medcnn.inference.tta import mirrored_axes, subsets
from medcnn.jobs.atomic_files import write_csv, write_json
from medcnn.jobs.environment import environment
from medcnn.jobs.hardware import local_processes, processes, set_threads
from medcnn.jobs.notes import note, shortened
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.nets import Net, coarse_map_warning
from medcnn.report.figure_files import lacking
from medcnn.training.callbacks import Soup
from medcnn.training.checks import check_smallest_batch, counted_twice
from medcnn.training.compiled import compiled
from medcnn.training.diagnosis.at_start import look_at_start
from medcnn.training.from_config import make_data, make_module
from medcnn.training.module import TrainingModule
from medcnn.training.trainer import make_trainer


def fit_and_test(
    cfg: Train,
    run: RunDir,
    trust: list[str],
    samples: Samples,
    further: Sequence[Callback] = (),
    split: str = "test",
) -> tuple[Classifier, dict[str, Tensor], float]:
    """Fit, then pass validation and test split through the best checkpoint; in every process.

    `further` are callbacks beside those of the config; with ``split="val"`` the test split is left
    alone.

    Returns:
        The classifier; of both splits ``row``, ``label`` and ``looks`` (L, n, outputs), the logits
        of the plain images and, with ``tta=flips``, of the mirrored ones; and the highest
        `medcnn.evaluation.score`.
    """
    set_threads(cfg.trainer.threads, local_processes(cfg.trainer))
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.shuffle_labels:
        samples.shuffle_labels(cfg.seed)
    card = make_card(cfg, samples)
    classifier = make_classifier(card, trust, fresh=not run.last.exists())
    if cfg.cam.n > 0 and classifier.spatial:
        from medcnn.evidence.of_run import check_explainable

        check_explainable(classifier, cfg.cam.method, cfg.cam.stage)
    module = make_module(cfg, classifier, samples, trust)
    data = make_data(cfg, samples, trust)
    data.test_splits = tuple(dict.fromkeys(["val", split]))
    data.with_images = module.cache is None  # which asks for those that it needs
    check_smallest_batch(module, samples, cfg.batch_size, processes(cfg.trainer))
    trainer = make_trainer(cfg, run, trust, further)
    if trainer.is_global_zero:
        write_csv(run / "samples.csv", samples.table, index_label="row")
        precision = str(trainer.precision)
        write_json(run / "environment.json", environment(precision=precision))
        _introduce(cfg, run, data, module, precision)
        if trainer.world_size > 1:
            print(_sharing_line(cfg, trainer), flush=True)
        if not run.last.exists():
            look_at_start(cfg, run, samples, module, data)
    resume_from = run.last if run.last.exists() else None
    with compiled(classifier.net, cfg.trainer.compile):
        guarded(trainer.fit, module, data, ckpt_path=resume_from, weights_only=True)
        mixed = [
            callback.mix(trainer, module, data, run.best)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(callback, Soup)
        ]
    weights = run.weights
    classifier.load_state_dict(read_checkpoint(weights)["state_dict"])
    looks = []
    for mirrored in subsets(mirrored_axes(cfg.tta, cfg.plain())):
        module.mirrored = mirrored
        # named, so that Lightning looks for no other
        guarded(trainer.test, module, data, ckpt_path=weights, weights_only=True, verbose=False)
        looks.append(module.tested)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    score = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
    best = float("nan") if score is None else float(score)
    best = next((figure for figure in mixed if figure is not None), best)
    return classifier, as_looks(looks), best


def guarded(step: Any, *args: Any, **options: Any) -> None:
    """Call fit or test; Lightning turns Ctrl-C into SystemExit, and this turns it back."""
    try:
        step(*args, **options)
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def _introduce(
    cfg: Train, run: RunDir, data: DataModule, module: TrainingModule, precision: str
) -> None:
    """Say what is about to be trained, on what, and what its maps will lack."""
    samples, task, net = data.samples, module.classifier.objective.task, module.classifier.net
    _introduce_data(samples)
    if (draws := data.train_draws()) is not None and task != "regression":
        print(drawn_line(draws, samples.class_names, task))
    if line := counted_twice(cfg):
        note(line)
    _introduce_net(run, module, precision)
    warning = coarse_map_warning(net, samples.input_size) if isinstance(net, Net) else None
    if warning:
        print(f"note: {warning}", flush=True)
    labels = samples.labels[samples.rows("val")]
    for line in validation_lines(labels, task, samples.class_names, samples.units[1]):
        note(line)


def _sharing_line(cfg: Train, trainer: pl.Trainer) -> str:
    """Return a line about what several processes share, and what they don't."""
    world, nodes = trainer.world_size, trainer.num_nodes
    step = cfg.batch_size * cfg.trainer.accumulate_grad_batches
    synced = (cfg.trainer.model_extra or {}).get("sync_batchnorm")
    norm = "of all" if synced else "of each process (trainer.sync_batchnorm=true: of all, on GPUs)"
    return (
        f"{world} processes on {nodes} machine(s) share each step's {step} images; the learning "
        f"rate is as given; a batch norm sees the images {norm}"
    )


def _introduce_data(samples: Samples) -> None:
    counts = samples.table["split"].value_counts()
    names = [split for split in ALL_SPLITS if split in counts or split != HOLDOUT]
    parts = ", ".join(f"{counts.get(split, 0)} {split}" for split in names)
    size = "×".join(str(side) for side in samples.input_size)
    of = ""
    if samples.studies is not None:
        firsts = samples.table["split"].iloc[samples.studies.first.numpy()].value_counts()
        of = f"; of {', '.join(f'{firsts.get(split, 0)} {split}' for split in names)} studies"
    print(
        f"data {samples.name}: {parts} images of {size}{of}, "
        f"classes {shortened(samples.class_names)}"
    )
    if signs := lacking(samples.class_names):
        note(
            f"no font of this machine has {signs[:8]}, which figures show as codes: install one "
            "(such as fonts-noto-cjk)"
        )


def _introduce_net(run: RunDir, module: TrainingModule, precision: str) -> None:
    net = module.classifier.net
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    name = module.classifier.card["config"]["model"].get("name", type(net).__name__)
    threads = f"{torch.get_num_threads()} CPU threads"
    threads += f" (waiting: {os.environ.get('OMP_WAIT_POLICY', 'default')})"
    print(
        f"model {name}: {millions:.2f} million parameters; {precision}, {threads}; "
        f"run directory {run.path}",
        flush=True,
    )
    if isinstance(net, Net) and net.loaded is not None:
        print(f"weights: {net.loaded}", flush=True)
    if codes := module.classifier.card.get("features"):
        fusion = module.classifier.card["config"]["model"]["fusion"]
        print(f"columns: {described(codes)}; model.fusion={fusion}", flush=True)
    learning = sum(p.numel() for p in net.parameters() if p.requires_grad)
    if module.freezing.trunk_is_fixed:
        kept = "features are computed once"
        how = "augment=none computes their features once" if module.cache is None else kept
        print(f"frozen: all but {learning:,} parameters; {how}", flush=True)
