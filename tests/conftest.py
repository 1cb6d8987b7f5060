"""Fixtures that several test files use: tiny base models, made once a test run."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny_models import save_tiny_base

# No time limits: machines differ. The same examples each time: a failure can be repeated.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base shaped as Stable Diffusion 2: v-prediction, linear projections. Read only."""
    return save_tiny_base(tmp_path_factory.mktemp("bases") / "tiny_sd2")


@pytest.fixture(scope="session")
def tiny_base_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base shaped as Stable Diffusion 1: epsilon, projections are 1x1 convolutions. Read only."""
    folder = tmp_path_factory.mktemp("bases") / "tiny_sd1"
    return save_tiny_base(folder, seed=1, sd2=False, prediction_type="epsilon")
