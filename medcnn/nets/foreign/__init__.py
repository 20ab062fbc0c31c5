"""The nets of timm and MONAI, and the weights that timm publishes."""

from medcnn.nets.foreign.monai_models import monai_net
from medcnn.nets.foreign.timm_models import timm_net, timm_state

__all__ = ["monai_net", "timm_net", "timm_state"]
