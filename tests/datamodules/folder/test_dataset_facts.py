"""What headers say of the pictures, in the forms that A1111 takes apart."""

import json
from pathlib import Path

from datamodules.folder.dataset_facts import MOST_TAGS, dataset_facts
from datamodules.folder.records import Record


def record(caption: str, group: str, width: int = 512, height: int = 512, **more: tuple[str, ...]) -> Record:
    return Record(Path(f"{caption[:5]}.png"), caption, group, "key", width, height, **more)  # type: ignore[arg-type]


RECORDS = [
    record("Girl, blue sky", "portrait"),
    record("girl , red hair,", "portrait", other_captions=("a girl with red hair",)),
    record("hills", "landscape", 1024, 512),
]


def test_tags_are_counted_by_group() -> None:
    facts = dataset_facts(RECORDS, resolution=512, buckets=False, trigger="")
    assert json.loads(facts["ss_tag_frequency"]) == {
        "portrait": {"girl": 2, "blue sky": 1, "red hair": 1, "a girl with red hair": 1},
        "landscape": {"hills": 1},
    }
    assert next(iter(json.loads(facts["ss_tag_frequency"])["portrait"])) == "girl"
    assert json.loads(facts["ss_dataset_dirs"]) == {
        "portrait": {"n_repeats": 1, "img_count": 2},
        "landscape": {"n_repeats": 1, "img_count": 1},
    }
    assert facts["ss_num_train_images"] == "3"
    assert (facts["ss_resolution"], facts["modelspec.resolution"]) == ("(512, 512)", "512x512")
    assert "modelspec.trigger_phrase" not in facts


def test_sizes_are_those_that_are_trained() -> None:
    def buckets(on: bool) -> dict[str, object]:
        facts = dataset_facts(RECORDS, resolution=512, buckets=on, trigger="")
        found: dict[str, object] = json.loads(facts["ss_bucket_info"])["buckets"]
        return found

    assert buckets(False) == {"0": {"resolution": [512, 512], "count": 3}}
    assert buckets(True) == {
        "0": {"resolution": [512, 512], "count": 2},
        "1": {"resolution": [704, 384], "count": 1},
    }


def test_the_trigger_is_said() -> None:
    facts = dataset_facts(RECORDS, resolution=512, buckets=False, trigger="ghibli_style")
    assert facts["modelspec.trigger_phrase"] == "ghibli_style"
    assert "ghibli_style" in facts["modelspec.usage_hint"]
    facts = dataset_facts(RECORDS, resolution=512, buckets=False, trigger="saber (fate)")
    assert facts["modelspec.trigger_phrase"] == "saber (fate)"
    assert facts["modelspec.usage_hint"] == r"Use saber \(fate\) in the prompt."


def test_the_commonest_tags_are_kept() -> None:
    many = [record(f"girl, {number}", "portrait") for number in range(2 * MOST_TAGS)]
    facts = dataset_facts(many, resolution=512, buckets=False, trigger="")
    counts = json.loads(facts["ss_tag_frequency"])["portrait"]
    assert len(counts) == MOST_TAGS
    assert counts["girl"] == 2 * MOST_TAGS
