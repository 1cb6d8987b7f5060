"""What is put comes back bit for bit, whoever else writes and whatever dies half-way."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from foundation import tensor_store
from foundation.tensor_store import Entry, TensorStore

ROOT = Path(__file__).parents[2]


def entry(number: int) -> Entry:
    """Entry i: a is 4 numbers from i on, b is i in bfloat16."""
    return {"a": torch.arange(4.0) + number, "b": torch.full((2, 1), number, dtype=torch.bfloat16)}


def same(found: Entry | None, number: int) -> bool:
    expected = entry(number)
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(
            torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype
            for name in expected
        )
    )


def fill(folder: Path | None, numbers: range, **options: Any) -> TensorStore:
    store = TensorStore(folder, **options)
    for number in numbers:
        store.put(f"k{number}", entry(number))
    store.flush()
    return store


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize("memory", [0, 10**6])
def test_what_was_put_is_there_in_the_next_run(tmp_path: Path, memory: int) -> None:
    fill(tmp_path / "new" / "cache", range(3))
    store = TensorStore(tmp_path / "new" / "cache", memory=memory)
    assert len(store) == 3
    assert "k2" in store
    assert store.load(["k0", "k2", "k7"]) == {"k0", "k2"}
    assert same(store.get("k1"), 1)
    assert same(store.get("k2"), 2)
    assert store.get("k7") is None


def test_without_a_folder_everything_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = fill(None, range(3), memory=0)
    assert same(store.get("k1"), 1)
    assert store.load(["k1", "k9"]) == {"k1"}
    assert list(tmp_path.iterdir()) == []


def test_an_entry_is_a_copy_of_what_was_put() -> None:
    store = TensorStore(None)
    values = torch.zeros(2)
    store.put("k", {"a": values})
    values += 1
    assert torch.equal(store.get("k")["a"], torch.zeros(2))  # type: ignore[index]


def test_a_full_shard_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry has 4 x 4 + 2 x 2 = 20 bytes: with shards of 40 every second one fills a shard."""
    monkeypatch.setattr(tensor_store, "SHARD_BYTES", 40)
    store = TensorStore(tmp_path)
    for number, expected in enumerate([0, 1, 1, 2, 2]):
        store.put(f"k{number}", entry(number))
        assert len(shards(tmp_path)) == expected
    assert len(TensorStore(tmp_path)) == 4


def test_after_a_minute_a_shard_is_written_however_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 59.0, 61.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    store = TensorStore(tmp_path)
    store.put("k0", entry(0))
    store.put("k1", entry(1))
    assert shards(tmp_path) == []
    store.put("k2", entry(2))
    assert len(shards(tmp_path)) == 1


def test_memory_is_filled_up_to_its_limit_and_the_rest_read_when_asked(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    store = TensorStore(tmp_path, memory=45)  # 2 entries of 20 bytes
    assert store.load(["k0", "k1", "k2"]) == {"k0", "k1", "k2"}
    shards(tmp_path)[0].unlink()
    assert same(store.get("k0"), 0)
    assert same(store.get("k1"), 1)
    with pytest.raises(OSError, match=r"was deleted or damaged while this run used it.*--ckpt_path last"):
        store.get("k2")


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    one, two = TensorStore(tmp_path), TensorStore(tmp_path)
    for number in range(4):
        (one if number < 3 else two).put(f"k{number}", entry(number))
    two.put("k0", entry(0))
    one.flush()
    two.flush()
    assert len(shards(tmp_path)) == 2
    assert one.get("k3") is None
    one.refresh()
    assert same(one.get("k3"), 3)
    assert TensorStore(tmp_path).load([f"k{n}" for n in range(4)]) == {"k0", "k1", "k2", "k3"}


@pytest.mark.parametrize("memory", [0, 10**6])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "is damaged"),
        (lambda data: b"", "is damaged"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "its bytes are not what was written"),
    ],
    ids=["cut short", "empty", "one bit"],
)
def test_a_damaged_shard_is_dropped_with_a_warning_and_the_others_stay(
    tmp_path: Path, damage: object, reason: str, memory: int, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(3))
    whole = shards(tmp_path)[0]
    fill(tmp_path, range(3, 5))
    (broken,) = set(shards(tmp_path)) - {whole}
    broken.write_bytes(damage(broken.read_bytes()))  # type: ignore[operator]
    store = TensorStore(tmp_path, memory=memory)
    there = store.load(f"k{n}" for n in range(5))
    assert there - {"k3"} == {"k0", "k1", "k2"}  # k3 may have been sound, and held in memory
    assert f"{broken} is damaged" in caplog.text
    assert reason in caplog.text
    assert shards(tmp_path) == [whole]
    store.put("k4", entry(4))
    store.flush()
    assert TensorStore(tmp_path).load(["k2", "k4", "k3"]) == {"k2", "k4"}


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), PermissionError("denied")])
def test_a_shard_that_cannot_be_read_is_kept_and_its_entries_count_as_absent(
    tmp_path: Path, error: OSError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(2))
    store, failing = TensorStore(tmp_path), TensorStore(tmp_path, memory=0)

    def refuse(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(tensor_store, "safe_open", refuse)
    (shard,) = shards(tmp_path)
    assert store.load(["k0", "k1"]) == set()
    assert f"{shard} can't be read ({error}): what it held is encoded anew." in caplog.text
    assert "k0" not in store
    assert shard.exists()
    with pytest.raises(OSError, match="deleted or damaged while this run used it, or can't be read"):
        failing.get("k0")


def test_files_of_others_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "my_lora.safetensors").write_bytes(b"mine")
    assert len(TensorStore(tmp_path)) == 0
    assert (tmp_path / "my_lora.safetensors").read_bytes() == b"mine"
    assert caplog.text == ""


