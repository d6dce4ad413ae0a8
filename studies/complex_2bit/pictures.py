"""Pictures of the study of complex weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..claims import Measured
from ..figures import COLOURS, MARKERS, PAGE, canvas
from ..fp4_design.analysis import over_seeds
from ..study import Picture
from .claims import TASKS
from .pairing import by_seed

SHOWN = {
    "binary": "binary",
    "ternary": "ternary",
    "phase": "1, i, -1, -i",
    "phase_wide": "1, i, -1, -i, wider",
    "phase_t2": "two stages",
}
_PAIRS = {
    "bitnet_storage": "phases - ternary, equal bits",
    "bitnet_shapes": "phases - ternary, equal shapes",
    "binary": "phases - binary",
    "float32": "phases - float32",
    "stages": "two stages - one",
    "stages_bitnet": "two stages - ternary",
}


def storage_picture(best: Any) -> Picture:
    """What each variant loses beyond float32 against the bits of its weights, a column a task."""
    figure, columns = canvas(columns=len(TASKS), height=2.7)
    for axes, (task, shown) in zip(columns, TASKS.items()):
        own = best[best["task"] == task]
        reference = by_seed(own, "float32", "loss")
        for index, (variant, label) in enumerate(SHOWN.items()):
            loss = by_seed(own, variant, "loss")
            lost = loss - reference if task == "text" else np.log(loss / reference)
            found, bits = over_seeds(lost.to_dict()), own[own["variant"] == variant]["all_bits"].iloc[0] / 1000
            axes.errorbar(bits, found.value, [[found.value - found.low], [found.high - found.value]], capsize=2,
                          fmt=MARKERS[index], color=COLOURS[index], label=label)  # fmt: skip
        axes.axhline(0, color="0.3", lw=1, ls="--")
        unit = "nats" if task == "text" else "log ratio"
        axes.set(title=shown, xlabel="kbit of all parameters", ylabel=f"loss beyond float32 ({unit})")
    handles, labels = columns[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(SHOWN))
    return Picture(figure, "What weights in few bits lose beyond float32, with 95% intervals over paired seeds: lower "
                           "is better. Embedding, head and biases stay in float32 and are counted.")  # fmt: skip


def differences_picture(found: Mapping[str, Measured]) -> Picture:
    """The differences that claims are about, a column a task."""
    figure, columns = canvas(columns=len(TASKS), height=2.4, width=PAGE, sharey=True)
    at = -np.arange(len(_PAIRS))
    for index, (axes, (task, shown)) in enumerate(zip(columns, TASKS.items())):
        each = [found[f"{name}_{task}"] for name in _PAIRS]
        axes.axvline(0, color="0.3", lw=1)
        axes.hlines(at, [e.low for e in each], [e.high for e in each], color=COLOURS[index], lw=1.5)
        axes.scatter([e.value for e in each], at, color=COLOURS[index], s=16, zorder=3)
        axes.set(title=shown, xlabel="nats" if task == "text" else "log ratio of losses")
    columns[0].set_yticks(at, list(_PAIRS.values()))
    return Picture(figure, "Paired differences of losses with 95% intervals: left of 0 the first has the lower loss.")
