"""Lightning callbacks, one a file."""

from medcnn.training.callbacks.averages import EMA, SWA, Average
from medcnn.training.callbacks.batch_norm import BatchNormStatistics
from medcnn.training.callbacks.deadline import Deadline
from medcnn.training.callbacks.finite import FiniteLoss
from medcnn.training.callbacks.health import Health
from medcnn.training.callbacks.history import History
from medcnn.training.callbacks.last import LastCheckpoint
from medcnn.training.callbacks.maps import MapsInTensorBoard
from medcnn.training.callbacks.optimizer_modes import OptimizerModes
from medcnn.training.callbacks.progress import EpochLines, ProgressBar
from medcnn.training.callbacks.signals import OwnSignals
from medcnn.training.callbacks.snapshots import Snapshots
from medcnn.training.callbacks.soup import Soup

__all__ = [
    "EMA",
    "SWA",
    "Average",
    "BatchNormStatistics",
    "Deadline",
    "EpochLines",
    "FiniteLoss",
    "Health",
    "History",
    "LastCheckpoint",
    "MapsInTensorBoard",
    "OptimizerModes",
    "OwnSignals",
    "ProgressBar",
    "Snapshots",
    "Soup",
]
