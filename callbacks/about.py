"""What a run is and what its curves mean, for TensorBoard's Text tab: for somebody who never saw the project."""

from lightning.pytorch import LightningModule, Trainer

from callbacks.markdown import block, cell

MEANINGS = {
    "clip_score/style/lora": "how well the sample pictures match the words of the style; higher is better",
    "clip_score/prompt/lora": "how well each sample matches its own prompt; a fall means that the LoRA obeys less",
    "clip_score/style/delta": "the same of the LoRA minus the same of the base, painted from the same noise",
    "clip_score/prompt/delta": "likewise, for the own prompts",
    "reference/clip_score": "the scores of the base, which is frozen: they never change",
    "val/loss": "error on held-out pictures, with fixed noise: the curve to judge by; lower is better",
    "train/loss_unweighted": "the same error on the training pictures of a step, with random noise: noisy by nature",
    "train/loss": "what the optimizer lowers: that error, weighted by noise level: no match for `val/loss`",
    "train/loss_smooth": "a mean of `train/loss` over about 50 steps",
    "*/loss_group": "the unweighted error of one group of pictures",
    "*/loss_bin": "the unweighted error by noise level: 0 little noise (details), the last most (composition)",
    "train/grad_norm": "length of the gradient before clipping",
    "lr": "learning rate",
    "exposure/planned": "how often each picture of a group should have been trained on by now, on average",
    "exposure/realised": "how often it really was",
    "speed": "steps and pictures a second, without validation",
    "memory/gb": "the most that the GPU held at once; without one, what the process holds in main memory",
}
"""By tag, or by how a tag begins."""


def about(trainer: Trainer, pl_module: LightningModule) -> str:
    """The run and its curves, as Markdown."""
    trained = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
    describe = getattr(pl_module, "base_description", lambda: "a model")
    data = trainer.datamodule  # type: ignore[attr-defined]
    lines = [
        f"A **LoRA** ({trained:,} trained numbers) is taught a style of painting. It changes a frozen model, "
        f"**the base**: {cell(describe())}. Planned are {trainer.max_steps} steps of {data.draws_per_step} pictures, "
        "drawn from these groups:",
        "",
        block(data.describe(trainer.max_steps * data.draws_per_step), ""),
        "",
        "- **Custom Scalars** draws what belongs together in one chart, base beside LoRA. Begin there.",
        "- **Images**, `samples/...`: the same prompts and noise, left the base, right the LoRA; move the step slider.",
        "- **Text**: `prompts` of the samples, `exposure` of the pictures, `config` with every setting.",
        "",
        "| curve | what it is |",
        "| --- | --- |",
        *(f"| {cell(tag)} | {meaning} |" for tag, meaning in MEANINGS.items()),
    ]
    return "\n".join(lines)
