"""Class activation maps of a checkpoint: the short way.

python scripts/visualize_cam.py checkpoint=RUN/checkpoints/best.ckpt [method=cam|gradcam] [n=16]

The same as ``python -m medcnn.explain``; ``--help`` lists what can be set.
"""

from medcnn import cli
from medcnn.explain import main

if __name__ == "__main__":
    cli.main(main, "explain")
