"""The maps that every training ends with: a gallery, and whether they hit the lesions."""

from pathlib import Path
from typing import Any

import torch

from medcnn import cam
from medcnn.classifier.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.errors import check_whole_number
from medcnn.evidence import ClassifierMaps, Explainer, draw_gallery
from medcnn.evidence.image_measures import image_localisation
from medcnn.evidence.layers import worst_rows, write_layers
from medcnn.evidence.studies import MIDDLE, rows_with_some_lesion, sources_of
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

    Of a classifier of studies the game is played with images for pixels, by attention, by the
    effect of leaving an image out and by the maxima of the maps, beside the middle image.

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
    find = _image_hits if explainer.of_studies else _hits
    rows, hits = find(explainer, split, method, size)
    if len(rows) == 0:
        return {}
    patients = samples.table["patient"].to_numpy()[rows.numpy()]
    scores = {
        f"{split}/{name}": share(torch.cat(values).cpu().numpy(), patients)
        for name, values in hits.items()
    }
    write_json(folder / "scores.json", scores)
    return scores


def _hits(
    explainer: Explainer, split: str, method: str, size: int
) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    """Return the rows with a lesion, and whether maps hit it."""
    rows = explainer.rows_with_lesion(split, size)
    hits: dict[str, list[torch.Tensor]] = {"pointing_game": [], "pointing_game_centre": []}
    for batch in explainer.batches(rows, size) if len(rows) else ():
        assert batch.masks is not None
        for name, how in (("pointing_game", method), ("pointing_game_centre", "centre")):
            maps = explainer.maps(batch, explainer.truth(batch.rows), how)
            hits[name].append(cam.pointing_hits(maps, batch.masks))
    return rows, hits


def _image_hits(
    explainer: Explainer, split: str, method: str, size: int
) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    """Return the studies in some of whose images there is a lesion, and what finds such an one."""
    rows = rows_with_some_lesion(explainer, split, size)
    sources = [*sources_of(explainer, [method]), MIDDLE]
    hits: dict[str, list[torch.Tensor]] = {f"image_pointing_game_{name}": [] for name in sources}
    for batch in explainer.batches(rows, size) if len(rows) else ():
        for source in sources:
            table = image_localisation(explainer, batch, source)
            found = torch.from_numpy(table["image_pointing_game"].to_numpy(bool))
            hits[f"image_pointing_game_{source}"].append(found)
    return rows, hits


def check_explainable(classifier: Classifier, method: str, stage: str) -> None:
    """Raise UserError if there is no such map of this net: before it is trained, not after."""
    ClassifierMaps(classifier, stage=stage).check(method)
    classifier.train()
