"""Validation in evaluation mode: what a net says of an image doesn't depend on anything else."""

import torch

from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts
from medcnn.training.diagnosis.start import how_many

IMAGES = 16
SAME = 1e-3  # of the largest logit; sums in another order differ by 1e-6


def evaluation_mode(parts: Parts) -> Finding:
    """Check that validation passes images through the net as it will be used."""
    module, check = parts.module, "evaluation mode"
    rows = parts.rows("val", how_many(parts, IMAGES))
    batch = parts.batch(rows)
    module.eval()
    cause = "the net is (partly) in training mode in validation: look at its train() and forward()"
    training = [name for name, part in module.named_modules() if part.training]
    if training:
        named = training[0].removeprefix("classifier.") or "the net"
        return Finding(check, False, f"{named} stays in training mode in validation", cause)
    before = [one.clone() for one in module.buffers()]
    with torch.no_grad():
        first, again = module.logits(batch), module.logits(batch)
        half = len(first) // 2
        fewer = module.logits(parts.batch(rows[:half]))
    largest = max(float(first.abs().max()), 1e-6)
    figures = {
        "again": float((first - again).abs().max()) / largest,
        "in another batch": float((first[:half] - fewer).abs().max()) / largest,
    }
    if figures["again"] > SAME:
        line = "validation gives another answer each time"
    elif figures["in another batch"] > SAME:
        line = "in validation an image's answer depends on the other images of its batch"
    elif not all(map(torch.equal, before, module.buffers())):
        line = "validation changes the net's statistics"
    else:
        return Finding(check, True, "validation gives each image one answer", figures=figures)
    return Finding(check, False, line, cause, figures)
