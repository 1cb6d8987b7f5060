"""What an exported LoRA says of the pictures that it was trained on: how many, of which sizes, with which tags.

The names and forms are those of kohya-ss/sd-scripts (`train_network.py`), as A1111 reads them: JSON objects by
folder, which are the groups here. A1111 shows the tags and makes random prompts from them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from datamodules.folder.records import Record
from datamodules.pictures.geometry import training_size
from evaluation.prompts import as_characters

MOST_TAGS = 300
"""Tags of a group that are kept, the commonest: a sentence counts as a tag, and headers are read whole."""


def dataset_facts(
    training: Iterable[Record], *, resolution: int, buckets: bool, trigger: str
) -> dict[str, str]:
    """The data set in strings for a file's header.

    Args:
        training: the pictures trained on.
        resolution: side of the square, in pixels.
        buckets: whether pictures keep their shape.
        trigger: the word put before each caption, or nothing.
    """
    groups: dict[str, list[Record]] = {}
    for record in training:
        groups.setdefault(record.group, []).append(record)
    pictures = [record for records in groups.values() for record in records]
    facts = {
        "ss_num_train_images": str(len(pictures)),
        "ss_dataset_dirs": json.dumps(
            {name: {"n_repeats": 1, "img_count": len(records)} for name, records in groups.items()}
        ),
        "ss_tag_frequency": json.dumps({name: _commonest_tags(records) for name, records in groups.items()}),
        "ss_resolution": f"({resolution}, {resolution})",
        "ss_enable_bucket": str(buckets),
        "ss_bucket_info": json.dumps({"buckets": _buckets(pictures, resolution, buckets)}),
        "modelspec.resolution": f"{resolution}x{resolution}",
    }
    if trigger:
        facts |= {
            "modelspec.trigger_phrase": trigger,
            "modelspec.usage_hint": f"Use {as_characters(trigger)} in the prompt.",
        }
    return facts


def tag_counts(captions: Iterable[str]) -> Counter[str]:
    """How many captions hold each tag (between commas, in small letters), in the order in which they come first."""
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(dict.fromkeys(tag.strip().lower() for tag in caption.split(",") if tag.strip()).keys())
    return counts


def _commonest_tags(records: Iterable[Record]) -> dict[str, int]:
    counts = tag_counts(caption for record in records for caption in record.captions)
    return dict(counts.most_common(MOST_TAGS))


def _buckets(pictures: Iterable[Record], resolution: int, buckets: bool) -> Mapping[str, object]:
    """Pictures by the size that they are trained in, width first."""
    sizes = Counter(training_size(p.width, p.height, resolution, buckets) for p in pictures)
    return {
        str(number): {"resolution": list(size), "count": count}
        for number, (size, count) in enumerate(sorted(sizes.items()))
    }
