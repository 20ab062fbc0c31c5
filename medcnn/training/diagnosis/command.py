"""The whole diagnosis of a training: opened data, all checks, their lines, file and page."""

from pathlib import Path

import pytorch_lightning as pl

from medcnn.data.open_data import in_memory, open_data
from medcnn.data.samples import Samples
from medcnn.jobs.hardware import check_accelerator, device, local_processes, set_threads
from medcnn.jobs.notes import visible
from medcnn.jobs.settings.commands import Diagnose
from medcnn.report.diagnosis.page import write_diagnosis_page
from medcnn.training.checks import check_samples
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts, make_parts
from medcnn.training.diagnosis.record import write_findings
from medcnn.training.diagnosis.run import CHECKS, SUGGESTIONS, findings
from medcnn.training.from_config import check_config
from medcnn.training.transfer import settle

WORDS = {True: "ok", False: "FAULT", None: "-"}


def diagnose_in(cfg: Diagnose, folder: Path, trust: list[str]) -> bool:
    """Do all checks, print a line of each, and write diagnosis.json and diagnosis.html.

    Returns:
        Whether none has failed.
    """
    parts = open_parts(cfg, trust)
    found: list[Finding] = []
    for finding in findings(parts, (*CHECKS, *SUGGESTIONS)):
        found.append(finding)
        print(visible(f"{WORDS[finding.passed]:5} {finding.check}: {finding.text}"), flush=True)
    write_findings(folder / "diagnosis.json", parts, found)
    page = write_diagnosis_page(folder)
    failed = sum(finding.passed is False for finding in found)
    passed = sum(finding.passed is True for finding in found)
    print(f"{page}: {failed} of {failed + passed} checks found a fault", flush=True)
    return not failed


def open_parts(cfg: Diagnose, trust: list[str]) -> Parts:
    """Return the parts of a training as its first process would have them.

    Raises:
        UserError: Settings or data with which no training could begin.
    """
    check_accelerator("trainer.accelerator", cfg.trainer.accelerator)
    check_config(cfg, trust)
    set_threads(cfg.trainer.threads, local_processes(cfg.trainer))
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    samples: Samples = open_data(cfg, trust).samples
    in_memory(samples, cfg.cache.memory)
    check_samples(cfg, samples)
    if (line := settle(cfg, samples, trust)) is not None:
        print(line, flush=True)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.shuffle_labels:
        samples.shuffle_labels(cfg.seed)
    parts = make_parts(cfg, samples, trust)
    parts.module.to(device(cfg.trainer))
    return parts
