"""The maps that every training ends with: a gallery, and whether they hit the lesions."""

from pathlib import Path
from typing import Any

import torch

from medcnn import cam
from medcnn.classifier.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.errors import check_whole_number
from medcnn.evidence import ClassifierMaps, Explainer, draw_gallery
from medcnn.evidence.layers import worst_rows, write_layers
from medcnn.evidence.summary import share
from medcnn.jobs.atomic_files import write_json
from medcnn.jobs.progress import saying


@saying("maps")
def explain_split(
    classifier: Classifier,
    samples: Samples,
    folder: Path,
    *,
    split: str,
    method: str,
    n: int,
    stage: str = "last",
) -> dict[str, Any]:
    """Draw the gallery of a run; return whether its maps hit the lesions.

    The gallery explains the decided class, and so do the pictures of ``layers.json``, which hold
    the worst errors of the run's evaluation.json too. The pointing game (Zhang et al. 2018)
    explains the true class of every image with a lesion mask, where that class is known: does the
    map's maximum lie on the lesion? It stands next to the same figure for the centre of the image,
    both with Wilson's 95 % intervals, patients as clusters. In regression both explain the
    prediction, of several targets that of the first.

    Returns:
        ``{"<split>/pointing_game": {"value", "low", "high", "n"}, …}``; empty without masks.

    Raises:
        UserError: A net without feature maps, an unknown method or stage, or an empty split.
    """
    check_whole_number("n", n, least=1)
    explainer = Explainer(classifier, samples, stage=stage)
    size = classifier.card["config"]["batch_size"]
    shown = samples.spread(samples.rows(split), n)
    draw_gallery([(explainer, shown)], method, folder / "gallery.png", folder, size)
    kinds = {"sample": shown, "error": worst_rows(folder.parent / "evaluation.json")}
    write_layers(explainer, kinds, method, folder, size)
    rows = explainer.rows_with_lesion(split, size)
    if len(rows) == 0:
        return {}
    hits: dict[str, list[torch.Tensor]] = {"pointing_game": [], "pointing_game_centre": []}
    for batch in explainer.batches(rows, size):
        assert batch.masks is not None
        for name, how in (("pointing_game", method), ("pointing_game_centre", "centre")):
            maps = explainer.maps(batch, explainer.truth(batch.rows), how)
            hits[name].append(cam.pointing_hits(maps, batch.masks))
    patients = samples.table["patient"].to_numpy()[rows.numpy()]
    scores = {
        f"{split}/{name}": share(torch.cat(values).cpu().numpy(), patients)
        for name, values in hits.items()
    }
    write_json(folder / "scores.json", scores)
    return scores


def check_explainable(classifier: Classifier, method: str, stage: str) -> None:
    """Raise UserError if there is no such map of this net: before it is trained, not after."""
    ClassifierMaps(classifier, stage=stage).check(method)
    classifier.train()
