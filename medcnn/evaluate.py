"""``python -m medcnn.evaluate``: the figures of a checkpoint again, or on other data."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from medcnn import cli
from medcnn.config import plain
from medcnn.data.samples import SPLITS
from medcnn.errors import UserError, check_whole_number
from medcnn.files import for_spreadsheets, write_csv, write_json, write_text
from medcnn.rundir import RunDir, environment

if TYPE_CHECKING:
    from torch import Tensor

    from medcnn.classifier import Classifier
    from medcnn.data.samples import Samples


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
    from medcnn.data.batches import DataModule
    from medcnn.datasets import data_config, open_data
    from medcnn.ensemble import load_members
    from medcnn.evaluated import check_settings
    from medcnn.problems import problems_table
    from medcnn.report import write_run_page
    from medcnn.results import headline, write_results
    from medcnn.trainer import bare_trainer, set_threads
    from medcnn.views import collect, mirrored_axes

    start = time.perf_counter()
    if cfg.split not in SPLITS:
        raise UserError(f"split={cfg.split}: choose one of {', '.join(SPLITS)}")
    check_settings(plain(cfg.evaluation))
    paths, members = load_members(cfg.checkpoint, cfg.ensemble, trust)
    for member in members:
        member.calibrate(cfg.calibration)
    classifier = members[0]
    card, trained = classifier.card, classifier.card["config"]
    if cfg.evaluation.operating_point is not None and len(members) == 1:
        raise UserError(
            f"evaluation.operating_point={cfg.evaluation.operating_point}: the threshold is that "
            "which the training chose on its validation split, and kept in the checkpoint"
        )
    axes = mirrored_axes(cfg.tta, trained)
    batch_size = trained["batch_size"] if cfg.batch_size is None else cfg.batch_size
    check_whole_number("batch_size", batch_size, least=1)
    set_threads(cfg.threads if cfg.threads is not None else trained["trainer"]["threads"], 1)
    trainer = bare_trainer(cfg.accelerator, cfg.precision or trained["trainer"]["precision"])
    run = RunDir(cli.sweep_run_dir() or cfg.paths.run)
    for path in paths:
        if run.path.resolve() in path.resolve().parents:
            raise UserError(f"paths.run={run.path} holds the checkpoint itself; choose another")
    run.refuse_if_taken(cfg.overwrite)
    for_spreadsheets(cfg.get("spreadsheet", False))
    settings = data_config(trained, cfg)
    data = open_data(settings, trust, folder=run.path, card=card, checked=False)
    samples = data.samples
    check_fits(classifier, samples)
    samples.rows(cfg.split)
    run.claim(cfg.overwrite)
    chosen_anew = len(members) > 1 and cfg.get("dataset") is None and cfg.split != "val"
    splits = ("val", cfg.split) if chosen_anew else (cfg.split,)
    collected = collect(trainer, members, DataModule(samples, batch_size, test_splits=splits), axes)
    if len(members) > 1:
        rule = cfg.evaluation.operating_point or trained["evaluation"]["operating_point"]
        _choose_anew(classifier, samples, collected, rule)
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_json(run / "environment.json", environment(precision=str(trainer.precision)))
    write_csv(run / "samples.csv", samples.table, index_label="row")
    write_csv(run / "problems.csv", problems_table(data, settings))
    aggregate = cfg.aggregate or trained["aggregate"]
    metrics = write_results(
        run,
        samples,
        classifier,
        collected,
        aggregate,
        split=cfg.split,
        evaluation=plain(cfg.evaluation),
    )
    write_run_page(run.path)
    seconds = time.perf_counter() - start
    run.set_status("finished", seconds=seconds, overrides=cli.task_overrides())
    run.let_go()
    print(f"{run.path}: {headline(metrics, cfg.split)}", flush=True)
    return metrics


def _choose_anew(
    classifier: "Classifier", samples: "Samples", collected: "dict[str, Tensor]", rule: str
) -> None:
    """An ensemble's own threshold, from its validation split; of other data there is none."""
    from medcnn.choices import operating_point

    splits = samples.table["split"].to_numpy()[collected["row"].numpy()]
    rows = splits == "val"
    classifier.calibration = "none"  # the members' probabilities are calibrated already
    point = None
    if rows.any() and classifier.objective.task in ("binary", "multilabel"):
        with suppress(UserError):  # a class that the rule needs is absent
            point = operating_point(
                classifier.objective,
                collected["probs"][rows],
                collected["label"][rows],
                rule,
                classifier.card["class_names"],
            )
    classifier.card["choices"] = {"chosen_on": "val", "operating_point": point}


if __name__ == "__main__":
    cli.main(evaluate, "evaluate")
