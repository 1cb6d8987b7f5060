"""Which pictures are painted: none twice, none that is there, each under a name of its own."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from datamodules.painting import picture_list
from datamodules.painting.picture_list import batched, is_whole
from datamodules.painting.prompt_entries import PictureJob
from datamodules.painting.prompt_list import PromptList


@pytest.fixture
def prompts(tmp_path: Path) -> PromptList:
    """Seven prompts with a seed each."""
    (tmp_path / "p.jsonl").write_text("".join(f'{{"prompt": "hills {i}", "seed": {i}}}\n' for i in range(7)))
    return PromptList(prompts=str(tmp_path / "p.jsonl"), output=str(tmp_path / "out"), batch_size=2)


def paint(prompts: PromptList, job: PictureJob) -> Path:
    """Put a picture where this one belongs."""
    path = prompts.path(job)
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), (10, 20, 30)).save(path)
    return path


def deal(prompts: PromptList, world_size: int, monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """The seeds of each process's batches; the processes after the first find what it paints there already."""
    told: list[object] = []

    def of_all_processes(own: object) -> list[object]:
        told.append(own)
        return told

    monkeypatch.setattr(picture_list, "of_all_processes", of_all_processes)
    found = []
    for rank in range(world_size):
        prompts.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)  # type: ignore[assignment]
        batches = list(prompts.predict_dataloader())
        assert prompts.dealt == [batch["jobs"] for batch in batches]
        found.append([[job.seed for job in batch["jobs"]] for batch in batches])
        for job in (job for batch in batches for job in batch["jobs"]):
            paint(prompts, job)
    return found


def test_what_is_left_is_dealt_once_and_evenly(prompts: PromptList, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in (
        prompts.jobs[0],
        prompts.jobs[1],
        prompts.jobs[4],
    ):  # all of the first batch, half of the third
        paint(prompts, job)
    assert deal(prompts, 2, monkeypatch) == [[[2, 3], [6]], [[5]]]
    assert deal(prompts, 2, monkeypatch) == [[], []]


def test_whole_files_are_skipped_and_broken_ones_painted_again(prompts: PromptList) -> None:
    whole, broken = paint(prompts, prompts.jobs[0]), paint(prompts, prompts.jobs[1])
    broken.write_bytes(broken.read_bytes()[:-30])
    (prompts.path(prompts.jobs[2])).write_bytes(b"")
    assert is_whole(whole)
    assert [[job.seed for job in jobs] for jobs in prompts.waiting()] == [[1], [2, 3], [4, 5], [6]]


def test_a_loader_gives_the_waiting_pictures_with_their_places(prompts: PromptList) -> None:
    paint(prompts, prompts.jobs[3])
    batches = list(prompts.predict_dataloader())
    assert [[job.seed for job in batch["jobs"]] for batch in batches] == [[0, 1], [2], [4, 5], [6]]
    assert all(batch["path"] == [prompts.path(job) for job in batch["jobs"]] for batch in batches)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_batch_is_the_same_whatever_the_number_of_processes(
    prompts: PromptList, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt = [batch for batches in deal(prompts, world_size, monkeypatch) for batch in batches]
    assert sorted(dealt) == [[0, 1], [2, 3], [4, 5], [6]]


def test_a_batch_shares_its_settings() -> None:
    jobs = [PictureJob(f"p{i}", 64, 64, steps=5 + i % 2, lora_scale=i // 4) for i in range(6)]
    assert [[job.prompt for job in jobs] for jobs in batched(jobs, 2)] == [
        ["p0", "p2"],
        ["p1", "p3"],
        ["p4"],
        ["p5"],
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Hills!"},
        {"negative_prompt": "x"},
        {"height": 72},
        {"width": 72},
        {"steps": 4},
        {"guidance_scale": 2.0},
        {"sampler": "euler"},
        {"clip_skip": 1},
        {"lora_scale": 0.5},
        {"seed": 9},
    ],
)
def test_another_picture_has_another_name(prompts: PromptList, change: dict[str, object]) -> None:
    job = PictureJob("hills", 64, 64)
    assert prompts.path(job) != prompts.path(PictureJob(**{**vars(job), **change}))


def test_another_adapter_has_other_names_and_the_rest_of_the_list_does_not_matter(tmp_path: Path) -> None:
    job = PictureJob("(Luffy:1.2), smiling", 64, 64, seed=42)
    one, other = PromptList(prompt="a"), PromptList(prompt="b")
    assert one.path(job) == other.path(job)
    assert one.path(job).name.startswith("luffy-smiling_seed42_")
    other.painted_by = "another base"
    assert one.path(job) != other.path(job)
    other.painted_by, other.adapter = "", "another adapter"
    assert one.path(job) != other.path(job)
    base = PictureJob("hills", 64, 64, lora_scale=0.0)
    assert one.path(base) == other.path(base)


def test_names_survive_long_and_odd_prompts() -> None:
    prompts = PromptList(prompt="a")
    assert len(prompts.path(PictureJob("very " * 200, 64, 64)).name.encode()) < 255
    assert prompts.path(PictureJob("../../<script>", 64, 64)).parent == Path("pictures")
    assert prompts.path(PictureJob("...", 64, 64)).name.startswith("picture_seed0_")


def test_no_prompt_two_sources_and_a_file_for_a_folder_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--output .*test_prompt_list\.py is a file; give the folder"):
        PromptList(output=__file__)
    with pytest.raises(ValueError, match="nothing to paint: give --prompt"):
        _ = PromptList().jobs
    with pytest.raises(ValueError, match="--prompt and --prompts are both given"):
        _ = PromptList(prompt="a", prompts="b.txt").jobs
