"""Class activation maps of a checkpoint: the short way.

python scripts/visualize_cam.py checkpoint=RUN/checkpoints/best.ckpt image=film.png [methods=all]
python scripts/visualize_cam.py checkpoint=RUN/checkpoints/best.ckpt [split=test] [n=16]

With ``image=`` the maps of a file, or of a folder of them; without, of a split, with the scores
that say whether to believe them. The same as ``python -m medcnn.explain``; ``--help`` lists what
can be set.
"""

from medcnn.explain import main
from medcnn.jobs import command_line as cli

if __name__ == "__main__":
    cli.main(main, "explain")
