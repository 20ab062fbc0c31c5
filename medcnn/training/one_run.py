"""One training: all processes fit and test, then one writes the rest."""

from collections.abc import Sequence

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from medcnn.classifier.chosen_on_validation import choose_and_keep
from medcnn.classifier.classifier import Classifier
from medcnn.data.checks.problems import problems_table
from medcnn.data.open_data import in_memory, open_data
from medcnn.data.samples import Samples
from medcnn.evaluation.operating_point import parse_rule
from medcnn.inference.columns import write_importance
from medcnn.inference.results import headline, write_results
from medcnn.inference.tta import mean_answer, mirrored_axes, mirrored_lines
from medcnn.jobs.atomic_files import write_csv, write_json, write_text
from medcnn.jobs.hardware import check_accelerator, device, local_processes, processes, set_threads
from medcnn.jobs.notes import note
from medcnn.jobs.processes import other_processes
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.report.pictures.training_curves import curves
from medcnn.report.run.model_card import write_model_card
from medcnn.report.run.page import write_run_page
from medcnn.training.checks import check_samples
from medcnn.training.columns_alone import write_columns_alone
from medcnn.training.fit import fit_and_test
from medcnn.training.from_config import check_config
from medcnn.training.perf import settle_perf
from medcnn.training.run import check_last, check_unchanged
from medcnn.training.snapshots import finish_snapshots
from medcnn.training.trackers import tracked
from medcnn.training.transfer import settle


def train_in(
    cfg: Train,
    run: RunDir,
    trust: list[str],
    further: Sequence[Callback] = (),
    split: str = "test",
) -> float:
    """Train and test in all processes, then write the rest in this one.

    Args:
        cfg: Of the training.
        run: Where.
        trust: Names that the config may hold beside medcnn's own.
        further: Callbacks of this process beside those of the config.
        split: What is tested; "val" for one of many candidates, which leave the test split alone.

    Returns:
        The highest validation figure.
    """
    parse_rule(cfg.evaluation.operating_point)
    check_accelerator("trainer.accelerator", cfg.trainer.accelerator)
    check_config(cfg, trust)
    check_last(run)
    with tracked(cfg, run, trust) as trackers:
        return _train(cfg, run, trust, [*further, *trackers], split)


def _train(
    cfg: Train, run: RunDir, trust: list[str], further: Sequence[Callback], split: str
) -> float:
    """Do `train_in` with settings that can be."""
    world = processes(cfg.trainer)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = open_data(cfg, trust, problems=run.problems)  # files are read by one process
    samples = data.samples
    check_unchanged(run, samples)
    write_csv(run / "problems.csv", problems_table(data, cfg))
    if world == 1:  # several share what the disk cache has in memory
        in_memory(samples, cfg.cache.memory)
    check_samples(cfg, samples)
    for line in settle_perf(cfg, samples, trust):
        print(line, flush=True)
    settle_transfer(cfg, run, trust, samples)
    with other_processes(run, world, trust, split):
        classifier, tested, best = fit_and_test(cfg, run, trust, samples, further, split)
    write_outcome(cfg, run, samples, classifier, tested, split)
    if split == "test":
        finish_snapshots(cfg, run, data, trust)
    return best


def write_outcome(
    cfg: Train,
    run: RunDir,
    samples: Samples,
    classifier: Classifier,
    tested: dict[str, Tensor],
    split: str = "test",
) -> None:
    """Choose what is chosen on validation, and write the figures, maps and pages of a training.

    Args:
        cfg: Of the training.
        run: Where.
        samples: The data set.
        classifier: The best one; its checkpoint gets the choices, too.
        tested: Of `fit_and_test`, validation and test.
        split: Whose figures are analysed, see `train_in`.
    """
    rule = cfg.evaluation.operating_point
    notes = choose_and_keep(run.weights, classifier, samples, tested, rule)
    notes += mirrored_lines(axes := mirrored_axes(cfg.tta, cfg.plain()))
    collected = mean_answer(tested, [(classifier, logits) for logits in tested["looks"]])
    how = cfg.evaluation.plain()
    classifier.mirrored = bool(axes)
    metrics = write_results(
        run, samples, classifier, collected, cfg.aggregate, split=split, evaluation=how, notes=notes
    )
    classifier.mirrored = False  # maps explain the images as they are
    for line in notes:
        note(line)
    if samples.features and split == "test":  # not of one of many candidates
        where = device(cfg.trainer)
        write_importance(run, [classifier], samples, split, cfg.batch_size, where)
        metrics |= write_columns_alone(cfg, run, samples, classifier, split)
        write_json(run / "metrics.json", metrics)
    curves(run / "metrics.csv", run / "curves.png")
    if cfg.cam.n > 0 and classifier.spatial:
        from medcnn.evidence.of_run import explain_split
        from medcnn.evidence.summary import interval

        classifier.to(device(cfg.trainer))
        scores = explain_split(classifier, samples, run / "cams", split=split, **cfg.cam.plain())
        write_json(run / "metrics.json", metrics | scores)
        for name, score in scores.items():
            print(f"{name} {interval(score)}, n = {score['n']}")
    write_run_page(run.path)
    if split == "test":
        write_model_card(run.path)
    print(f"{run.path}: {headline(metrics, split)}", flush=True)


def settle_transfer(cfg: Train, run: RunDir, trust: list[str], samples: Samples) -> None:
    """Decide what is trained, say why, and keep it in the run's config."""
    set_threads(cfg.trainer.threads, local_processes(cfg.trainer))
    line = settle(cfg, samples, trust)
    write_text(run / "config.yaml", cfg.yaml())
    if line is not None:
        print(line, flush=True)
