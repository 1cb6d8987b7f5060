"""CLIP's vectors against its parts put together by hand; models that can't be loaded."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from PIL import Image

from evaluation.caption_agreement import agreements, check_prompts, picture_vectors, zero_shot
from evaluation.clip import Clip, load_clip
from tests.callbacks.tiny_clip import save_tiny_clip


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


def picture(number: int) -> Image.Image:
    return Image.effect_noise((40, 40 + number), 40 + number).convert("RGB")


def cosine_by_hand(folder: Path, image: Image.Image, text: str) -> float:
    clip, processor = load_clip(str(folder), "--clip")
    words = processor.tokenizer(text, return_tensors="pt", truncation=True, max_length=77)
    with torch.no_grad():
        pixels = processor(images=[image], return_tensors="pt")
        v = clip.visual_projection(clip.vision_model(**pixels).pooler_output)[0]
        w = clip.text_projection(clip.text_model(**words).pooler_output)[0]
    return float(v @ w / (v.norm() * w.norm()))


def test_agreement_is_100_times_the_cosine_of_each_pair(tiny_clip: Path) -> None:
    clip = Clip(str(tiny_clip), "--clip")
    images = [picture(number) for number in range(18)]  # more than a batch
    captions = [f"a girl with {'red ' * number} hair" for number in range(17)] + ["blue " * 200]
    found = agreements(clip, picture_vectors(clip, iter(images)), [[caption] for caption in captions])
    assert [caption for caption, _ in found] == captions
    for place in (0, 1, 16, 17):
        wanted = 100 * cosine_by_hand(tiny_clip, images[place], captions[place])
        assert found[place][1] == pytest.approx(wanted, abs=1e-3)


def test_of_several_captions_the_worst_counts(tiny_clip: Path) -> None:
    clip = Clip(str(tiny_clip), "--clip")
    images = [picture(number) for number in range(3)]
    captions = [["a girl"], ["red hills", "a girl", "blue blue hair"] * 7, ["blue", "red"]]
    found = agreements(clip, picture_vectors(clip, images), captions)
    for image, own, (caption, similarity) in zip(images, captions, found, strict=True):
        by_hand = {text: 100 * cosine_by_hand(tiny_clip, image, text) for text in own}
        assert caption == min(by_hand, key=lambda text: by_hand[text])
        assert similarity == pytest.approx(min(by_hand.values()), abs=1e-3)


def test_the_suggested_group_has_the_largest_softmax(tiny_clip: Path) -> None:
    clip = Clip(str(tiny_clip), "--clip")
    prompts = {"portrait": "a girl", "landscape": "red hills"}
    images = [picture(number) for number in range(3)]
    found = zero_shot(clip, picture_vectors(clip, images), prompts)
    for image, (group, confidence) in zip(images, found, strict=True):
        cosines = torch.tensor([cosine_by_hand(tiny_clip, image, text) for text in prompts.values()])
        chances = torch.softmax(clip.scale * cosines, 0)
        assert group == list(prompts)[int(chances.argmax())]
        assert confidence == pytest.approx(float(chances.max()), abs=1e-4)


def test_one_group_is_no_choice() -> None:
    with pytest.raises(ValueError, match=r"\{'portrait': 'a face'\}: give at least two groups"):
        check_prompts({"portrait": "a face"})


def test_clip_is_frozen(tiny_clip: Path) -> None:
    clip, _ = load_clip(str(tiny_clip), "--clip")
    assert not clip.training
    assert {p.requires_grad for p in clip.parameters()} == {False}


def test_a_folder_that_holds_no_clip_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"could not be loaded: it needs config\.json, model\.safetensors"):
        load_clip(str(tmp_path), "--clip")


def test_an_unreachable_model_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=r"--clip nobody/clip: there is no such folder here.*Unset it"
    ) as error:
        load_clip("nobody/clip", "--clip")
    assert "hf download nobody/clip --local-dir models/clip --include" in str(error.value)
    assert str(error.value).endswith("--clip models/clip")
