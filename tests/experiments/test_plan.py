from pathlib import Path

import pytest

from experiments.arm_runs import ArmRun
from experiments.plan import Answer, Star, read_plan
from tests.experiments.small_plan import write_plan

ROOT = Path(__file__).parent.parent.parent


def test_a_merged_arm_has_its_anchors_options_and_its_own(tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path))
    assert plan.arms["tuned"] == {"score.portrait": 15, "score.landscape": 36}
    assert isinstance(plan.answer, Answer)
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


STAR = "star: {center: plain, families: {data: [curated], tuning: [tuned]}, strengths: {tuned: [0.5]}}\n"


def with_star(folder: Path, star: str = STAR, draws: str = "[4, 12]") -> Path:
    """The small experiment with a star in the place of its answer; its 3 steps have 4 draws each."""
    path = write_plan(folder)
    text = path.read_text()
    start, end = text.index("answer:"), text.index("notes:")
    path.write_text(f"{text[:start]}{star}draws: {draws}\n{text[end:]}")
    config = folder / "small.yaml"
    config.write_text(config.read_text() + "data: {batch_size: 2}\ntrainer: {accumulate_grad_batches: 2}\n")
    return path


def test_a_star_instead_of_an_answer(tmp_path: Path) -> None:
    plan = read_plan(with_star(tmp_path))
    assert plan.answer == Star("plain", {"data": ("curated",), "tuning": ("tuned",)}, {"tuned": (0.5,)})
    assert plan.draws == (4, 12)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"star": ""}, "needs one of answer and star"),
        ({"star": STAR + "answer: {}\n"}, "needs one of answer and star"),
        ({"star": STAR.replace("[tuned]", "[tuend]")}, "star.families.tuning names tuend: no such arm"),
        (
            {"star": STAR.replace(", tuning: [tuned]", "")},
            r"star.families has \['curated'\]: each arm but plain has to stand there once",
        ),
        ({"star": STAR.replace("{tuned:", "{tend:")}, "star.strengths names tend: no such arm"),
        ({"draws": "[6, 4]"}, r"draws is \[6, 4\]; it must be a rising list of whole numbers"),
        ({"draws": "[0.5]"}, r"draws is \[0.5\]; it must be a rising list"),
    ],
)
def test_what_is_wrong_with_a_star_is_said(change: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        read_plan(with_star(tmp_path, **change))


def test_an_arm_is_measured_at_the_steps_of_the_draws(tmp_path: Path) -> None:
    plan = read_plan(with_star(tmp_path))
    run = ArmRun(plan, "tuned", 0, tmp_path / "out")
    assert run.steps == (1, 3)
    assert run.options["checkpoints.every_n_steps"] == 1
    words = run.test_arguments()
    between = words.index("--")
    assert words[0] == words[between + 1] == "test"
    assert not [word for word in words[:between] if "strengths" in word]
    assert "--strengths=[0.0, 0.5]" in words[between:]  # the sweep is painted at the end alone


def test_an_arm_that_nothing_ends_is_refused(tmp_path: Path) -> None:
    path = write_plan(tmp_path, replace={"options: {trainer.max_steps: 3}": "options: {}"})
    run = ArmRun(read_plan(path), "plain", 0, tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"the arm plain has trainer.max_steps None: give a number of steps in .*small"
    ):
        run.test_arguments()


@pytest.mark.parametrize(
    ("draws", "says"),
    [
        ("[6, 12]", "draws has 6, which is no whole number of steps of the arm plain, 4 draws each"),
        ("[4, 8]", "draws ends with 8, the arm plain with 12"),
    ],
)
def test_draws_that_an_arm_does_not_have_are_refused(draws: str, says: str, tmp_path: Path) -> None:
    run = ArmRun(read_plan(with_star(tmp_path, draws=draws)), "plain", 0, tmp_path / "out")
    with pytest.raises(ValueError, match=says):
        run.claim()


def test_one_arm_is_no_experiment(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "{question: q, config: c, options: {}, seeds: [0], held_out: h, arms: {a: {}}, evaluation: {}, answer: {}}"
    )
    with pytest.raises(ValueError, match=r"arms has \['a'\]: an experiment compares two arms or more"):
        read_plan(path)