def test_a_shard_of_an_unknown_kind_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file({"k0/a": torch.zeros(2)}, tmp_path / "shard-0.safetensors", {"k0": ""})
    assert TensorStore(tmp_path).load(["k0"]) == set()
    assert "shard-0.safetensors is damaged" in caplog.text


def header_of(length: int, text: bytes = b"{}") -> bytes:
    """The start of a safetensors file."""
    return length.to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        header_of(2**63),
        header_of(10**9, b"{}" * 1000),
        header_of(3, b"{{{"),
        header_of(2, b"[]"),
        header_of(6, b'{"a":1') + bytes(100),
        header_of(76, b'{"k0/a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}')
        + bytes(8),
        header_of(60, b'{"k0/a":{"dtype":"X99","shape":[2],"data_offsets":[0,8]}}   ') + bytes(8),
        b"\x80\x02cos\nsystem\n(S'mkdir ran'\ntR.",
    ],
    ids=["length", "cut header", "no JSON", "a list", "no tensor", "overflow", "dtype", "pickle"],
)
def test_a_malicious_shard_is_dropped(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(1))
    (tmp_path / "shard-0.safetensors").write_bytes(content)
    store = TensorStore(tmp_path)
    assert store.load(["k0", "k1"]) == {"k0"}
    assert "shard-0.safetensors is damaged" in caplog.text
    assert not (tmp_path / "shard-0.safetensors").exists()


def test_a_shard_that_was_exchanged_after_the_first_look_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(1))
    store = TensorStore(tmp_path, memory=0)
    (shard,) = shards(tmp_path)
    save_file({"x/a": torch.zeros(2)}, shard)
    assert store.load(["k0"]) == set()
    assert f"{shard} is damaged" in caplog.text


def test_an_entry_of_another_kind_is_dropped_though_its_checksum_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(2))

    def has_b(entry: Entry) -> bool:
        return "b" in entry and entry["b"].dim() == 7

    assert TensorStore(tmp_path, has_b).load(["k0", "k1"]) == set()
    assert "it holds what is no entry of this cache" in caplog.text


def test_a_link_that_leads_out_is_taken_away_and_what_it_leads_to_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "shard-0.safetensors").symlink_to(secret)
    store = TensorStore(cache)
    assert store.load(["k0"]) == set()
    assert not (cache / "shard-0.safetensors").is_symlink()
    assert secret.read_text() == "mine"
    store.put("k0", entry(0))
    store.flush()
    assert secret.read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_said_once_and_memory_takes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    store = fill(tmp_path / "file" / "cache", range(3), memory=0)
    store.put("k3", entry(3))
    store.flush()
    assert all(same(store.get(f"k{n}"), n) for n in range(4))
    assert caplog.text.count("can't be written to") == 1
    assert "data.cache_folder" in caplog.text


def test_partial_files_of_the_dead_are_removed_and_those_of_the_living_not(tmp_path: Path) -> None:
    dead, living = tmp_path / ".shard-1.elsewhere-1.part", tmp_path / ".shard-2.elsewhere-1.part"
    dead.write_bytes(b"1")
    living.write_bytes(b"2")
    os.utime(dead, (time.time() - 7200,) * 2)
    TensorStore(tmp_path)
    assert not dead.exists()
    assert living.exists()


