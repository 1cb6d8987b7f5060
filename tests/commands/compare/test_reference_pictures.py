"""The pictures behind an adapter: training and hold-out of its run, or a hold-out of the user's."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands.compare.reference_pictures import reference_pictures
from tests.small_run import picture_folder


def settings(folder: Path, **changes: object) -> dict[str, object]:
    return {"folder": str(folder), "resolution": 64, "cache_folder": None, "seed": 3, **changes}


def test_a_run_is_divided_as_it_was_in_training(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "a")
    found = reference_pictures(settings(folder, holdout_fraction=0.5), None, 512)
    assert len(found.training) + len(found.held_out) == 12
    assert {record.key for record in found.training}.isdisjoint(record.key for record in found.held_out)
    assert found.reasons == ()
    assert (found.resolution, found.buckets) == (64, False)


def test_captions_are_as_training_had_them(tmp_path: Path) -> None:
    captions = {"prefix": "painted:", "suffix": "", "shuffle_tags": False, "keep_tags": 0, "tag_dropout": 0.0}
    found = reference_pictures(
        settings(picture_folder(tmp_path / "a"), captions=captions, trigger="sks"), None, 512
    )
    assert all("painted:" in record.caption and "sks" in record.caption for record in found.training)


def test_pictures_are_cropped_as_training_crops_them(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "a", sizes=[(128, 64)])
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 32:96] = 200  # the middle is kept
    Image.fromarray(picture).save(folder / "00.png")
    found = reference_pictures(settings(folder, holdout_fraction=0.0), None, 512)
    images = dict(zip((r.path.name for r in found.training), found.images(found.training), strict=True))
    assert images["00.png"].size == (64, 64)
    assert np.asarray(images["00.png"])[:, 4:-4].min() == 200


def test_without_a_run_there_is_only_what_is_given(tmp_path: Path) -> None:
    nothing = reference_pictures(None, None, 64)
    assert (nothing.training, nothing.held_out) == ((), ())
    assert nothing.reasons[0].startswith("The adapter's run isn't known")
    assert nothing.reasons[1].endswith("train with data.holdout_fraction, or give --held_out FOLDER.")
    given = reference_pictures(None, str(picture_folder(tmp_path / "h")), 64)
    assert (len(given.training), len(given.held_out), given.resolution) == (0, 12, 64)
    assert len(given.reasons) == 1


def test_a_run_whose_pictures_are_gone_is_still_evaluated(tmp_path: Path) -> None:
    found = reference_pictures(settings(tmp_path / "gone"), str(picture_folder(tmp_path / "h")), 64)
    assert found.reasons[0].startswith("The run's pictures can't be read, so memorisation is left out:")
    assert len(found.held_out) == 12


def test_a_hold_out_that_was_trained_on_is_refused(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "a")
    other = picture_folder(tmp_path / "b", size=80)
    (other / "00.png").write_bytes((folder / "05.png").read_bytes())
    run = settings(folder, holdout_fraction=0.0)
    with pytest.raises(
        ValueError, match=r"--held_out holds 1 pictures that the LoRA was trained on, e\.g\. .*00\.png"
    ):
        reference_pictures(run, str(other), 64)


def test_a_run_saved_with_all_its_options_is_read(tmp_path: Path) -> None:
    """As config.yaml has them: the caption options as a mapping, nulls and all."""
    saved = json.loads(json.dumps(settings(picture_folder(tmp_path / "a"), shares=None, holdout_folder=None)))
    assert reference_pictures(saved, None, 64).training
