"""The DataModule in a real Trainer: what a training loop sees, and what a checkpoint holds."""

import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from datamodules.caption_images import CaptionImages
from datamodules.picture_folder import PictureFolder
from datamodules.problems import DatasetError
from datamodules.stream.caption_variation import CaptionOptions
from tests.datamodules.folders import encode, make_folder, number_of, paint, write_metadata

GROUPS = {"portrait": 10, "landscape": 5}


class Watcher(L.LightningModule):
    """Trains one number and notes what it is shown."""

    def __init__(self, encoder: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.encoder = encoder
        self.trained: list[dict[str, Any]] = []
        self.validated: list[dict[str, Any]] = []

    def on_fit_start(self) -> None:
        if self.encoder is not None:
            self.trainer.datamodule.use_encoder(self.encoder, "stand-in")  # type: ignore[attr-defined]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self.trained.append(batch)
        return self.weight * 1.0

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.validated.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def draws(self) -> list[int]:
        return [draw for batch in self.trained for draw in batch["draw"].tolist()]


def data_of(folder: Path, **options: Any) -> CaptionImages:
    return CaptionImages(
        str(folder), **({"resolution": 16, "num_workers": 0, "cache_folder": None} | options)
    )


def trainer_of(folder: Path, steps: int, **options: Any) -> L.Trainer:
    settings: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "max_steps": steps,
        "max_epochs": -1,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(**(settings | options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures", GROUPS)


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(one[name], two[name]) if isinstance(one[name], Tensor) else one[name] == two[name]
        for name in one
    )


def first_batches(data: CaptionImages, number: int) -> list[dict[str, Any]]:
    data.setup()
    batches = iter(data.train_dataloader())
    return [next(batches) for _ in range(number)]


def test_a_batch_is_what_the_contract_says(folder: Path) -> None:
    batch = first_batches(data_of(folder, batch_size=4), 1)[0]
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["image"].dtype == torch.float32
    assert batch["caption"] == [f"picture {number_of(image)}" for image in batch["image"]]
    assert set(batch["group"]) <= set(GROUPS)
    assert all(len(key) == 64 for key in batch["key"])
    assert batch["draw"].dtype == torch.int64
    assert batch["draw"].tolist() == [0, 1, 2, 3]
    assert batch["flip"].dtype == torch.bool
    assert batch["loss_weight"].dtype == torch.float32
    assert batch["loss_weight"].tolist() == [1, 1, 1, 1]
    assert batch["original_size"].tolist() == [[16, 16]] * 4
    assert batch["crop_top_left"].tolist() == [[0, 0]] * 4
    words = {"caption", "group", "key", "draw", "flip", "loss_weight", "original_size", "crop_top_left"}
    assert batch.keys() == {"image"} | words


def test_what_the_cpu_reads_of_a_batch_stays_there(folder: Path) -> None:
    """Random numbers are keyed by draws: on a GPU, each use would wait to have them back."""
    batch = {
        "latent_mean": torch.zeros(1, 4, 8, 8),
        "draw": torch.tensor([3]),
        "flip": torch.tensor([True]),
        "original_size": torch.zeros(1, 2),
        "crop_top_left": torch.zeros(1, 2),
        "caption": ["a"],
    }
    moved = data_of(folder).transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert {name: values.device.type for name, values in moved.items() if name != "caption"} == {
        "latent_mean": "meta",
        "draw": "cpu",
        "flip": "cpu",
        "original_size": "cpu",
        "crop_top_left": "cpu",
    }
    assert moved["caption"] == ["a"]


def test_workers_change_nothing(folder: Path) -> None:
    alone = first_batches(data_of(folder, batch_size=3), 8)
    helped = first_batches(data_of(folder, batch_size=3, num_workers=2), 8)
    assert all(same(one, two) for one, two in zip(alone, helped, strict=True))


def test_loaders_do_not_touch_the_global_generator(folder: Path) -> None:
    before = torch.get_rng_state()
    data = data_of(folder, batch_size=3, num_workers=2)
    first_batches(data, 2)
    list(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_shares_decide_how_often_groups_are_drawn(folder: Path) -> None:
    batches = first_batches(data_of(folder, batch_size=9, shares={"portrait": 2, "landscape": 1}), 2)
    assert [batch["group"].count("portrait") for batch in batches] == [6, 6]


def test_hold_out_is_validated_in_order_and_never_trained_on(folder: Path) -> None:
    data = data_of(folder, batch_size=12, holdout_fraction=0.2, validation_batch_size=2)
    trained = {key for batch in first_batches(data, 3) for key in batch["key"]}
    batches = list(data.val_dataloader())
    held_out = [key for batch in batches for key in batch["key"]]
    assert [batch["draw"].tolist() for batch in batches] == [[0, 1], [2]]
    assert [group for batch in batches for group in batch["group"]].count("portrait") == 2
    assert held_out == sorted(held_out)
    assert len(trained) == 12
    assert not trained & set(held_out)


def test_the_hold_out_does_not_depend_on_the_seed(folder: Path) -> None:
    held_out = []
    for seed in (0, 1):
        data = data_of(folder, seed=seed)
        data.setup()
        held_out.append(data.held_out)
    assert held_out[0] == held_out[1]


def test_a_hold_out_folder_leaves_the_pictures_whole(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    rows = [{"file_name": paint(other / f"{n}.png", n).name, "text": f"other {n}"} for n in (20, 21)]
    write_metadata(other, rows)
    data = data_of(folder, holdout_folder=str(other))
    data.setup()
    assert len(data.training) == 15
    assert sorted(record.caption for record in data.held_out) == ["other 20", "other 21"]


def test_a_picture_in_both_folders_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    data = data_of(folder, holdout_folder=str(tmp_path / "other"))
    with pytest.raises(DatasetError, match=r"both in data\.folder and in data\.holdout_folder \(15\): "):
        data.setup()


def test_without_hold_out_validation_hooks_still_run(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    class Painter(Watcher):
        painted = 0

        def on_validation_epoch_start(self) -> None:
            self.painted += 1

    model = Painter()
    trainer = trainer_of(
        folder, 6, num_sanity_val_steps=1, val_check_interval=3, check_val_every_n_epoch=None
    )
    trainer.fit(model, datamodule=data_of(folder, holdout_fraction=0))
    assert not model.validated
    assert model.painted == 3  # the sanity check, and after 3 and 6 steps
    assert len(model.trained) == 6
    assert not [warning for warning in recwarn if "zero" in str(warning.message)]


def test_the_trigger_stands_before_captions_of_both_sides(folder: Path) -> None:
    data = data_of(folder, trigger="my_style")
    data.setup()
    assert {record.caption.split(" picture")[0] for record in data.training + data.held_out} == {"my_style,"}


def test_all_problems_of_both_folders_come_in_one_error(folder: Path, tmp_path: Path) -> None:
    (folder / "003.png").write_bytes(b"")
    other = tmp_path / "other"
    paint(other / "a.png", 30, (12, 12))
    data = data_of(folder, holdout_folder=str(other))
    with pytest.raises(DatasetError) as raised:
        data.setup()
    text = str(raised.value)
    assert text.startswith(f"2 problems stop training on {folder} and {other}:\n")
    assert "empty files (0 bytes) (1): 003.png." in text
    assert "missing or empty captions (1): a.png." in text
    assert "Not stopping, but worth a look:\n- small, so they are enlarged" in text


def test_warnings_are_said_once_and_kept(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    paint(folder / "unlisted.png", 40)
    data = data_of(folder)
    data.setup("fit")
    data.setup("validate")
    assert [str(problem) for problem in data.warnings] == ["unlisted.png"]
    assert caplog.text.count("unlisted.png") == 1


def test_captions_that_are_too_long_are_said_with_the_words_that_are_lost(folder: Path) -> None:
    write_metadata(folder, [{"file_name": "000.png", "text": "word " * 75 + "last words"}])
    data = data_of(folder, trigger="my_style")
    data.count_tokens = lambda caption: len(caption.split()) + 2
    data.lost_words = lambda caption: " ".join(caption.split()[75:])
    data.setup()
    too_long = [str(problem) for problem in data.warnings if problem.kind.title.startswith("captions longer")]
    assert too_long == ["000.png (80 tokens, 77 are read; lost: 'word last words')"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 500}, "data.resolution is 500; it must be a positive multiple of 8."),
        ({"resolution": 0}, "data.resolution is 0; it must be a positive multiple of 8."),
        ({"batch_size": 0}, "data.batch_size is 0; it must be at least 1."),
        (
            {"resolution": 96, "buckets": True},
            "data.resolution is 96; it must be a positive multiple of 64 with data.buckets.",
        ),
        ({"num_workers": -1}, "data.num_workers is -1; it must be from 0 to 32."),
        ({"holdout_fraction": 1.0}, "data.holdout_fraction is 1.0; it must be at least 0 and below 1."),
        ({"validation_batch_size": 0}, "data.validation_batch_size is 0; it must be at least 1, or null."),
    ],
)
def test_options_out_of_range(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        data_of(folder, **options)


def test_a_folder_is_no_hold_out_of_itself(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"data\.holdout_folder is '.+', the same as data\.folder\. Give another"
    ):
        data_of(folder, holdout_folder=f"{folder}/../{folder.name}")


def test_wrong_shares_stop_at_setup(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.shares names the groups \['cat'\]"):
        data_of(folder, shares={"cat": 1}).setup()


def test_wrong_loss_weights_stop_at_setup(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.loss_weights names the groups \['cat'\]"):
        data_of(folder, loss_weights={"cat": 1}).setup()


def test_a_group_of_prior_pictures_has_a_share_and_a_weight(folder: Path) -> None:
    shares, weights = {"portrait": 3, "landscape": 1}, {"landscape": 0.25}
    data = data_of(folder, batch_size=8, shares=shares, loss_weights=weights)
    (batch,) = first_batches(data, 1)
    assert batch["group"].count("landscape") == 2
    expected = [0.25 if group == "landscape" else 1.0 for group in batch["group"]]
    assert batch["loss_weight"].tolist() == expected
    assert data.describe(8).splitlines()[-1] == "Weights in the loss: landscape 0.25 (others 1)"


def test_buckets_are_in_the_fingerprint_and_decide_what_is_too_small(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tall", {"all": 3}, size=(50, 200))  # the square asks for 128 across
    with pytest.raises(DatasetError, match=r"50x200, 2\.56 times to cover 128x128"):
        data_of(folder, resolution=128).setup()
    data = data_of(folder, resolution=128, buckets=True)
    data.setup()
    assert str(data.warnings[0]) == "000.png (50x200, 1.28 times to cover 64x256)"
    assert data.fingerprint()["buckets"] == "True"
    assert data.describe(3).splitlines()[-1] == "Pictures a size (width x height): 64x256 3"


def test_every_option_is_explained() -> None:
    """The docstring is the --help."""
    text = inspect.getdoc(PictureFolder) or ""
    for name in inspect.signature(CaptionImages).parameters:
        assert f"\n    {name}: " in text


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("after", [1, 3])
def test_a_resumed_run_sees_what_the_straight_run_sees(
    folder: Path, tmp_path: Path, num_workers: int, accumulate: int, after: int
) -> None:
    def run(steps: int, ckpt_path: str | None = None, **options: Any) -> Watcher:
        model = Watcher()
        data = data_of(folder, batch_size=3, num_workers=num_workers)
        trainer = trainer_of(tmp_path, steps, accumulate_grad_batches=accumulate, **options)
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
        return model

    straight = run(5)
    assert straight.draws() == list(range(5 * accumulate * 3))
    saving = ModelCheckpoint(tmp_path / "ckpt", "{step}", every_n_train_steps=1, save_top_k=-1)
    run(4, callbacks=[saving], enable_checkpointing=True)
    resumed = run(5, ckpt_path=str(tmp_path / "ckpt" / f"step={after}.ckpt"))
    rest = straight.trained[after * accumulate :]
    assert len(resumed.trained) == len(rest)
    assert all(same(one, two) for one, two in zip(resumed.trained, rest, strict=True))


def test_captions_that_vary_are_the_same_after_a_resume(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"file_name": f"{number:03d}.png", "text": [f"a{number}, b, c, d", f"e{number}, f, g"]}
        for number in range(15)
    ]
    write_metadata(folder, rows)
    options = CaptionOptions("pre", shuffle_tags=True, keep_tags=1, tag_dropout=0.2)

    def run(steps: int, ckpt_path: str | None = None) -> tuple[list[str], L.Trainer]:
        model, trainer = Watcher(), trainer_of(tmp_path, steps)
        data = data_of(folder, batch_size=4, captions=options, trigger="sty")
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
        return [caption for batch in model.trained for caption in batch["caption"]], trainer

    straight, _ = run(12)
    _, stopped = run(5)
    stopped.save_checkpoint(tmp_path / "a.ckpt")
    rest, _ = run(12, str(tmp_path / "a.ckpt"))
    assert rest == straight[20:]
    assert all(re.match(r"sty, pre [ae]\d+", caption) for caption in straight)
    assert len(set(straight)) > 30  # of 48, where 13 pictures with one fixed caption each would give 13


def test_a_checkpoint_is_plain_and_counts_draws_that_were_trained(folder: Path, tmp_path: Path) -> None:
    data = data_of(folder, batch_size=3, num_workers=2)
    trainer = trainer_of(tmp_path, 4, accumulate_grad_batches=2)
    trainer.fit(Watcher(), datamodule=data)
    assert data.position == 4 * 2 * 3
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["CaptionImages"]
    assert state == {"position": 24, "step": 4}


def test_another_accumulation_or_batch_size_goes_on_from_the_same_draw(folder: Path, tmp_path: Path) -> None:
    first = trainer_of(tmp_path, 3, accumulate_grad_batches=2)
    first.fit(Watcher(), datamodule=data_of(folder, batch_size=3))
    first.save_checkpoint(tmp_path / "a.ckpt")  # 18 draws in 3 steps
    second = trainer_of(tmp_path, 5)
    model = Watcher()
    data = data_of(folder, batch_size=4)
    second.fit(model, datamodule=data, ckpt_path=str(tmp_path / "a.ckpt"))
    assert model.draws() == list(range(18, 26))
    assert data.position == 26
    second.save_checkpoint(tmp_path / "b.ckpt")
    third = Watcher()
    trainer_of(tmp_path, 6).fit(third, datamodule=data_of(folder), ckpt_path=str(tmp_path / "b.ckpt"))
    assert third.draws() == [26]


def test_two_processes_see_what_one_sees(folder: Path) -> None:
    class Two(CaptionImages):
        number = 0

        def _rank(self) -> tuple[int, int]:
            return self.number, 2

    parts = []
    for number in (0, 1):
        data = Two(str(folder), resolution=16, num_workers=0, batch_size=2)
        data.number = number
        parts.append(first_batches(data, 5))
        assert data.draws_per_step == 4
    for whole, one, two in zip(first_batches(data_of(folder, batch_size=4), 5), *parts, strict=True):
        assert torch.equal(whole["image"], torch.cat([one["image"], two["image"]]))
        assert whole["draw"].tolist() == one["draw"].tolist() + two["draw"].tolist()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_with_an_encoder_batches_carry_latents_of_the_same_draws(
    folder: Path, tmp_path: Path, num_workers: int
) -> None:
    def run(encoder: Callable[[Tensor], tuple[Tensor, Tensor]] | None) -> Watcher:
        model = Watcher(encoder)
        data = data_of(folder, batch_size=3, num_workers=num_workers)
        trainer_of(
            tmp_path, 6, num_sanity_val_steps=1, val_check_interval=3, check_val_every_n_epoch=None
        ).fit(model, datamodule=data)
        return model

    pixels, latents = run(None), run(encode)
    assert len(latents.validated) == len(pixels.validated) == 3
    for one, two in zip(pixels.trained + pixels.validated, latents.trained + latents.validated, strict=True):
        mean, std = encode(one["image"])
        assert torch.equal(two["latent_mean"], mean)
        assert torch.equal(two["latent_std"], std)
        assert "image" not in two
        assert one["key"] == two["key"]
        assert torch.equal(one["draw"], two["draw"])


@pytest.mark.parametrize(("flip", "versions"), [(True, 13 + 2 + 13), (False, 13 + 2)])
def test_the_encoder_sees_every_version_once(folder: Path, flip: bool, versions: int) -> None:
    seen: list[Tensor] = []

    def counting(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.extend(images)
        return encode(images)

    data = data_of(folder, batch_size=4, flip=flip)
    data.use_encoder(counting, "stand-in")
    assert len(data.held_out) == 2
    assert len(seen) == versions
    data.use_encoder(counting, "stand-in")
    assert len(seen) == versions


def test_another_encoder_has_latents_of_its_own(folder: Path) -> None:
    data = data_of(folder, batch_size=4)
    data.use_encoder(encode, "stand-in")
    first = data.examples(4)["latent_mean"]
    data.use_encoder(lambda images: tuple(2 * part for part in encode(images)), "another")  # type: ignore[arg-type,return-value]
    assert torch.equal(data.examples(4)["latent_mean"], 2 * first)


def test_examples_are_the_first_draws(folder: Path) -> None:
    data = data_of(folder, batch_size=4, num_workers=2)
    assert same(first_batches(data, 1)[0], data.examples(4))


def test_exposure_by_hand(folder: Path) -> None:
    data = data_of(folder, shares={"portrait": 2, "landscape": 1})
    data.setup()  # 9 portraits and 4 landscapes are left
    assert data.exposure(54) == {"landscape": (18, 4.5), "portrait": (36, 4.0)}
    assert data.describe(54).splitlines() == [
        "group                pictures held out   share    draws  each picture is seen",
        "landscape                   4        1   33.3%       18  4.5 times",
        "portrait                    9        1   66.7%       36  4.0 times",
    ]


def test_the_fingerprint_tells_what_changes_the_draws(folder: Path, tmp_path: Path) -> None:
    def fingerprint(where: Path = folder, **options: Any) -> dict[str, str]:
        data = data_of(where, **options)
        data.setup()
        return data.fingerprint()

    first = fingerprint()
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert fingerprint(moved, batch_size=5, num_workers=2) == first
    changes: dict[str, dict[str, Any]] = {
        "seed": {"seed": 1},
        "flip": {"flip": False},
        "resolution": {"resolution": 24},
        "shares": {"shares": {"portrait": 1, "landscape": 1}},
        "captions": {"captions": CaptionOptions(shuffle_tags=True)},
        "loss weights": {"loss_weights": {"portrait": 0.5}},
    }
    for name, options in changes.items():
        assert {key for key, value in fingerprint(**options).items() if value != first[key]} == {name}
    text = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(re.sub(r"picture \d", "other words", text))
    assert {key for key, value in fingerprint().items() if value != first[key]} == {"pictures", "holdout"}


def test_before_setup_there_is_no_stream(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=re.escape("setup() has to run first")):
        _ = data_of(folder).stream