def test_an_error_in_the_middle_keeps_what_was_worked_out(tmp_path: Path) -> None:
    def failing(keys: object) -> object:
        yield "k0", entry(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TensorStore(tmp_path).fill(["k0", "k1"], failing)  # type: ignore[arg-type]
    assert TensorStore(tmp_path).load(["k0", "k1"]) == {"k0"}


def test_several_processes_share_the_work_and_each_has_everything(tmp_path: Path) -> None:
    """Two processes in lockstep: each barrier of the first lets the second do its part."""
    worked: dict[int, list[str]] = {0: [], 1: []}
    stores = [TensorStore(tmp_path), TensorStore(tmp_path)]
    keys = [f"k{n}" for n in range(5)]
    stores[0].put("k3", entry(3))
    stores[0].flush()
    stores[1].refresh()

    def encode(rank: int) -> object:
        def entries(wanted: list[str]) -> object:
            for key in wanted:
                worked[rank].append(key)
                yield key, entry(int(key[1:]))

        return entries

    def second_process() -> None:
        if barriers.pop() == "both have worked":
            missing = stores[1]._missing(keys)
            stores[1]._put_all(encode(1)(missing[1::2]))  # type: ignore[operator]

    barriers = ["both have worked", "both have looked"]
    stores[0].fill(keys, encode(0), rank=0, world_size=2, barrier=second_process)  # type: ignore[arg-type]
    assert worked == {0: ["k0", "k2"], 1: ["k1", "k4"]}
    assert stores[0].load(keys) == set(keys)


def test_processes_that_share_no_folder_work_out_everything(tmp_path: Path) -> None:
    worked: list[str] = []

    def entries(wanted: list[str]) -> object:
        for key in wanted:
            worked.append(key)
            yield key, entry(int(key[1:]))

    store = TensorStore(tmp_path)
    store.fill(["k0", "k1", "k2"], entries, rank=0, world_size=2)  # type: ignore[arg-type]
    assert worked == ["k0", "k2", "k1"]
    assert store.load(["k0", "k1", "k2"]) == {"k0", "k1", "k2"}


WRITER = """
import sys, torch
from foundation import tensor_store
from pathlib import Path
from typing import Any
tensor_store.SHARD_BYTES = 400_000
store = tensor_store.TensorStore(Path(sys.argv[1]))
number = 0
while True:
    store.put(f"k{number}", {"a": torch.full((10_000,), float(number))})
    print(number, flush=True)
    number += 1
"""


def test_a_killed_writer_loses_at_most_one_shard(tmp_path: Path) -> None:
    """10,000 float32 an entry: a shard holds 10."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 57:
        pass
    process.send_signal(signal.SIGKILL)
    put = 57 + len(process.stdout.read().split())
    process.wait()
    store = TensorStore(tmp_path)
    assert put - 10 <= len(store) <= put + 11
    there = store.load(f"k{n}" for n in range(len(store)))
    assert len(there) == len(store)
    assert all(store.get(key)["a"].eq(float(key[1:])).all() for key in there)  # type: ignore[index]


def test_entries_in_memory_lie_in_one_piece(tmp_path: Path) -> None:
    """Each with memory of its own, they would leave holes between the pictures that come and go."""
    store = TensorStore(tmp_path)
    originals = {f"{number}": torch.full((3, 5), float(number)) for number in range(4)}
    for key, tensor in originals.items():
        store.put(key, {"mean": tensor, "scalar": tensor[0, 0], "flag": tensor > 1, "none": tensor[:0]})
    originals["2"].zero_()
    found = {key: store.get(key) for key in originals}
    assert [float(entry["mean"].sum()) for entry in found.values() if entry] == [0.0, 15.0, 30.0, 45.0]
    assert [float(entry["scalar"]) for entry in found.values() if entry] == [0.0, 1.0, 2.0, 3.0]
    assert [bool(entry["flag"].all()) for entry in found.values() if entry] == [False, False, True, True]
    assert [entry["none"].shape for entry in found.values() if entry] == [(0, 5)] * 4
    assert len({entry["mean"].untyped_storage().data_ptr() for entry in found.values() if entry}) == 1
    store.flush()
    again = TensorStore(tmp_path).get("3")
    assert again is not None
    assert torch.equal(again["mean"], torch.full((3, 5), 3.0))
