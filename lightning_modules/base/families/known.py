"""The families, and which one a base, a LoRA file or a hub id belongs to."""

import re
from collections.abc import Mapping
from typing import Any

from lightning_modules.base.families.family import Family
from lightning_modules.base.families.sd_1 import SD_1
from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.families.sdxl import SDXL

FAMILIES = (SDXL, SD_2, SD_1)


def family_of(unet_config: Mapping[str, Any]) -> Family | None:
    """The family of a base, from its UNet's config; None if it is of none."""
    return next((family for family in FAMILIES if family.is_built_so(unet_config)), None)


def family_by_header(header: Mapping[str, str]) -> Family | None:
    """The family that a LoRA file says it was trained on; None if it doesn't say.

    ModelSpec's architecture is asked first, then sd-scripts' version of the base (OneTrainer's is "sdxl_" alone). Where
    neither is known, `ss_v2`, which older files have alone, tells 2.x from 1.x; sd-scripts' files for other models say
    "False" as well.
    """
    architecture = header.get("modelspec.architecture", "")
    version = header.get("ss_base_model_version", "")
    for family in FAMILIES:
        if architecture.partition("/")[0] in (family.architecture, family.architecture_of_v):
            return family
    for family in FAMILIES:
        if version.startswith(family.versions):
            return family
    return {"True": SD_2, "False": None if architecture or version else SD_1}.get(header.get("ss_v2", ""))


def family_of_file(header: Mapping[str, str]) -> Family:
    """The same for a file of our own, whose header says it; of one that doesn't, the oldest."""
    return family_by_header(header) or FAMILIES[-1]


def family_of_id(hub_id: str) -> Family | None:
    """The family of a well-known base, from its id alone."""
    return next((family for family in FAMILIES if re.fullmatch(family.well_known, hub_id)), None)
