"""What a net's layers make of an image: the short way.

python scripts/visualize_features.py checkpoint=RUN/checkpoints/best.ckpt image=chest.png

The same as ``python -m medcnn.features``; ``--help`` lists what can be set.
"""

from medcnn.features import main
from medcnn.jobs import command_line as cli

if __name__ == "__main__":
    cli.main(main, "features")
