"""The nets of timm and MONAI, and the weights that timm publishes."""

from medcnn.nets.monai_models import monai_net
from medcnn.nets.timm_models import timm_net, timm_state

__all__ = ["monai_net", "timm_net", "timm_state"]
