"""Adapters from the three kinds of file, onto a fresh UNet."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_modules.base.families.known import family_of
from lightning_modules.base.families.sd_1 import SD_1
from lightning_modules.base.loading import load_components
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.diffusers_format import ADAPTER_METADATA, to_diffusers
from lightning_modules.lora.layers import LoraOptions, lora_state
from lightning_modules.lora.reading import notes, place_adapter, read_adapter
from lightning_modules.lora.writing import write_adapter, write_safetensors
from tests.tiny_adapters import EVERYWHERE, learned_unet, unet_output

OPTIONS = LoraOptions(rank=4, alpha=2.0, target_modules=EVERYWHERE)
FACTS = {"lora rank": "4", "lora alpha": "2.0", "lora use_rslora": "False"}


def facts(unet: Any) -> dict[str, str]:
    """What a header says of the base."""
    family = family_of(unet.config)
    assert family is not None
    return family.header("tiny", "epsilon")


def write_diffusers(unet: Any, folder: Path) -> Path:
    """As the trainer exports it."""
    return write_adapter(folder / "a.safetensors", adapter_of(unet), "diffusers", facts(unet))


def write_kohya(unet: Any, folder: Path) -> Path:
    """As the trainer exports it."""
    return write_adapter(folder / "a_kohya.safetensors", adapter_of(unet), "kohya", facts(unet))


def write_checkpoint(unet: Any, folder: Path) -> Path:
    """What this file's reader looks at of the trainer's checkpoint."""
    content = {"state_dict": lora_state(unet), "fingerprint": FACTS, "base": facts(unet)}
    torch.save(content, folder / "step_000004.ckpt")
    return folder / "step_000004.ckpt"


def write_without_header(unet: Any, folder: Path) -> Path:
    """As diffusers' users share it: nothing says the base."""
    tensors, metadata = to_diffusers(adapter_of(unet))
    path = folder / "bare.safetensors"
    return write_safetensors(path, tensors, {ADAPTER_METADATA: metadata[ADAPTER_METADATA]})


