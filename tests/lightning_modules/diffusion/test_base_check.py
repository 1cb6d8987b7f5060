"""The base tells which type it predicts: outputs right by construction, and verdicts by their figures."""

from typing import Any, get_args

import pytest
import torch

from lightning_modules.diffusion.base_check import check_base, fit_of_types, judge
from lightning_modules.diffusion.prediction import PredictionType, target
from lightning_modules.diffusion.schedule import Schedule

KINDS = get_args(PredictionType)


def pictures(variance: float = 1.0) -> tuple[torch.Tensor, ...]:
    """x0, eps, alpha and sigma of 16 pictures at timesteps of the upper half."""
    keys = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 16, 4, 8, 8, generator=keys)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    schedule = Schedule((1 - betas).cumprod(0))
    return x0 * variance**0.5, eps, *schedule.alpha_sigma(torch.linspace(500, 999, 16).long())


@pytest.mark.parametrize("truth", KINDS)
@pytest.mark.parametrize("declared", KINDS)
def test_a_good_base_is_accepted_as_what_it_is_only(truth: PredictionType, declared: PredictionType) -> None:
    x0, eps, alpha, sigma = pictures()
    mistake = 0.3 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    output = target(truth, x0, eps, alpha, sigma) + mistake

    errors = fit_of_types(output.bfloat16(), x0, eps, alpha, sigma)

    assert errors[truth] == pytest.approx(0.09, rel=0.1)  # targets of variance 1
    verdict = judge(errors, declared)
    assert verdict.outcome == ("ok" if truth == declared else "refuse"), verdict.message


def test_predicting_nothing_scores_1_whatever_the_variance_of_the_latents() -> None:
    x0, eps, alpha, sigma = pictures(variance=0.2)

    errors = fit_of_types(torch.zeros_like(x0), x0, eps, alpha, sigma)

    assert list(errors.values()) == pytest.approx([1, 1, 1])
    assert judge(errors, "epsilon").outcome == "warn"


def test_the_refusal_names_both_figures_and_the_remedy() -> None:
    verdict = judge({"epsilon": 0.12, "v_prediction": 1.05, "sample": 1.9}, "v_prediction")

    assert verdict.outcome == "refuse"
    assert "declared as v_prediction but predicts epsilon" in verdict.message
    assert "1.050 as v_prediction, 0.120 as epsilon" in verdict.message
    assert "Set --model.prediction_type epsilon." in verdict.message


def test_a_random_base_is_trained_with_a_warning() -> None:
    verdict = judge({"epsilon": 1.144, "v_prediction": 1.139, "sample": 1.2}, "epsilon")

    assert verdict.outcome == "warn"
    assert "looks untrained" in verdict.message
    assert "1.144 as epsilon, 1.139 as v_prediction" in verdict.message


@pytest.mark.parametrize(
    ("declared_error", "other_error", "outcome"),
    [
        (0.5, 0.39, "refuse"),  # below 0.8 of the declared
        (0.5, 0.41, "ok"),  # better, but not clearly
        (0.79, 0.79, "ok"),
        (0.91, 0.89, "warn"),
        (1.5, 0.89, "refuse"),
        (1.5, 0.91, "warn"),  # much better than the declared, yet next to nothing
    ],
)
def test_where_the_verdicts_part(declared_error: float, other_error: float, outcome: str) -> None:
    errors: dict[PredictionType, float] = {
        "epsilon": declared_error,
        "v_prediction": other_error,
        "sample": 2.0,
    }
    assert judge(errors, "epsilon").outcome == outcome


def test_a_base_that_overflows_is_refused() -> None:
    x0, eps, alpha, sigma = pictures()

    verdict = judge(fit_of_types(x0 * float("nan"), x0, eps, alpha, sigma), "epsilon")

    assert verdict.outcome == "refuse"
    assert "NaN or infinity" in verdict.message
    assert (
        "In fp16 its attention may overflow: try --trainer.precision bf16-mixed or 32-true" in verdict.message
    )


@pytest.mark.parametrize("truth", KINDS)
def test_a_batch_of_several_shapes_is_noised_and_judged_as_a_whole(truth: PredictionType) -> None:
    """The base knows its pictures and solves x_t = alpha x0 + sigma eps for eps: a perfect prediction."""
    x0, _, _, _ = pictures()
    schedule = Schedule((1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2).cumprod(0))
    seen: list[torch.Tensor] = []
    shapes = [x0[0], x0[1, :, :4], x0[2]]
    batch: dict[str, Any] = {"latent_mean": shapes, "draw": torch.arange(3), "caption": ["a", "b", "a"]}

    def predict(x_t: torch.Tensor, t: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        seen.append(t)
        assert batch["caption"] == (["a", "a"] if len(x_t) == 2 else ["b"])
        known = torch.stack([shapes[0], shapes[2]]) if len(x_t) == 2 else shapes[1].unsqueeze(0)
        alpha, sigma = schedule.alpha_sigma(t)
        return target(truth, known, (x_t - alpha * known) / sigma, alpha, sigma)

    verdict = check_base(
        batch,
        latents=lambda part: part["latent_mean"],
        predict=predict,
        schedule=schedule,
        declared=truth,
        seed=1,
    )
    assert verdict.outcome == "ok"
    assert f"predicts {truth} as declared: relative error 0.000 as {truth}" in verdict.message
    assert [t.tolist() for t in seen] == [[500, 600], [550]]
