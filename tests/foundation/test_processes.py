"""What processes tell each other, where there is one; several are in `test_distributed_training.py`."""

from foundation.processes import in_first_process, means_of_all, of_all_processes, undealt


def test_one_process_hears_itself() -> None:
    assert of_all_processes("own") == in_first_process("own") == ["own"]


def test_work_comes_back_in_its_order() -> None:
    work = list("abcde")
    for size in (1, 2, 3, 7):  # with 7 some have nothing
        assert undealt([work[rank::size] for rank in range(size)]) == work


def test_means_are_over_what_was_counted() -> None:
    assert means_of_all({"b": (6.0, 3), "a": (1.0, 4)}) == {"a": 0.25, "b": 2.0}
