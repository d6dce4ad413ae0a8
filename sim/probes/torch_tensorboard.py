"""What a probe recorded as curves and histograms of TensorBoard."""

from importlib.util import find_spec
from typing import Any

from .records import NUMBERS, exponents_of


def writer_of(folder: Any) -> Any:
    """A writer of TensorBoard."""
    if find_spec("tensorboard") is None:
        raise ModuleNotFoundError("to_tensorboard needs TensorBoard; install it: pip install tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def write(writer: Any, row: dict[str, Any]) -> None:
    """One row as points of curves, and its scales as a histogram."""
    asked = () if row["in_use"] else ("what_if", row["recipe"])
    parts = (
        row["layer"],
        row["product"],
        row["tensor"],
        *asked,
        row["format"],
        "" if row["training"] else "evaluation",
    )
    name = "/".join(part for part in parts if part)
    for number in NUMBERS:
        if row[number] == row[number]:
            writer.add_scalar(f"{name}/{number}", row[number], row["step"])
    counts, exponents = row["scale_counts"], exponents_of(row)
    if counts:
        total = [float(sum(n * e**power for n, e in zip(counts, exponents))) for power in (1, 2)]
        writer.add_histogram_raw(
            f"{name}/scale_exponents", min=exponents[0], max=exponents[-1], num=sum(counts), sum=total[0],
            sum_squares=total[1], bucket_limits=[e + 0.5 for e in exponents], bucket_counts=counts,
            global_step=row["step"],
        )  # fmt: skip
