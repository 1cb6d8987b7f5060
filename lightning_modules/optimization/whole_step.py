"""When is an optimizer's step over? Its class may make it out of the step of the class above."""

from collections.abc import Callable

from torch.optim import Optimizer


def after_each_step(optimizer: Optimizer, act: Callable[[], None]) -> None:
    """Have something done behind each step that is taken; not where fp16's scaler leaves it out.

    PyTorch calls its hooks around `super().step()` too, once an optimizer of that class was made anywhere: the step is
    over where the first that began ends.

    Args:
        optimizer: whose steps are meant.
        act: what is done.
    """
    begun = 0

    def begin(*_: object) -> None:
        nonlocal begun
        begun += 1

    def end(*_: object) -> None:
        nonlocal begun
        begun -= 1
        if begun == 0:
            act()

    optimizer.register_step_pre_hook(begin)
    optimizer.register_step_post_hook(end)
