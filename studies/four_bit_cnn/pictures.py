"""The picture of the study of the four-bit network."""

from typing import Any

from ..claims import Measured
from ..complex_2bit.pairing import difference
from ..figures import COLOURS, MARKERS, PAGE, canvas
from ..study import Picture
from .claims import ABLATED, FLOAT32, FOUR_BIT

_SHOWN = {"float32": "float32", "no_tanh": "no tanh", "no_scale": "fixed step", "no_clip": "no clipping",
          "plain": "none of them"}  # fmt: skip


def ablation_picture(runs: Any) -> Picture:
    """What leaving out each part costs, in accuracy and in loss."""
    figure, (left, right) = canvas(columns=2, width=PAGE, height=2.6)
    published = {"float32": FLOAT32, **{name: accuracy for name, (_, accuracy) in ABLATED.items()}}
    for index, name in enumerate(_SHOWN):
        _bar(left, index - 0.15, index, difference(runs, "accuracy", name, "four_bit"), None if index else "here")
        left.plot(index + 0.15, published[name] - FOUR_BIT, "*", color="black", ms=7,
                  label=None if index else "published, CIFAR-10")  # fmt: skip
        _bar(right, index, index, difference(runs, "loss", name, "four_bit", logs=True))
    for axes in (left, right):
        axes.axhline(0, color="0.3", lw=1, ls="--")
        axes.set_xticks(range(len(_SHOWN)), list(_SHOWN.values()), rotation=25, ha="right")
    left.set(ylabel="accuracy less that of\nthe recipe (points)")
    right.set(ylabel="loss against that of\nthe recipe (log ratio)")
    left.legend(loc="lower left")
    return Picture(figure, "Float32, and the four-bit recipe without its parts, against the whole recipe, with 95% "
                           "intervals over paired seeds.")  # fmt: skip


def _bar(axes: Any, place: float, index: int, found: Measured, label: str | None = None) -> None:
    axes.errorbar(place, found.value, [[found.value - found.low], [found.high - found.value]], capsize=3,
                  fmt=MARKERS[index], color=COLOURS[index], label=label)  # fmt: skip
