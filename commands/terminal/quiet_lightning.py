"""What Lightning says of itself that no user of this project can act on; the commands say what matters themselves."""

import logging
import warnings

EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # pictures are encoded once and kept in memory: loading costs nothing
    ".*module.*in eval mode.*",  # the frozen VAE and text encoder belong in eval mode
    ".*Detected call of `lr_scheduler.step\\(\\)` before.*",  # fp16: the first steps may be skipped for their scale
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 on a newer torch
)


def quiet_lightning() -> None:
    """Hold that back from now on; call it after Lightning was imported, which sets its own levels."""
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
