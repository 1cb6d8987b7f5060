"""Training and sampling agree on how the noise schedule ends."""

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_modules.base.loading import Components, load_components
from lightning_modules.base.noise_schedule import sampling_config, training_schedule


@pytest.fixture(scope="module")
def parts(tiny_base: Path) -> Components:
    return load_components(str(tiny_base))


@pytest.mark.parametrize(
    ("trained", "asked", "ends"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
def test_what_is_asked_goes_before_how_the_base_was_trained(
    parts: Components, trained: bool, asked: bool | None, ends: bool
) -> None:
    base = replace(parts, scheduler_config=parts.scheduler_config | {"rescale_betas_zero_snr": trained})
    assert (training_schedule(base, asked).alphas_cumprod[-1] == 0) == ends
    assert sampling_config(base, asked)["rescale_betas_zero_snr"] == ends
    assert base.scheduler_config["rescale_betas_zero_snr"] == trained


def test_a_base_that_predicts_epsilon_is_refused_by_both(parts: Components) -> None:
    base = replace(parts, prediction_type="epsilon")
    for use in (training_schedule, sampling_config):
        with pytest.raises(ValueError, match="zero_terminal_snr is on but the base predicts epsilon"):
            use(base, True)
