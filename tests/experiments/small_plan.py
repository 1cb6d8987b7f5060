"""An experiment for the fake command, as YAML and as a folder to run it in."""

from pathlib import Path

TEXT = """
question: Does it matter?
config: small.yaml
options: {trainer.max_steps: 3}
seeds: [0, 1]
held_out: held_out
arms:
  plain: &plain {score.portrait: 10, score.landscape: 30}
  curated: {score.portrait: 30, score.landscape: 31}
  tuned: {<<: *plain, score.portrait: 15, score.landscape: 36}
evaluation: {seeds: [0, 1]}
answer:
  measure: style_score
  effect: {curation: [plain, curated]}
  ranges: {tuning: [plain, tuned]}
  pairs: {tuning alone: [plain, tuned]}
notes: [Everything is fake.]
"""


def write_plan(folder: Path, replace: dict[str, str] | None = None) -> Path:
    """Write the experiment, changed as asked; `small.yaml` beside it is the config."""
    text = TEXT.replace("small.yaml", str(folder / "small.yaml"))
    for old, new in (replace or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "small.yaml").write_text("model: {lora: {rank: 4}}\nsamples: {prompts: []}\n")
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path
