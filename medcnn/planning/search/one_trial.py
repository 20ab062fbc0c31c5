"""One trial: an ordinary training that leaves the test split alone."""

import gc
from functools import partial

import torch
from pytorch_lightning.callbacks import Callback

from medcnn.errors import PrunedRunError, UserError
from medcnn.jobs.atomic_files import write_text
from medcnn.jobs.private import hide_paths, with_pseudonyms
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.training.one_run import train_in
from medcnn.training.run import recorded


def train_trial(
    cfg: Train, run: RunDir, overrides: list[str], trust: list[str], report: Callback
) -> float:
    """Train, or go on with a trial that was interrupted; return its best validation score.

    Args:
        cfg: Of the training.
        run: Where; one that has ended is left as it is.
        overrides: With which it could be trained again.
        trust: Names that the config may hold beside medcnn's own.
        report: Gets the score of each epoch.

    Raises:
        PrunedRunError: It was stopped before its last epoch.
        UserError: It can't be trained.
    """
    if not run.finished:
        if run.status.get("state") == "pruned":
            raise PrunedRunError(str(run.status.get("reason")))
        cfg = cfg.model_copy(deep=True, update={"resume": None})
        cfg.paths.run, cfg.cam.n = str(run.path), 0
        hide_paths(cfg, cfg.paths.pseudonym_key if cfg.pseudonymise else None)
        overrides = [with_pseudonyms(one) for one in overrides]
        if run.last.exists():
            run.go_on()
        else:
            run.claim(overwrite=True)
        write_text(run / "config.yaml", cfg.yaml())
        job = partial(train_in, cfg, run, trust, [report], "val")
        try:
            recorded(run, job, run.give_back, overrides)
        finally:
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
    score = run.status.get("best")
    if score is None:
        raise UserError("it has no validation score")
    return float(score)
