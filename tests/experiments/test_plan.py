from pathlib import Path

import pytest

from experiments.plan import read_plan
from tests.experiments.small_plan import write_plan

ROOT = Path(__file__).parent.parent.parent


def test_a_merged_arm_has_its_anchors_options_and_its_own(tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path))
    assert plan.arms["tuned"] == {"score.portrait": 15, "score.landscape": 36}
    assert plan.answer.effect == ("plain", "curated")
    assert plan.answer.name == "curation"
    assert plan.seeds == (0, 1)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_experiments_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = read_plan(path)
    assert Path(plan.evaluation["prompts"]).is_file()


def test_the_committed_experiment_keeps_the_draws_of_all_arms_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = read_plan(Path("experiments/curation_vs_tuning.yaml"))
    assert len(plan.arms) == 13
    assert len(plan.seeds) == 3
    changed = {name.split(".")[0] for options in plan.arms.values() for name in options}
    assert changed == {"data", "model"}  # nothing of the trainer: the same steps
    assert not [
        name for options in plan.arms.values() for name in options if "batch" in name or "alpha" in name
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "seeds: [0, 1]\nheld",
            "sedes: [0]\nheld",
            "has sedes, which isn't known and lacks seeds. It has the keys",
        ),
        ("  tuned:", "  plain:", "'plain' stands twice, in lines 8 and 10. Rename one of them."),
        (
            "seeds: [0, 1]\nheld",
            "seeds: [0, 0]\nheld",
            r"seeds is \[0, 0\]; it must be a list of different whole",
        ),
        ("seeds: [0, 1]\nheld", "seeds: []\nheld", r"seeds is \[\]; it must be a list"),
        ("small.yaml", "absent.yaml", "absent.yaml: there is no such file"),
        ("  tuned: {", "  a/b: {", "the arm 'a/b' is to be a folder"),
        (
            "options: {",
            "options: {data.holdout_folder: x, ",
            "options has data.holdout_folder: the runner sets",
        ),
        ("evaluation: {", "evaluation: {lora: x, ", "evaluation has lora: the runner sets"),
        (
            "measure: style_score",
            "measure: beauty",
            "answer.measure is 'beauty'; it must be one of style_score,",
        ),
        (
            "[plain, curated]",
            "[plain, curate]",
            "answer.effect.curation names curate: no such arm. There are plain,",
        ),
        (
            "{tuning: [plain, tuned]}",
            "{tuning: [plain, plain]}",
            "it must be a list of two or more different arms",
        ),
        ("[plain, curated]", "[plain, curated, tuned]", "it must be two arms: from the first to the second"),
        (
            "{tuning: [plain, tuned]}",
            "{}",
            r"has the effects \['curation'\] and the ranges \[\]: it needs one",
        ),
        ("options: {trainer", "options: [trainer", "expected ',' or '\\]'"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, says: str, tmp_path: Path) -> None:
    path = write_plan(tmp_path, replace={old: new})
    with pytest.raises(ValueError, match=says) as error:
        read_plan(path)
    assert str(error.value).startswith(str(path))


def test_one_arm_is_no_experiment(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "{question: q, config: c, options: {}, seeds: [0], held_out: h, arms: {a: {}}, evaluation: {}, answer: {}}"
    )
    with pytest.raises(ValueError, match=r"arms has \['a'\]: an experiment compares two arms or more"):
        read_plan(path)
