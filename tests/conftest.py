"""What holds for all tests: one thread, steady examples; and tiny base models, made once a process."""

import gc
import os
from pathlib import Path

# One thread, also in processes that tests start: several change the last bits of a sum, and two processes of tests
# would take each other's cores. Before PyTorch is loaded, which reads it once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import pytest
import torch
from hypothesis import settings

from tests.tiny_models import save_tiny_base, save_tiny_sdxl

torch.set_num_threads(1)  # where a plugin had loaded PyTorch before

# No time limits: machines differ. The same examples each time: a failure can be repeated.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of garbage collections: Lightning asks for one after each run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base shaped as Stable Diffusion 2: v-prediction, linear projections. Read only."""
    return save_tiny_base(tmp_path_factory.mktemp("bases") / "tiny_sd2")


@pytest.fixture
def base(request: pytest.FixtureRequest) -> Path:
    """The base of a test that is run on several (see `on_each_family`), else `tiny_base`. Read only."""
    path: Path = request.getfixturevalue(getattr(request, "param", "tiny_base"))
    return path


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base shaped as Stable Diffusion XL: epsilon, two text encoders. Read only."""
    return save_tiny_sdxl(tmp_path_factory.mktemp("bases") / "tiny_sdxl")


@pytest.fixture(scope="session")
def tiny_base_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base shaped as Stable Diffusion 1: epsilon, projections are 1x1 convolutions. Read only."""
    folder = tmp_path_factory.mktemp("bases") / "tiny_sd1"
    return save_tiny_base(folder, seed=1, sd2=False, prediction_type="epsilon")
