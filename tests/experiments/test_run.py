import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Timer

import pytest

from experiments import run as runner
from experiments.jobs import StepError
from experiments.plan import read_plan
from experiments.run import run_experiment
from tests.experiments.small_plan import write_plan

ROOT = Path(__file__).parent.parent.parent
FAKE = (sys.executable, str(Path(__file__).with_name("fake_train.py")))
EVERY = [
    f"{kind} {arm}/seed{k}"
    for kind in ("fit", "test")
    for arm in ("plain", "curated", "tuned")
    for k in (0, 1)
]


def begun(output: Path) -> Counter[str]:
    """How often each command was begun."""
    return Counter(line.removesuffix(" begins") for line in lines(output) if line.endswith(" begins"))


def ended(output: Path) -> set[str]:
    """The commands that came to their end."""
    return {line.removesuffix(" ends") for line in lines(output) if line.endswith(" ends")}


def lines(output: Path) -> list[str]:
    calls = output / "calls.txt"
    return calls.read_text().splitlines() if calls.exists() else []


def test_every_arm_and_seed_once_then_a_report_then_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, output = read_plan(write_plan(tmp_path)), tmp_path / "out"
    run_experiment(plan, output, 2, FAKE)
    assert begun(output) == dict.fromkeys(EVERY, 1)
    printed = capsys.readouterr().out
    assert "12/12 | " in printed
    assert "about 0:00 left" in printed
    text = (output / "RESULTS.md").read_text()
    assert text.startswith("# Does it matter?")
    assert "for portrait, curation changed more than the whole range of tuning" in text
    assert "for landscape, the range of tuning is wider than the effect of curation" in text
    assert "Everything is fake." in text
    for name in ("effect_and_ranges.png", "pictures.jpg", "arms_style_score.png"):
        assert (output / "results" / name).is_file()
        assert f"(results/{name})" in text
    assert "the &lt;b&gt;sea" not in text
    run_experiment(plan, output, 2, FAKE)
    assert begun(output) == dict.fromkeys(EVERY, 1)


def test_the_page_shows_words_as_text(tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path, replace={"Does it matter?": "Is <script>alert(1)</script> safe?"}))
    run_experiment(plan, tmp_path / "out", 1, FAKE)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script>" not in page
    assert "Is &lt;script&gt;alert(1)&lt;/script&gt; safe?" in page


@pytest.mark.parametrize("how", ["the runner alone", "with its commands", "asked to end"])
def test_killed_in_the_middle_it_goes_on(tmp_path: Path, how: str) -> None:
    """Killed while the trainings of one arm wait for a gate, which opens soon after the next start."""
    gate, output = tmp_path / "gate", tmp_path / "out"
    held = {"score.landscape: 31": f"score.landscape: 31, gate: {gate}"}
    path = write_plan(tmp_path, replace=held)
    program = (
        "import sys; from pathlib import Path; from experiments.plan import read_plan;"
        "from experiments.run import run_experiment;"
        f"run_experiment(read_plan(Path({str(path)!r})), Path({str(output)!r}), 2, {FAKE!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, start_new_session=True)
    while begun(output)["fit curated/seed1"] == 0:  # the fifth of six trainings
        assert process.poll() is None
        time.sleep(0.02)
    done = ended(output)
    if how == "with its commands":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if how == "the runner alone" else signal.SIGTERM)
    assert process.wait() == (143 if how == "asked to end" else -signal.SIGKILL)
    assert not (output / "RESULTS.md").exists()
    assert 0 < len(done) < len(EVERY)
    Timer(0.5, gate.touch).start()
    run_experiment(read_plan(path), output, 2, FAKE)
    assert (output / "RESULTS.md").exists()
    assert ended(output) == set(EVERY)
    assert {name: begun(output)[name] for name in done} == dict.fromkeys(done, 1)
    if how == "the runner alone":  # what the kill left behind was waited for, not done again beside it
        assert begun(output) == dict.fromkeys(EVERY, 1)


def test_a_failed_command_is_shown_and_the_same_command_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "out"
    broken = read_plan(write_plan(tmp_path, replace={"score.landscape: 31": "fail: true"}))
    with pytest.raises(
        StepError, match=r"(?s)curated, seed 0: .* exit status 2.*the learning rate is a fish.*same"
    ):
        run_experiment(broken, output, 1, FAKE)
    assert begun(output) == {"fit plain/seed0": 1, "test plain/seed0": 1, "fit curated/seed0": 1}


def test_other_settings_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_experiment(read_plan(write_plan(tmp_path)), output, 1, FAKE)
    other = read_plan(write_plan(tmp_path, replace={"score.landscape: 36": "score.landscape: 37"}))
    with pytest.raises(
        ValueError, match=r"tuned/seed0 holds a run of other settings \(different: score.landscape\)"
    ):
        run_experiment(other, output, 1, FAKE)


def test_another_evaluation_measures_anew_and_trains_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_experiment(read_plan(write_plan(tmp_path)), output, 1, FAKE)
    run_experiment(
        read_plan(
            write_plan(tmp_path, replace={"evaluation: {seeds: [0, 1]}": "evaluation: {seeds: [0, 1, 2]}"})
        ),
        output,
        1,
        FAKE,
    )
    assert begun(output) == {name: 1 if name.startswith("fit") else 2 for name in EVERY}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["nothing.yaml"], "nothing.yaml: there is no such file"),
        (["{plan}", "--jobs", "0"], "--jobs is 0; it must be 1 or more."),
        (["{plan}", "--output", "{plan}"], "is a file; give a folder"),
        (["{plan}", "--output", "{plan}/x"], "is a file. Name another place"),
    ],
)
def test_errors_are_messages(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_plan(tmp_path)
    with pytest.raises(SystemExit) as stop:
        runner.main([option.format(plan=path) for option in options])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
