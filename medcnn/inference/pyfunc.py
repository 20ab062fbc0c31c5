"""A checkpoint as a model of MLflow, which names this module as its loader."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import Ensemble, load
from medcnn.errors import UserError
from medcnn.evaluation.studies import aggregate
from medcnn.inference.tables import decision_table

IMAGE = "image"  # the column that has the paths in a table


class PyFunc:
    """What ``mlflow.pyfunc.load_model`` wraps: from images to a table of predictions.

    Args:
        classifier: Of the checkpoint.
    """

    def __init__(self, classifier: Classifier | Ensemble) -> None:
        self.classifier = classifier

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row an image: ``prob:<class>``, the decision, and the threshold if it has one.

        Args:
            model_input: Paths of image files (a list, or a table with the column ``image``, and
                with the columns that the network takes), which then come first in each row; or
                images (N, C, *spatial), floating point in 0 … 1.
            params: MLflow's; there are none.

        Raises:
            UserError: A file that can't be read, or images of another kind.
        """
        if isinstance(model_input, np.ndarray | Tensor) and np.ndim(model_input) > 1:
            with self.classifier.autocast():
                return self._table(self.classifier.classify(model_input))
        if isinstance(model_input, pd.DataFrame) and IMAGE not in model_input:
            raise UserError(f"a table needs the column {IMAGE}, with paths of image files")
        given = model_input[IMAGE] if isinstance(model_input, pd.DataFrame) else model_input
        paths = [str(path) for path in ([given] if isinstance(given, str) else given)]
        takes = isinstance(model_input, pd.DataFrame) and self.classifier.card.get("features")
        table = self._table(self._of_files(paths, model_input if takes else None))
        table.insert(0, IMAGE, paths)
        return table

    def _of_files(self, paths: Iterable[str | Path], columns: pd.DataFrame | None) -> Tensor:
        """Return probabilities (N, K) of files; slices of a volume are put together.

        By a network that takes the images of a study together each file is one.
        """
        classifier, config = self.classifier, self.classifier.card["config"]
        of_studies = classifier.card.get("studies") is not None
        probs: list[Tensor] = []
        for row, path in enumerate(paths):
            own = None
            if columns is not None:
                own = {str(name): value for name, value in columns.iloc[row].items()}
            with classifier.autocast():
                images = classifier.read(path)
                if of_studies:
                    probs.append(classifier.classify_study(images, columns=own)[None])
                    continue
                parts = images.split(config["batch_size"])
                probs.append(torch.cat([classifier.classify(part, own) for part in parts]))
        files = np.repeat(np.arange(len(probs)), [len(part) for part in probs])
        together = aggregate(
            torch.cat(probs).cpu().numpy(),
            files,
            config.get("aggregate", "mean"),
            task=classifier.objective.task,
            positive=classifier.objective.positive,
        )
        return torch.from_numpy(together)

    def _table(self, probs: Tensor) -> pd.DataFrame:
        classifier = self.classifier
        point, names = classifier.operating_point, classifier.class_names
        return decision_table(classifier.objective, probs.cpu(), names, point)


def _load_pyfunc(path: str) -> PyFunc:
    """Return the model in a checkpoint; MLflow calls this by name."""
    return PyFunc(load(path))
