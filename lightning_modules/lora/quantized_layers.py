"""peft's question, at each layer that it adapts, whether this is a quantized layer of some package.

Where such a package is there and too old for peft, the question is no "no" but an ImportError, and plain layers, which
have nothing to do with it, can't be adapted either: Colab brings torchao 0.10, peft wants 0.16. Here no layer is
quantized, so the answer to a question that fails is no. Who uses the package otherwise (its optimizers) still can.
"""

import sys
from typing import Any

import peft.tuners.lora  # noqa: F401 - its modules ask


def answer_no_where_peft_fails() -> None:
    """Replace each `is_<package>_available` that peft's LoRA layers ask and that raises, wherever peft holds it."""
    holders = [module for name, module in sys.modules.items() if name.partition(".")[0] == "peft"]
    asked = {
        question
        for module in holders
        if module.__name__.startswith("peft.tuners.lora")
        for name, question in vars(module).items()
        if name.startswith("is_") and name.endswith("_available")
    }
    for question in filter(_fails, asked):
        for module in holders:
            for name in [name for name, value in vars(module).items() if value is question]:
                setattr(module, name, _absent)


def _fails(question: Any) -> bool:
    try:
        question()
    except Exception:  # whatever it is, it concerns no layer of ours
        return True
    return False


def _absent(*args: Any, **kwargs: Any) -> bool:
    return False
