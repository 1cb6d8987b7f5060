"""What is trained: which parameters, their start, how they come out and go back in (as in peft)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils import get_peft_model_state_dict

from lightning_modules.base.loading import load_components
from lightning_modules.lora.layers import (
    LoraOptions,
    add_lora,
    load_lora_state,
    lora_layers,
    lora_parameters,
    lora_state,
    scaled,
)
from tests.tiny_adapters import EVERYWHERE, fill, learned_unet, unet_output


@pytest.fixture
def unet(tiny_base: Path) -> Any:
    return load_components(str(tiny_base)).unet


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_step_0_the_model_equals_its_base_bit_for_bit(tiny_base: Path, dtype: torch.dtype) -> None:
    unet = load_components(str(tiny_base), weight_dtype=dtype).unet
    before = unet_output(unet)
    add_lora(unet, LoraOptions(rank=4, target_modules=EVERYWHERE), seed=0)
    assert torch.equal(unet_output(unet), before)
    fill(unet, 0.2)
    assert not torch.equal(unet_output(unet), before)


def test_trainable_is_lora_is_saved_and_nothing_else(unet: Any) -> None:
    trainable = add_lora(unet, LoraOptions(rank=4), seed=0)
    by_name = lora_parameters(unet)
    assert isinstance(trainable, list)
    assert {id(p) for p in trainable} == {id(p) for p in unet.parameters() if p.requires_grad}
    assert {id(p) for p in trainable} == {id(p) for p in by_name.values()}
    assert {name.replace(".default.", ".") for name in by_name} == lora_state(unet).keys()
    attentions = 2 * 4  # (one below, one in the middle, two above) x (attn1, attn2)
    assert len(trainable) == attentions * 4 * 2  # to_q, to_k, to_v, to_out.0; A and B
    assert not any(module.training for module in unet.modules())


def test_the_adapter_is_float32_on_a_16_bit_base(tiny_base: Path) -> None:
    unet = load_components(str(tiny_base), weight_dtype=torch.bfloat16).unet
    assert {p.dtype for p in add_lora(unet, LoraOptions(rank=4), seed=0)} == {torch.float32}
    assert unet.conv_in.weight.dtype == torch.bfloat16


def test_the_start_depends_on_seed_and_layer_and_not_on_the_global_generator(tiny_base: Path) -> None:
    def start(seed: int, targets: list[str]) -> dict[str, torch.Tensor]:
        fresh = load_components(str(tiny_base)).unet
        add_lora(fresh, LoraOptions(rank=4, target_modules=targets), seed)
        return lora_state(fresh)

    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = start(0, ["to_q", "to_k"])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, more, other = (
        start(0, ["to_q", "to_k"]),
        start(0, ["to_q", "to_k", "conv1"]),
        start(1, ["to_q", "to_k"]),
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert all(torch.equal(one[name], more[name]) for name in one)
    downs = [name for name in one if ".lora_A." in name]
    assert not any(torch.equal(one[name], other[name]) for name in downs)
    assert len({float(one[name].sum()) for name in downs}) == len(downs)
    assert all(bool((one[name] == 0).all()) for name in one if ".lora_B." in name)
    deviation = torch.cat([one[name].flatten() for name in downs]).std()
    assert deviation == pytest.approx(1 / 4, rel=0.05)  # 1 / rank


def test_the_state_is_pefts_and_is_a_copy(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, LoraOptions(rank=4, target_modules=EVERYWHERE), dtype=torch.bfloat16)
    state, reference = lora_state(unet), get_peft_model_state_dict(unet)
    assert state.keys() == reference.keys()
    assert all(torch.equal(state[name], reference[name]) for name in state)
    fill(unet, 0.0)
    assert all(bool((tensor != 0).any()) for tensor in state.values())


def test_a_state_goes_back_into_the_same_parameters(tiny_base: Path) -> None:
    options = LoraOptions(rank=4, target_modules=EVERYWHERE)
    saved = learned_unet(tiny_base, options)
    fresh = load_components(str(tiny_base)).unet
    held = add_lora(fresh, options, seed=99)
    load_lora_state(fresh, lora_state(saved))
    assert torch.equal(unet_output(fresh), unet_output(saved))
    assert all(a is b for a, b in zip(held, lora_parameters(fresh).values(), strict=True))


def test_a_state_that_does_not_fit_is_refused_with_its_differences(unet: Any) -> None:
    add_lora(unet, LoraOptions(rank=4), seed=0)
    before = lora_state(unet)
    wrong = {name: tensor + 1 for name, tensor in before.items()}
    first, second = sorted(wrong)[:2]
    del wrong[first]
    wrong["conv_in.lora_A.weight"] = torch.zeros(1)
    wrong[second] = torch.zeros(7, 5)
    with pytest.raises(ValueError, match="doesn't fit") as error:
        load_lora_state(unet, wrong)
    message = str(error.value)
    assert f"1 missing ({first})" in message
    assert "1 unexpected (conv_in.lora_A.weight)" in message
    assert (
        f"1 of another shape ({second} is [7, 5] in the file and {list(before[second].shape)} here)"
        in message
    )
    assert "--model.lora.rank" in message
    after = lora_state(unet)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_state_of_another_rank_is_counted_not_listed_in_full(tiny_base: Path, unet: Any) -> None:
    add_lora(unet, LoraOptions(rank=4), seed=0)
    with pytest.raises(ValueError, match=r"64 of another shape \(.*and 61 more\)"):
        load_lora_state(unet, lora_state(learned_unet(tiny_base, LoraOptions(rank=8))))


def test_one_regular_expression_chooses_by_whole_names(unet: Any) -> None:
    add_lora(unet, LoraOptions(rank=4, target_modules=r"up_blocks.*attn2\.to_(q|v)"), seed=0)
    blocks = ["up_blocks.0", "up_blocks.1"]
    found = {name.split(".attentions")[0] for name in lora_layers(unet)}
    assert found <= set(blocks)
    assert {name.split("attn")[1] for name in lora_layers(unet)} == {"2.to_q", "2.to_v"}
    assert len(lora_layers(unet)) == 2 * 2  # two cross-attentions above


@pytest.mark.parametrize(
    ("targets", "shown"),
    [
        (["to_k", "to_qq"], "'to_qq'"),
        (["attn1"], "'attn1'"),
        ([], "an em"),
        ("to_q", "'to_q'"),  # no whole name
        (".*attn1.*", "'.*attn1.*'"),  # a whole block among its layers
        ("up_blocks.*to_(q", r"'up_blocks.*to_\(q'"),
    ],
)
def test_every_target_must_match_a_layer(unet: Any, targets: list[str] | str, shown: str) -> None:
    with pytest.raises(
        ValueError, match=rf"target_modules has {shown}.*It has conv, .*to_k, to_out\.0, to_q, to_v;"
    ):
        add_lora(unet, LoraOptions(target_modules=targets), seed=0)
    assert not lora_parameters(unet)


@pytest.mark.parametrize(
    ("options", "strength"),
    [
        (LoraOptions(rank=4), 1.0),
        (LoraOptions(rank=4, alpha=2.5), 0.625),
        (LoraOptions(rank=16, alpha=8, use_rslora=True), 2.0),
    ],
)
def test_strength_is_alpha_over_rank_or_over_its_root(
    unet: Any, options: LoraOptions, strength: float
) -> None:
    add_lora(unet, options, seed=0)
    assert {layer.scaling["default"] for layer in lora_layers(unet).values()} == {strength}


def test_scale_0_is_the_base_1_the_adapter_and_2_twice_its_strength(tiny_base: Path) -> None:
    base = unet_output(load_components(str(tiny_base)).unet)
    unet = learned_unet(tiny_base, LoraOptions(rank=4, alpha=2))
    full = unet_output(unet)
    with scaled(unet, 0):
        assert torch.equal(unet_output(unet), base)
    with scaled(unet, 1):
        assert torch.equal(unet_output(unet), full)
    with scaled(unet, 2):
        twice = unet_output(unet)
    assert torch.equal(unet_output(unet), full)
    assert torch.equal(twice, unet_output(learned_unet(tiny_base, LoraOptions(rank=4, alpha=4))))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_scaled_restores_everything_also_after_an_error_and_when_nested(
    tiny_base: Path, scale: float
) -> None:
    unet = learned_unet(tiny_base, LoraOptions(rank=4))
    frozen = next(iter(lora_parameters(unet).values())).requires_grad_(False)
    full = unet_output(unet)
    with pytest.raises(RuntimeError, match="stop"), scaled(unet, scale):
        raise RuntimeError("stop")
    assert torch.equal(unet_output(unet), full)
    with scaled(unet, 0.0):
        base = unet_output(unet)
        with scaled(unet, scale):
            pass
        assert torch.equal(unet_output(unet), base)
    assert [p.requires_grad for p in lora_parameters(unet).values()].count(False) == 1
    assert not frozen.requires_grad
