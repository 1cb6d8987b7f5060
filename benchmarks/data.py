"""How long a folder of 150, 1,000 and 10,000 pictures takes to audit, to start on, and to draw from.

`python -m benchmarks.data` paints folders of small pictures and measures, each in a process of its own:

- the first audit and the second, which finds everything remembered, both without the page, for whose thumbnails
  pictures are decoded each time;
- the first start of a run (scan, hold-out, stream) without an audit before, and the second;
- pictures a second of the training loader at 512x512, decoded from their files and as cached latents.

It prints seconds, milliseconds a picture and peak memory. The last column shows how the cost grows: by how much a
picture of the largest folder costs more than one of the smallest. 1.0 is linear, and below 1 is what starting up
costs. The encoder is a stand-in (average pooling to the shape of Stable Diffusion's latents, [4, 64, 64]), so that
the loader is measured and no model.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from commands.audit.audit import AuditOptions, run_audit
from datamodules.picture_folder import PictureFolder
from foundation.given_paths import folder_to_fill

if TYPE_CHECKING:
    from datamodules.caption_images import CaptionImages  # loads Lightning: only where it is measured

SIDE = 512
DRAWS = 400  # of the loader, measured after the first batch
BATCH = 8
SEED = 0
ENCODER = "average pooling"  # the fingerprint of the stand-in


@dataclass(frozen=True)
class Cost:
    """What one measure took.

    Attributes:
        seconds: of wall clock.
        pieces: pictures or draws that it went over.
        memory: peak of its process, MiB; imports alone are some hundred.
    """

    seconds: float
    pieces: int
    memory: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {1000 * self.each:.2f} ms each, {self.memory:.0f} MiB"

    @property
    def each(self) -> float:
        """Seconds a picture or draw."""
        return self.seconds / self.pieces


def paint_folder(folder: Path, records: int) -> None:
    """Soft blots of colour as JPEG, 576x512 and 512x640: two of three are portraits, no two alike."""
    folder.mkdir(parents=True)
    rows = []
    for number in tqdm(range(records), f"Painting {records} pictures", leave=False):
        dice = np.random.default_rng((SEED, number))
        group, size = ("landscape", (576, 512)) if number % 3 == 0 else ("portrait", (512, 640))
        blots = Image.fromarray(dice.integers(0, 256, (12, 12, 3), np.uint8))
        blots.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")
        rows.append({"file_name": f"{number:05}.jpg", "text": f"{group} {number}, blots", "group": group})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """Stand-in for the autoencoder: [B, 3, 512, 512] -> mean and std [B, 4, 64, 64]."""
    small = avg_pool2d(images, 8)
    mean = torch.cat([small, small.mean(1, keepdim=True)], 1)
    return mean, mean.abs()


def data_options(folder: Path, cache: Path) -> dict[str, Any]:
    """Options of a run: two portraits a landscape, no flips (they would double what is encoded)."""
    return {
        "folder": str(folder),
        "resolution": SIDE,
        "batch_size": BATCH,
        "num_workers": 0,
        "shares": {"portrait": 2, "landscape": 1},
        "flip": False,
        "cache_folder": str(cache),
    }


def audit(folder: Path, cache: Path) -> Cost:
    """`python train.py audit` without a tokenizer, and without the writing of the page."""
    data = PictureFolder(**data_options(folder, cache))
    return timed(lambda: len(run_audit(AuditOptions(data)).records))


def start(folder: Path, cache: Path) -> Cost:
    """Everything that a run does with the folder before the model loads."""
    data = PictureFolder(**data_options(folder, cache))

    def set_up() -> int:
        data.setup()
        return len(data.training) + len(data.held_out)

    return timed(set_up)


def caption_images(folder: Path, cache: Path) -> "CaptionImages":
    """The DataModule, with the folder scanned."""
    from datamodules.caption_images import CaptionImages

    data = CaptionImages(**data_options(folder, cache))
    data.setup()
    return data


def draw_from_disk(folder: Path, cache: Path) -> Cost:
    """Training batches, each picture decoded, cropped and scaled."""
    return draw(caption_images(folder, cache))


def draw_from_cache(folder: Path, cache: Path) -> Cost:
    """Training batches of latents."""
    data = caption_images(folder, cache)
    data.use_encoder(encode, ENCODER)  # finds all of them in the cache folder
    return draw(data)


def fill_cache(folder: Path, cache: Path) -> Cost:
    """Every picture through the stand-in encoder."""
    data = caption_images(folder, cache)

    def fill() -> int:
        data.use_encoder(encode, ENCODER)
        return len(data.training) + len(data.held_out)

    return timed(fill)


def draw(data: "CaptionImages") -> Cost:
    """A training loader's batches, in this process."""
    batches = iter(data.train_dataloader())
    next(batches)
    return timed(lambda: sum(len(batch["caption"]) for batch in islice(batches, DRAWS // BATCH)))


def timed(work: Callable[[], int]) -> Cost:
    """Run `work`, which returns over how many pieces it went."""
    begun = time.perf_counter()
    pieces = work()
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on a Mac
    return Cost(seconds, pieces, peak / (2**20 if sys.platform == "darwin" else 2**10))


Measure = Callable[[Path, Path], Cost]

MEASURES: dict[str, tuple[Measure, str]] = {
    "first audit": (audit, "audit"),
    "second audit": (audit, "audit"),
    "first start, not audited": (start, "start"),
    "second start": (start, "start"),
    f"{DRAWS} draws at {SIDE}, from files": (draw_from_disk, "start"),
    "encoding all (stand-in encoder)": (fill_cache, "start"),
    f"{DRAWS} draws at {SIDE}, from the cache": (draw_from_cache, "start"),
}
"""Name -> measure and the cache folder it works on, in the order in which they fill it."""


def measure_folder(scratch: Path, records: int) -> dict[str, Cost]:
    """All measures of one size, each in a fresh process, so that memory and imports aren't shared."""
    folder = scratch / str(records)
    paint_folder(folder / "pictures", records)
    costs = {}
    for name, (measure, cache) in MEASURES.items():
        # a multiprocessing.Pool would kill its process, and the semaphores of its progress bar would be left over
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            costs[name] = pool.submit(measure, folder / "pictures", folder / cache).result()
        print(f"{records} pictures, {name}: {costs[name]}", flush=True)
    return costs


def table(costs: dict[int, dict[str, Cost]]) -> str:
    """All sizes side by side, as Markdown."""
    sizes = sorted(costs)
    lines = [
        f"| {' | '.join(['', *(f'{size:,} pictures' for size in sizes), 'growth'])} |",
        f"| {' | '.join(['---'] * (len(sizes) + 2))} |",
    ]
    for name in costs[sizes[0]]:
        row = [costs[size][name] for size in sizes]
        growth = f"{row[-1].each / row[0].each:.1f}"
        lines.append(f"| {' | '.join([name, *(str(cost) for cost in row), growth])} |")
    for name in (name for name in costs[sizes[0]] if " draws " in name):
        speeds = [f"{1 / costs[size][name].each:.0f} a second" for size in sizes]
        lines.append(f"| {' | '.join([name, *speeds, ''])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, nargs="+", default=[150, 1000, 10_000])
    parser.add_argument(
        "--scratch", type=folder_to_fill, help="where to paint; 10,000 take 0.3 GB (default: temporary)"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as temporary:
        measured = {size: measure_folder(Path(temporary), size) for size in given.records}
    print(f"\n{table(measured)}")
