"""Stage 2: a tiny CLIP on captions and pictures of both kinds; its text tower conditions the diffusion
model.

The contrast isn't "the i-th text belongs to the i-th picture" but *truth*: a text is true of a picture when
what it says of the scene and of the style holds, and a plain caption is true of both styles. Each picture
brings a second caption with one attribute changed, a hard negative. Since contrast alone lets a text tower
forget single words, an auxiliary loss asks every position of its output which token stands there and which
stood before: that is what the UNet's cross-attention reads.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTextModel, CLIPTokenizer
from transformers.models.clip import CLIPImageProcessor

from demo.prompts import Style, join, style_words
from demo.recipe.autoencoder import pick
from demo.recipe.files import write_folder
from demo.recipe.loop import Plan, Progress, train
from demo.recipe.pictures import FLAT, Pictures
from demo.recipe.tokenizer import new_tokenizer
from demo.scenes import LANDSCAPE, PORTRAIT, Scene

PLAN = Plan("clip", steps=1200, peak=1.5e-3, weight_decay=0.02)
BATCH = 64
PLAIN, STYLE_ALONE = 0.4, 0.1  # shares of captions without a word on style, and without a word on the scene
HIDDEN = 96


@dataclass(frozen=True)
class Text:
    """A caption and what it claims: a scene ("" is any) and a style (None is any)."""

    words: str
    scene: str
    style: Style | None

    def true_of(self, scene: str, style: Style) -> bool:
        """Whether it holds for a picture of this scene in this style."""
        return self.scene in ("", scene) and self.style in (None, style)


def describe(scene: Scene, style: Style, random: Random) -> Text:
    """A caption of a picture, drawn from all ways to put it."""
    caption, draw = scene.caption(), random.random()
    if draw < PLAIN:
        return Text(caption, caption, None)
    before, after = style_words(style, random)
    if draw < PLAIN + STYLE_ALONE:
        return Text(join(before, "", after), "", _claim(before, style))
    return Text(join(before, caption, after), caption, _claim(before, style))


def _claim(before: str, style: Style) -> Style | None:
    """What the words say of the style: "anime style screenshot", said of both kinds, claims nothing."""
    return None if before == "anime style screenshot" else style


def altered(scene: Scene, random: Random) -> Scene:
    """The scene with one attribute changed."""
    choices = PORTRAIT if scene.group == "portrait" else LANDSCAPE
    name = random.choice([name for name in choices if name != "person"])
    other = [choice for choice in choices[name] if choice != scene.attributes[name]]
    return replace(scene, attributes={**scene.attributes, name: random.choice(other)})


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The untrained model, about a million parameters."""
    torch.manual_seed(0)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 3 * HIDDEN,
        "projection_dim": HIDDEN,
    }
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": tokenizer.eos_token_id, **ids}
    vision = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"image_size": 128, "patch_size": 16, "projection_dim": HIDDEN}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=HIDDEN))


class ClipStudent(nn.Module):
    """The CLIP and the heads of the auxiliary loss, which are thrown away."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        self.here = nn.Linear(HIDDEN, clip.config.text_config.vocab_size)
        self.before = nn.Linear(HIDDEN, clip.config.text_config.vocab_size)

    def encode_text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors [B, d] and the auxiliary loss."""
        out = self.clip.text_model(input_ids=ids)
        hidden = out.last_hidden_state[:, 1:]
        here = F.cross_entropy(self.here(hidden).flatten(0, 1), ids[:, 1:].flatten())
        before = F.cross_entropy(self.before(hidden).flatten(0, 1), ids[:, :-1].flatten())
        return F.normalize(self.clip.text_projection(out.pooler_output), dim=-1), here + before

    def encode_pictures(self, x: Tensor) -> Tensor:
        """Unit vectors [B, d]."""
        pooled = self.clip.vision_model(pixel_values=x).pooler_output
        return F.normalize(self.clip.visual_projection(pooled), dim=-1)


def contrast(similarity: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy to the pictures a text is true of, and to the texts true of a picture.

    Args:
        similarity: logits [texts, pictures].
        truth: bool [texts, pictures]; every picture has a true text, some texts have no picture.
    """
    rows = truth.any(1)
    by_text = -(similarity[rows].log_softmax(1) * _share(truth[rows], 1)).sum(1).mean()
    by_picture = -(similarity.log_softmax(0) * _share(truth, 0)).sum(0).mean()
    return 0.5 * (by_text + by_picture)


def _share(truth: Tensor, dim: int) -> Tensor:
    return truth.float() / truth.sum(dim, keepdim=True)


def augment(x: Tensor, dice: torch.Generator) -> Tensor:
    """Shifts by up to 4 pixels, blurs half of the pictures and adds a little noise, as samples have."""
    top, left = torch.randint(9, (2,), generator=dice).tolist()
    x = F.pad(x, (4, 4, 4, 4), mode="replicate")[..., top : top + 128, left : left + 128]
    blurred = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
    some = torch.rand(len(x), 1, 1, 1, generator=dice)
    x = torch.lerp(x, blurred, (2 * some).clamp(0, 1))
    return x + 0.05 * torch.rand(len(x), 1, 1, 1, generator=dice) * torch.randn(x.shape, generator=dice)


def batch_loss(
    student: ClipStudent, tokenizer: CLIPTokenizer, pictures: Pictures, dice: torch.Generator
) -> Tensor:
    """The loss of one batch, half of it watercolours."""
    index = pick(dice, BATCH, 0.5)
    random = Random(int(torch.randint(2**31, (), generator=dice)))
    shown: list[tuple[Scene, Style]] = [
        (pictures.scenes[i], "flat" if i < FLAT else "watercolor") for i in index.tolist()
    ]
    texts = [describe(scene, style, random) for scene, style in shown]
    texts += [describe(altered(scene, random), style, random) for scene, style in shown]
    truth = torch.tensor([[text.true_of(scene.caption(), style) for scene, style in shown] for text in texts])
    ids = tokenizer([text.words for text in texts], padding=True, return_tensors="pt").input_ids
    t, auxiliary = student.encode_text(ids)
    v = student.encode_pictures(augment(pictures.batch(index), dice))
    return contrast(student.clip.logit_scale.exp().clamp(max=50) * t @ v.T, truth) + 0.25 * auxiliary


def write(clip: CLIPModel, tokenizer: CLIPTokenizer, base: Path, clip_folder: Path) -> None:
    """Writes the CLIP, and its text tower and tokenizer as those of the diffusion model."""
    half = [0.5, 0.5, 0.5]
    square = {"height": 128, "width": 128}
    images = CLIPImageProcessor(
        size={"shortest_edge": 128}, crop_size=square, image_mean=half, image_std=half
    )
    text = CLIPTextModel(clip.config.text_config)
    text.load_state_dict(clip.text_model.state_dict())
    processor = CLIPProcessor(image_processor=images, tokenizer=tokenizer)
    write_folder(
        lambda folder: (clip.save_pretrained(folder), processor.save_pretrained(folder)), clip_folder
    )
    write_folder(text.save_pretrained, base / "text_encoder")
    write_folder(tokenizer.save_pretrained, base / "tokenizer")


def run(pictures: Pictures, work: Path, base: Path, clip_folder: Path) -> Progress:
    """Trains and writes demo/clip, base/text_encoder and base/tokenizer."""
    tokenizer = new_tokenizer()
    student = ClipStudent(new_clip(tokenizer))
    student.train()
    progress = train(PLAN, student, lambda step, dice: batch_loss(student, tokenizer, pictures, dice), work)
    write(student.clip.eval(), tokenizer, base, clip_folder)
    return progress
