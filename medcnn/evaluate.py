"""``python -m medcnn.evaluate``: the figures of a checkpoint again, or on other data."""

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from medcnn import cli
from medcnn.data.samples import SPLITS
from medcnn.errors import UserError, check_whole_number
from medcnn.files import write_csv, write_json, write_text
from medcnn.rundir import RunDir, environment


def evaluate(cfg: DictConfig, trust: list[str]) -> dict[str, Any]:
    """Pass a split through a checkpoint; write figures and predictions to a run directory.

    With the batch size, threads and precision of the training the figures are the training's own,
    to the last digit.

    Args:
        cfg: The config as composed from conf/evaluate.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: Anything that the user can put right.
    """
    from medcnn.assemble import check_fits
    from medcnn.checkpoint import load
    from medcnn.data.batches import DataModule
    from medcnn.datasets import data_config, open_data
    from medcnn.problems import problems_table
    from medcnn.results import headline, write_results
    from medcnn.trainer import bare_trainer, set_threads

    start = time.perf_counter()
    if cfg.split not in SPLITS:
        raise UserError(f"split={cfg.split}: choose one of {', '.join(SPLITS)}")
    classifier = load(cfg.checkpoint, trust=trust)
    card, trained = classifier.card, classifier.card["config"]
    batch_size = trained["batch_size"] if cfg.batch_size is None else cfg.batch_size
    check_whole_number("batch_size", batch_size, least=1)
    set_threads(cfg.threads if cfg.threads is not None else trained["trainer"]["threads"], 1)
    trainer = bare_trainer(cfg.accelerator, cfg.precision or trained["trainer"]["precision"])
    run = RunDir(cli.sweep_run_dir() or cfg.paths.run)
    if run.path.resolve() in Path(cfg.checkpoint).resolve().parents:
        raise UserError(f"paths.run={run.path} holds the checkpoint itself; choose another")
    run.refuse_if_taken(cfg.overwrite)
    settings = data_config(trained, cfg)
    data = open_data(settings, trust, folder=run.path, card=card, checked=False)
    samples = data.samples
    check_fits(classifier, samples)
    samples.rows(cfg.split)
    run.claim(cfg.overwrite)
    trainer.test(
        classifier, DataModule(samples, batch_size, test_splits=(cfg.split,)), verbose=False
    )
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_json(run / "environment.json", environment(precision=str(trainer.precision)))
    write_csv(run / "samples.csv", samples.table, index_label="row")
    write_csv(run / "problems.csv", problems_table(data, settings))
    aggregate = cfg.aggregate or trained["aggregate"]
    metrics = write_results(run, samples, classifier, classifier.tested, aggregate)
    seconds = time.perf_counter() - start
    run.set_status("finished", seconds=seconds, overrides=cli.task_overrides())
    run.let_go()
    print(f"{run.path}: {headline(metrics, cfg.split)}", flush=True)
    return metrics


if __name__ == "__main__":
    cli.main(evaluate, "evaluate")
