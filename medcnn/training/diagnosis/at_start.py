"""The short form of a diagnosis, before the first step of a training."""

from medcnn.data.batches import DataModule
from medcnn.data.samples import Samples
from medcnn.jobs.hardware import device
from medcnn.jobs.notes import note
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.training.diagnosis.parts import Parts
from medcnn.training.diagnosis.record import write_findings
from medcnn.training.diagnosis.run import AT_START, findings
from medcnn.training.module import TrainingModule

SECONDS = 2.0  # after which no further check begins; none takes one but of the largest nets


def look_at_start(
    cfg: Train, run: RunDir, samples: Samples, module: TrainingModule, data: DataModule
) -> None:
    """Say what is wrong with a training that is about to begin; write diagnosis.json.

    Nothing of it changes: weights, buffers and random states are as they were.
    """
    if not cfg.diagnosis.at_start:
        return
    parts, before = Parts(cfg, samples, module, data), module.device
    try:
        module.to(device(cfg.trainer))
        found = list(findings(parts, AT_START, SECONDS))
    finally:
        module.to(before)
    for finding in found:
        if finding.passed is False:
            note(f"{finding.check}: {finding.text}")
    write_findings(run / "diagnosis.json", parts, found)
