"""What a LoRA file says of itself in its header, for the programs that show it and sort by it.

Two vocabularies, both strings only: `ss_*` is kohya-ss/sd-scripts' (`train_network.py`) and what A1111 reads; the
`modelspec.*` are Stability's ModelSpec 1.0.1, which ComfyUI's model browsers and Forge read.

* A1111 files a LoRA under XL if `ss_base_model_version` begins with "sdxl_", under 2.x if `ss_v2` is "True"; any other
  header counts as 1.x, and hides the file from people who run another family. Forge asks ModelSpec's architecture
  first. A1111 lists `ss_output_name`, `ss_sd_model_name`, the date, the size of the data
  set (`ss_dataset_dirs`), and the tags (`ss_tag_frequency`) from which it makes a random prompt.
* `sshs_model_hash` and `modelspec.hash_sha256` are the SHA-256 of what stands behind the header, which is the hash
  that A1111 writes into pictures.

What a run knows of itself (settings, steps, tags) and of its base (`base/families/`) comes in as facts; here stands
what follows from the tensors.
"""

import hashlib
import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from lightning_modules.lora.adapter import Adapter, commonest
from lightning_modules.lora.diffusers_format import ADAPTER_METADATA

RECOMPUTED = (
    "format",
    ADAPTER_METADATA,
    "sshs_model_hash",
    "sshs_legacy_hash",
    "modelspec.hash_sha256",
    "ss_network_args",
)
"""What a header must not keep when its tensors are written anew; the rest is overwritten in any case."""


def header(adapter: Adapter, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> dict[str, str]:
    """The header of a file.

    Args:
        adapter: what the file holds.
        tensors: as they will be written.
        facts: of the base and of the run; "run" is the title unless they have one.
    """
    kept = {name: value for name, value in facts.items() if name not in RECOMPUTED}
    title = kept.get("modelspec.title") or kept.get("ss_output_name") or kept.get("run") or "LoRA"
    return {
        "ss_output_name": title,
        "modelspec.implementation": "diffusers",  # unless the base says otherwise
        **kept,
        **_shape(adapter),
        **_hashes(tensors),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": title,
    }


def _shape(adapter: Adapter) -> dict[str, str]:
    """Rank and alpha of most layers; of convolutions of more than one pixel in `ss_network_args`, as LoCon has it."""
    wide = [path for path in adapter.strengths if _is_wide(adapter.state[f"{path}.lora_A.weight"])]
    plain = [path for path in adapter.strengths if path not in wide] or wide
    rank, alpha = _commonest(adapter, plain)
    shape = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": f"{alpha:g}",
    }
    if wide:
        conv_rank, conv_alpha = _commonest(adapter, wide)
        shape["ss_network_args"] = json.dumps({"conv_dim": str(conv_rank), "conv_alpha": f"{conv_alpha:g}"})
    return shape


def _is_wide(down: Tensor) -> bool:
    return any(side > 1 for side in down.shape[2:])


def _commonest(adapter: Adapter, paths: list[str]) -> tuple[int, float]:
    return commonest([adapter.rank(p) for p in paths]), commonest([adapter.alpha(p) for p in paths])


def _hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    whole = hashlib.sha256(behind_header(content)).hexdigest()
    return {"sshs_model_hash": whole, "modelspec.hash_sha256": f"0x{whole}"}


def behind_header(content: bytes) -> bytes:
    """A safetensors file's bytes after its header, whose length stands in the first 8 bytes."""
    return content[8 + int.from_bytes(content[:8], "little") :]
