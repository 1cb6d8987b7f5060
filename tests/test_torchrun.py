"""Two machines by `torchrun`, as in the README: here two launchers that meet over this machine's own network."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from callbacks.ckpt_path import newest
from tests.distributed_run import PATIENCE, assert_none_is_left, uneven_config
from tests.small_run import picture_folder, small_config
from tests.witness import draws_of

pytestmark = pytest.mark.processes

NODES = 2


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start_on_each_node(*arguments: str) -> list[subprocess.Popen[str]]:
    """Start a command once a node, as a user does."""
    address = ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--nnodes", str(NODES), "--nproc_per_node", "1", "--node_rank", str(node), *address),
                *("train.py", *arguments),
                *("--trainer.num_nodes", str(NODES), "--trainer.devices", "1", "--trainer.strategy", "ddp"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for node in range(NODES)
    ]


def ended(nodes: list[subprocess.Popen[str]], config: Path) -> list[tuple[int, str]]:
    """Exit status and output of each node, once all have ended and left no process."""
    try:
        outputs = [node.communicate(timeout=PATIENCE)[0] for node in nodes]
    finally:
        for node in nodes:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
    assert_none_is_left(config)
    return [(node.returncode, output) for node, output in zip(nodes, outputs, strict=True)]


def test_two_nodes_train_one_run_and_refuse_to_train_it_again(tmp_path: Path, tiny_base: Path) -> None:
    """One held-out picture and one prompt: the second node has none of either."""
    config = small_config(tmp_path, tiny_base, picture_folder(tmp_path / "pictures"))
    command = ("fit", "--config", str(config), "--runs", str(tmp_path / "runs"))
    few = ("--trainer.max_steps", "4", "--trainer.callbacks+=tests.witness.Witness")
    found = ended(start_on_each_node(*command, *few), config)
    assert [status for status, _ in found] == [0, 0], found
    assert ["Done: 4 steps" in output for _, output in found] == [True, False]
    run = tmp_path / "runs" / "small"
    assert draws_of(run) == {step: list(range(4 * step - 4, 4 * step)) for step in range(1, 5)}
    assert {path.name for path in (run / "samples").glob("*.png")} == {"step_000000.png", "step_000004.png"}
    assert (run / "checkpoints" / "best.ckpt").is_file()
    again = ended(start_on_each_node(*command, *few), config)
    assert all(status != 0 and "holds a run already" in output for status, output in again), again


@pytest.mark.slow
def test_a_node_whose_launcher_is_killed_ends_the_run_on_both(tmp_path: Path, tiny_base: Path) -> None:
    config = uneven_config(tmp_path, tiny_base)
    nodes = start_on_each_node(
        "fit", "--config", str(config), "--runs", str(tmp_path / "runs"), "--trainer.max_steps", "100000"
    )
    deadline = time.monotonic() + PATIENCE
    while newest(tmp_path / "runs" / "small" / "checkpoints") is None and time.monotonic() < deadline:
        assert all(node.poll() is None for node in nodes)
        time.sleep(0.1)
    nodes[1].kill()
    (first, said), _ = ended(nodes, config)
    assert first != 0
    assert "Process 0: another process of this run has ended" in said
