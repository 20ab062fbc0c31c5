"""Inference of a split: its figures and predictions in a run directory."""

from typing import TYPE_CHECKING, Any

from medcnn.jobs.atomic_files import write_csv, write_json, write_text
from medcnn.jobs.environment import environment
from medcnn.jobs.private import hide_paths
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Evaluate, OfficialTest

if TYPE_CHECKING:
    from pytorch_lightning import Trainer
    from torch import Tensor

    from medcnn.classifier.classifier import Classifier
    from medcnn.data.checks.dataset import DataSet


def write_tested(
    run: RunDir,
    cfg: Evaluate | OfficialTest,
    trainer: "Trainer",
    classifier: "Classifier",
    data: "DataSet",
    collected: "dict[str, Tensor]",
    notes: list[str],
) -> dict[str, Any]:
    """Write all that a test leaves in its run directory but the status; give metrics.json.

    Args:
        run: Where.
        cfg: Kept in config.yaml.
        trainer: That passed the data.
        classifier: What was tested, or of an ensemble its first member (`stand_for_all`).
        data: The data set.
        collected: Of `medcnn.inference.tta.collect`.
        notes: Sentences that a reader of the figures has to know.
    """
    from medcnn.data.checks.problems import problems_table
    from medcnn.data.open_data import data_config
    from medcnn.inference.results import write_results
    from medcnn.report import write_run_page

    trained = classifier.card["config"]
    settings = data_config(trained, cfg)
    hide_paths(cfg, settings.paths.pseudonym_key if settings.pseudonymise else None)
    write_text(run / "config.yaml", cfg.yaml())
    write_json(run / "environment.json", environment(precision=str(trainer.precision)))
    write_csv(run / "samples.csv", data.samples.table, index_label="row")
    write_csv(run / "problems.csv", problems_table(data, settings))
    metrics = write_results(
        run,
        data.samples,
        classifier,
        collected,
        cfg.aggregate or trained["aggregate"],
        split=cfg.split,
        evaluation=cfg.evaluation.plain(),
        calibration=cfg.calibration,  # of an ensemble its first member speaks plainly
        notes=notes,
    )
    write_run_page(run.path)
    return metrics


def stand_for_all(classifier: "Classifier", point: dict[str, Any] | None) -> None:
    """Let the first member speak for an ensemble, whose mean has a threshold of its own."""
    classifier.calibration = "none"  # the members' probabilities are calibrated already
    classifier.card["choices"] = {"operating_point": point}
