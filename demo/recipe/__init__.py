"""The recipe of the demo's weights: four stages, each resumable, all in about 100 minutes on two cores.

pictures -> clip -> autoencoder -> unet. `python -m demo.recipe` runs them all, `python -m demo.recipe unet`
one. A batch is a function of (stage, step), so a resumed run is the run that was not interrupted.
"""

from pathlib import Path

RECIPE_VERSION = "2"
DEMO = Path(__file__).parents[1]
BASE, CLIP, WORK = DEMO / "base", DEMO / "clip", DEMO / ".recipe"
