"""Lightning callbacks, one a file."""

from medcnn.callbacks.batch_norm import BatchNormStatistics
from medcnn.callbacks.history import History
from medcnn.callbacks.last import LastCheckpoint
from medcnn.callbacks.maps import MapsInTensorBoard
from medcnn.callbacks.progress import EpochLines, ProgressBar
from medcnn.callbacks.signals import OwnSignals

__all__ = [
    "BatchNormStatistics",
    "EpochLines",
    "History",
    "LastCheckpoint",
    "MapsInTensorBoard",
    "OwnSignals",
    "ProgressBar",
]
