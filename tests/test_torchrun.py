"""Two machines by `torchrun`, as in the README: here two launchers that meet over this machine's own network."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.distributed_run import PATIENCE, assert_none_is_left, one_thread, uneven_config
from tests.witness import draws_of

NODES = 2


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def on_each_node(config: Path, *arguments: str) -> list[tuple[int, str]]:
    """Start a command once a node, as a user does; exit status and output of each."""
    address = ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    nodes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--nnodes", str(NODES), "--nproc_per_node", "1", "--node_rank", str(node), *address),
                *("train.py", *arguments),
                *("--trainer.num_nodes", str(NODES), "--trainer.devices", "1", "--trainer.strategy", "ddp"),
            ],
            env=one_thread(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for node in range(NODES)
    ]
    try:
        outputs = [node.communicate(timeout=PATIENCE)[0] for node in nodes]
    finally:
        for node in nodes:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
    assert_none_is_left(config)
    return [(node.returncode, output) for node, output in zip(nodes, outputs, strict=True)]


def test_two_nodes_train_one_run_and_refuse_to_train_it_again(tmp_path: Path, tiny_base: Path) -> None:
    config = uneven_config(tmp_path, tiny_base)
    command = ("fit", "--config", str(config), "--runs", str(tmp_path / "runs"))
    few = ("--trainer.max_steps", "4", "--trainer.callbacks+=tests.witness.Witness")
    found = on_each_node(config, *command, *few)
    assert [status for status, _ in found] == [0, 0], found
    assert ["Done: 4 steps" in output for _, output in found] == [True, False]
    run = tmp_path / "runs" / "small"
    assert draws_of(run) == {step: list(range(4 * step - 4, 4 * step)) for step in range(1, 5)}
    assert {path.name for path in (run / "samples").iterdir()} == {"step_000000.png", "step_000004.png"}
    again = on_each_node(config, *command, *few)
    assert all(status != 0 and "holds a run already" in output for status, output in again), again
