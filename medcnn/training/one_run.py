"""One training: all processes fit and test, then one writes the rest."""

from typing import TYPE_CHECKING

from medcnn.jobs.atomic_files import write_csv, write_json, write_text
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.training.run import check_last, check_unchanged

if TYPE_CHECKING:
    from medcnn.data.samples import Samples


def train_in(cfg: Train, run: RunDir, trust: list[str]) -> float:
    """Train and test in all processes, then write the rest in this one."""
    import pytorch_lightning as pl

    from medcnn.data.checks.problems import problems_table
    from medcnn.data.open_data import in_memory, open_data
    from medcnn.evaluation.operating_point import parse_rule
    from medcnn.jobs.hardware import check_accelerator, device, processes
    from medcnn.jobs.processes import other_processes
    from medcnn.training.checks import check_samples
    from medcnn.training.fit import fit_and_test

    parse_rule(cfg.evaluation.operating_point)
    check_accelerator("trainer.accelerator", cfg.trainer.accelerator)
    world = processes(cfg.trainer)
    check_last(run)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = open_data(cfg, trust, problems=run.problems)  # files are read by one process
    samples = data.samples
    check_unchanged(run, samples)
    write_csv(run / "problems.csv", problems_table(data, cfg))
    if world == 1:  # several share what the disk cache has in memory
        in_memory(samples, cfg.cache.memory)
    check_samples(cfg, samples)
    settle_transfer(cfg, run, trust, samples)
    with other_processes(run, world, trust):
        classifier, tested, best = fit_and_test(cfg, run, trust, samples)
    from medcnn.classifier.chosen_on_validation import choose_and_keep
    from medcnn.inference.results import headline, write_results
    from medcnn.jobs.notes import note
    from medcnn.report import curves, write_model_card, write_run_page

    how, rule = cfg.evaluation.plain(), cfg.evaluation.operating_point
    notes = choose_and_keep(run, classifier, samples, tested, rule)
    metrics = write_results(
        run, samples, classifier, tested, cfg.aggregate, evaluation=how, notes=notes
    )
    for line in notes:
        note(line)
    curves(run / "metrics.csv", run / "curves.png")
    if cfg.cam.n > 0 and classifier.spatial:
        from medcnn.evidence.of_run import explain_split
        from medcnn.evidence.summary import interval

        classifier.to(device(cfg.trainer))
        scores = explain_split(classifier, samples, run / "cams", split="test", **cfg.cam.plain())
        write_json(run / "metrics.json", metrics | scores)
        for name, score in scores.items():
            print(f"{name} {interval(score)}, n = {score['n']}")
    write_run_page(run.path)
    write_model_card(run.path)
    print(f"{run.path}: {headline(metrics)}", flush=True)
    return best


def settle_transfer(cfg: Train, run: RunDir, trust: list[str], samples: "Samples") -> None:
    """Decide what is trained, say why, and keep it in the run's config."""
    from medcnn.jobs.hardware import processes, set_threads
    from medcnn.training.transfer import settle

    set_threads(cfg.trainer.threads, processes(cfg.trainer))
    line = settle(cfg, samples, trust)
    write_text(run / "config.yaml", cfg.yaml())
    if line is not None:
        print(line, flush=True)
