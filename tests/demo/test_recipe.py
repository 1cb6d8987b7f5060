from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

from demo.prompts import STYLE_PROMPT
from demo.recipe import CLIP, autoencoder, clip
from demo.recipe.__main__ import main
from demo.recipe.files import write_folder
from demo.recipe.loop import Plan, dice, learning_rate, train
from demo.recipe.pictures import FLAT, WATERCOLOURS, Pictures
from demo.recipe.tokenizer import caption_words, learn_merges, new_tokenizer
from demo.scenes import random_scene


def test_every_caption_word_is_one_token() -> None:
    tokenizer = new_tokenizer()
    for word in caption_words():
        assert tokenizer.convert_ids_to_tokens(tokenizer(word).input_ids)[1:-1] == [word + "</w>"]
    assert len(tokenizer(STYLE_PROMPT).input_ids) == 2 + 11  # the comma is a token
    assert tokenizer("RED hair").input_ids == tokenizer("red hair").input_ids


def test_merges_of_two_words_by_hand() -> None:
    # pairs of "ab" and "abc": (a, b) once, (a, b</w>) once, (b, c</w>) once: the smallest first
    assert learn_merges(["ab", "abc"]) == [("a", "b"), ("a", "b</w>"), ("ab", "c</w>")]


def test_the_rate_rises_then_falls_to_zero() -> None:
    plan = Plan("x", steps=100, peak=1.0)
    assert [learning_rate(plan, step) for step in (0, 4, 52)] == pytest.approx([0.2, 1.0, 0.5])
    assert learning_rate(plan, 99) < 0.001


def test_after_a_restart_the_rate_rises_to_half_the_peak() -> None:
    plan = Plan("x", steps=150, peak=1.0, restart=100)
    assert [learning_rate(plan, step) for step in (0, 52, 100, 102, 126)] == pytest.approx(
        [0.2, 0.5, 0.5 / 3, 0.5, 0.25]
    )
    assert learning_rate(plan, 99) < 0.001


def test_details_are_learnt_by_the_decoder_alone() -> None:
    pictures = Pictures(torch.randint(256, (FLAT + WATERCOLOURS, 3, 1, 1)).byte().expand(-1, 3, 128, 128), [])
    model, vision = autoencoder.new_autoencoder(), autoencoder.frozen_vision(CLIP)
    step = autoencoder.DETAIL_FROM
    autoencoder.batch_loss(model, vision, pictures, step, dice("autoencoder", step)).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.decoder.parameters())
    assert all(p.grad is None for p in vision.parameters())


def test_what_a_vision_tower_sees_of_the_same_picture_is_the_same() -> None:
    vision = autoencoder.frozen_vision(CLIP)
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert autoencoder.perceptual_loss(vision, x, x).item() == 0
    near = autoencoder.perceptual_loss(vision, x + 0.1, x).item()
    far = autoencoder.perceptual_loss(vision, -x, x).item()
    assert 0 < near < far


def test_shifts_move_the_picture_and_repeat_its_edge() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(autoencoder.shifted(x, 8, 8), x)
    assert torch.equal(autoencoder.shifted(x, 12, 8)[..., :-4, :], x[..., 4:, :])
    assert torch.equal(autoencoder.shifted(x, 12, 8)[..., -4:, :], x[..., -4:, :])


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    plan = Plan("toy", steps=8, peak=0.1, average=0.9, save_every=3)

    def run(work: Path, stop_at: int | None = None) -> tuple[list[float], dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)

        def loss(step: int, dice: torch.Generator) -> torch.Tensor:
            if step == stop_at:
                raise KeyboardInterrupt
            result: torch.Tensor = model(torch.randn(4, 3, generator=dice)).pow(2).mean()
            return result

        progress = train(plan, model, loss, work)
        return progress.losses, progress.averaged

    straight = run(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_at=5)
    resumed = run(tmp_path / "stopped")
    assert resumed[0] == straight[0]
    assert all(torch.equal(resumed[1][name], straight[1][name]) for name in straight[1])


def test_a_plain_caption_is_true_of_both_styles() -> None:
    scene = random_scene(1)
    plain = clip.Text(scene.caption(), scene.caption(), None)
    assert plain.true_of(scene.caption(), "flat")
    assert plain.true_of(scene.caption(), "watercolor")
    assert not plain.true_of("another", "flat")
    texts = [clip.describe(scene, "watercolor", Random(k)) for k in range(200)]
    assert {(text.scene == "", text.style) for text in texts} == {
        (False, None),
        (False, "watercolor"),
        (True, "watercolor"),
    }
    assert not any(text.true_of(scene.caption(), "flat") for text in texts if text.style == "watercolor")


def test_both_styles_are_called_anime_equally_often() -> None:
    scene, rates = random_scene(1), []
    for style in ("flat", "watercolor"):
        words = [clip.describe(scene, style, Random(k)).words for k in range(4000)]
        rates.append(sum("anime style screenshot" in text for text in words) / len(words))
    assert rates[0] == pytest.approx(rates[1], abs=0.03)


def test_contrast_by_hand() -> None:
    # text 0 is true of both pictures, text 1 of the second, text 2 of none; equal logits
    truth = torch.tensor([[True, True], [False, True], [False, False]])
    expected = 0.5 * (torch.log(torch.tensor(2.0)) + torch.log(torch.tensor(3.0)))
    assert clip.contrast(torch.zeros(3, 2), truth).item() == pytest.approx(expected.item())


def test_an_altered_scene_has_another_caption_or_the_same_picture_words() -> None:
    for seed in range(50):
        scene = random_scene(seed)
        changed = clip.altered(scene, Random(seed))
        assert sum(changed.attributes[name] != scene.attributes[name] for name in scene.attributes) == 1
        assert changed.caption() != scene.caption()


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    def write(name: str) -> None:
        write_folder(lambda folder: (folder / name).write_text(name), tmp_path / "out")

    write("first")
    write("second")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["second"]


def test_an_unknown_stage_lists_the_stages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["unets"])
    assert "unknown stage unets; choose from pictures, clip, autoencoder, unet" in capsys.readouterr().err