WRITERS = [write_diffusers, write_kohya, write_checkpoint, write_without_header]
BASES = ["tiny_base", "tiny_base_sd1", "tiny_sdxl"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("base_name", BASES)
def test_every_kind_of_file_gives_the_trained_unet_bit_for_bit(
    write: Callable[[Any, Path], Path], base_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(base_name)
    trained = learned_unet(base, OPTIONS)
    fresh = load_components(str(base)).unet
    saved = read_adapter(write(trained, tmp_path))
    assert len(place_adapter(fresh, saved)) == len(lora_state(trained))
    assert torch.equal(unet_output(fresh), unet_output(trained))
    assert notes(saved) == []


@pytest.mark.parametrize("base_name", BASES)
def test_the_digest_is_the_kohya_files_whatever_was_read(
    base_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(base_name)
    unet = learned_unet(base, OPTIONS)
    digests = {read_adapter(write(unet, tmp_path)).digest for write in WRITERS}
    with safe_open(write_kohya(unet, tmp_path), framework="pt") as file:
        assert digests == {file.metadata()["sshs_model_hash"]}
    other = read_adapter(write_kohya(learned_unet(base, OPTIONS, amount=0.1), tmp_path))
    assert other.digest not in digests


def test_ranks_and_strengths_may_differ_by_layer(tiny_base: Path, tmp_path: Path) -> None:
    path = write_kohya(learned_unet(tiny_base, OPTIONS), tmp_path)
    tensors = load_file(path)
    layer = next(name for name in tensors if name.endswith("to_q.alpha")).removesuffix(".alpha")
    wider = {
        f"{layer}.lora_down.weight": torch.cat([tensors[f"{layer}.lora_down.weight"]] * 2),
        f"{layer}.lora_up.weight": torch.cat([tensors[f"{layer}.lora_up.weight"]] * 2, dim=1),
        f"{layer}.alpha": torch.tensor(2.0),  # half the strength with each half twice: the same layer
    }
    save_file(tensors | wider, path)
    one, other = load_components(str(tiny_base)).unet, learned_unet(tiny_base, OPTIONS)
    place_adapter(one, read_adapter(path))
    torch.testing.assert_close(unet_output(one), unet_output(other))


def test_a_checkpoints_moving_average_comes_before_its_raw_weights(tiny_base: Path, tmp_path: Path) -> None:
    raw, mean = learned_unet(tiny_base, OPTIONS), learned_unet(tiny_base, OPTIONS, amount=0.1)
    average = {
        n.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."): t
        for n, t in lora_state(mean).items()
    }
    content = {"state_dict": lora_state(raw), "ema": {"average": average}, "fingerprint": FACTS}
    torch.save(content, tmp_path / "a.ckpt")
    fresh = load_components(str(tiny_base)).unet
    place_adapter(fresh, read_adapter(tmp_path / "a.ckpt"))
    assert torch.equal(unet_output(fresh), unet_output(mean))


@pytest.mark.parametrize("write", [write_diffusers, write_kohya])
def test_a_file_without_alpha_acts_with_strength_1_and_that_is_said(
    write: Callable[[Any, Path], Path], tiny_base: Path, tmp_path: Path
) -> None:
    path = write(learned_unet(tiny_base, OPTIONS), tmp_path)
    save_file({n: t for n, t in load_file(path).items() if not n.endswith(".alpha")}, path)
    plain = learned_unet(tiny_base, LoraOptions(rank=4, alpha=4.0, target_modules=EVERYWHERE))
    fresh = load_components(str(tiny_base)).unet
    saved = read_adapter(path)
    place_adapter(fresh, saved)
    assert torch.equal(unet_output(fresh), unet_output(plain))
    assert notes(saved) == [f"{path} doesn't say its alpha: alpha = rank is assumed, a strength of 1."]


def test_alpha_by_layer_in_a_diffusers_file_is_honoured(tiny_base: Path, tmp_path: Path) -> None:
    tensors, metadata = to_diffusers(adapter_of(learned_unet(tiny_base, OPTIONS)))
    config = json.loads(metadata[ADAPTER_METADATA]) | {"unet.alpha_pattern": {"attn1.to_q": 8.0}}
    path = write_safetensors(tmp_path / "a.safetensors", tensors, {ADAPTER_METADATA: json.dumps(config)})
    fresh = load_components(str(tiny_base)).unet
    place_adapter(fresh, read_adapter(path))
    strengths = {n: m.scaling["default"] for n, m in fresh.named_modules() if hasattr(m, "scaling")}
    assert {s for n, s in strengths.items() if n.endswith("attn1.to_q")} == {2.0}  # 8 / 4
    assert {s for n, s in strengths.items() if not n.endswith("attn1.to_q")} == {0.5}  # 2 / 4


def test_text_encoder_layers_are_left_out_by_name(tiny_base: Path, tmp_path: Path) -> None:
    path = write_kohya(learned_unet(tiny_base, OPTIONS), tmp_path)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"
    save_file(load_file(path) | {name: torch.zeros(4, 32)}, path)
    saved = read_adapter(path)
    place_adapter(load_components(str(tiny_base)).unet, saved)
    assert len(notes(saved)) == 1
    assert notes(saved)[0].endswith(f"so pictures differ from other programs': {name}")


def test_a_folder_stands_for_the_file_that_diffusers_writes(tiny_base: Path, tmp_path: Path) -> None:
    write_diffusers(learned_unet(tiny_base, OPTIONS), tmp_path).rename(
        tmp_path / "pytorch_lora_weights.safetensors"
    )
    assert read_adapter(tmp_path).path == tmp_path / "pytorch_lora_weights.safetensors"
    with pytest.raises(ValueError, match=r"^--model\.init_lora .*/empty: there is no such file"):
        read_adapter(tmp_path / "empty", "--model.init_lora")


def changed(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """The file with other tensors."""
    save_file(change(load_file(path)), path)
    return path


def test_every_tensor_without_a_place_is_named_and_nothing_changes(tiny_base: Path, tmp_path: Path) -> None:
    more = {
        "lora_unet_nowhere_1.lora_down.weight": torch.zeros(1),
        "lora_unet_nowhere_2.alpha": torch.zeros(()),
    }
    path = changed(write_kohya(learned_unet(tiny_base, OPTIONS), tmp_path), lambda tensors: tensors | more)
    fresh = load_components(str(tiny_base)).unet
    with pytest.raises(
        ValueError, match=r"2 tensors have no place .*nowhere_1\.lora_down\.weight, .*nowhere_2"
    ):
        place_adapter(fresh, read_adapter(path))
    assert lora_state(fresh) == {}


def test_an_adapter_of_another_width_is_refused_layer_by_layer(tiny_base: Path, tmp_path: Path) -> None:
    def wider(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Attention to texts of 48 numbers a token, where this base's have 32."""
        return {
            name: torch.zeros(4, 48) if re.search("attn2_to_[kv].lora_down", name) else tensor
            for name, tensor in tensors.items()
        }

    path = changed(write_kohya(learned_unet(tiny_base, OPTIONS), tmp_path), wider)
    fresh = load_components(str(tiny_base)).unet
    with pytest.raises(ValueError, match=r"doesn't fit this base.*to_k is .*--model\.base_model") as error:
        place_adapter(fresh, read_adapter(path))
    refused = re.findall(r"(\S+) is \[\d+, 4\] x \[4, 48\]", str(error.value))
    assert refused == sorted(n for n, _ in fresh.named_modules() if re.search(r"attn2\.to_[kv]$", n))
    assert lora_state(fresh) == {}


def test_an_adapter_of_another_family_is_known_by_its_header(
    tiny_base: Path, tiny_base_sd1: Path, tmp_path: Path
) -> None:
    unet = learned_unet(tiny_base_sd1, OPTIONS)
    facts = SD_1.header("one", "epsilon")
    path = write_adapter(tmp_path / "a.safetensors", adapter_of(unet), "kohya", facts)
    with pytest.raises(ValueError, match=r"trained on Stable Diffusion 1\.x, as its header says"):
        place_adapter(load_components(str(tiny_base)).unet, read_adapter(path))


def test_half_a_layer_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    def without_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        gone = next(name for name in tensors if name.endswith("to_k.lora_up.weight"))
        return {name: tensor for name, tensor in tensors.items() if name != gone}

    path = changed(write_kohya(learned_unet(tiny_base, OPTIONS), tmp_path), without_one)
    with pytest.raises(ValueError, match="to_k has only one of its two matrices"):
        place_adapter(load_components(str(tiny_base)).unet, read_adapter(path))


def test_files_that_hold_no_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        read_adapter(tmp_path / "absent.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ValueError, match=r"^--lora .* is no whole \.safetensors file"):
        read_adapter(tmp_path / "torn.safetensors")
    save_file({"model.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"is no LoRA of Stable Diffusion: its tensors are model\.weight"):
        read_adapter(tmp_path / "model.safetensors")
    save_file({"lora_te_x.alpha": torch.zeros(1)}, tmp_path / "te.safetensors")
    with pytest.raises(ValueError, match="holds text encoder layers only"):
        place_adapter(torch.nn.Module(), read_adapter(tmp_path / "te.safetensors"))
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"is no checkpoint of this trainer \(KeyError\)"):
        read_adapter(tmp_path / "other.ckpt")


def test_the_digest_of_dotted_ldm_names_is_that_of_the_same_layers_by_diffusers_names(tmp_path: Path) -> None:
    """A digest is of all matrices in the order of their names, and 11 comes before 3 (names: diffusers' conversion)."""
    widths = (1280, 320)
    both = (
        ("unet.up_blocks.1.attentions.0", "unet.up_blocks.3.attentions.2"),
        ("diffusion_model.output_blocks.3.1", "diffusion_model.output_blocks.11.1"),
    )
    digests = set()
    for number, paths in enumerate(both):
        tensors = {}
        for path, width in zip(paths, widths, strict=True):
            layer = f"{path}.transformer_blocks.0.attn1.to_q"
            tensors[f"{layer}.lora_A.weight"] = torch.full((2, width), float(width))
            tensors[f"{layer}.lora_B.weight"] = torch.full((width, 2), float(width))
        file = write_safetensors(
            tmp_path / f"{number}.safetensors", tensors, {"ss_base_model_version": "sd_v1"}
        )
        digests.add(read_adapter(file).digest)
    assert len(digests) == 1
