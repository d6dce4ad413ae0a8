"""Watch what rounding does to every tensor of a torch model while it trains, also in formats that are not in use.

torch, pandas, matplotlib and TensorBoard are imported when something of them is asked for.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from .records import COLUMNS, IDENTITY, Ledger, tensors_of, what_ifs

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


def watch(
    model: Any,
    *,
    every: int = 50,
    what_if: Any = (),
    tensors: str | Sequence[str] | None = None,
    layers: str | Sequence[str] = "*",
    products: bool = False,
    sample: int | None = 1 << 15,
) -> "Probe":
    """Record statistics of the operands and results of every product of a torch model, in one step of `every`.

    Sampled steps are those whose number divides by `every`: by the step counter of quantized layers, which `advance_`
    moves; where no layer is quantized by the number of forward passes in training, or of calls of `Probe.step`. Calls
    of a layer in one step are pooled. In evaluation the first forward pass of a sampled step is recorded, in rows of
    its own; without gradients there are forward rows only. All results stay the same to the bit; a compiled model
    runs its sampled steps without the compiler. Other steps pay one look at the step counter.

    Args:
        model: a torch.nn.Module, as it is called: quantized or not, compiled, in DistributedDataParallel (each rank
            records its own). A copy of it is not watched.
        every: steps from one sample to the next.
        what_if: formats that are not in use, to be tried on the same tensors: names, formats, `Quantizer`s, `Recipe`s.
            Blocks that do not divide an axis end in a ragged one; what cannot be quantized gets a row with a note.
        tensors: which to record: fprop_x, fprop_w, dgrad_e, dgrad_w, wgrad_e, wgrad_x, output, input_gradient,
            weight_gradient; None for all.
        layers: names of layers to record, with the wildcards of a shell.
        products: whether operands in `what_if` formats are multiplied too, for their output, input_gradient and
            weight_gradient rows.
        sample: how many elements of a tensor stand for all of it, in whole blocks, and rows of products, that are
            spread evenly; None for all. Largest magnitudes and scales are always those of all. An SQNR of 2^15
            elements of a Gaussian is off by .03 dB.

    Returns:
        A `Probe`, to be used in `with`, or closed.

    Raises:
        TypeError: no model.
        ValueError: a model that is watched already, or in which there is nothing to watch; every or sample < 1; an
            unknown format or tensor, or a format that needs the history of a layer.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(64, 64)
        >>> with watch(model, every=1, what_if=["mxfp4", "nvfp4"], tensors="fprop_w") as probe:
        ...     _ = model(torch.randn(8, 64))
        >>> probe.frame()[["layer", "tensor", "format", "sqnr_db"]].round(1)
            layer   tensor format  sqnr_db
        0  Linear  fprop_w  mxfp4     16.8
        1  Linear  fprop_w  nvfp4     19.9
    """
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise ValueError(f"every: expected a number of steps of 1 or more, got {every!r}")
    if sample is not None and (not isinstance(sample, int) or isinstance(sample, bool) or sample < 1):
        raise ValueError(f"sample: expected a number of elements of 1 or more, or None for all, got {sample!r}")
    patterns = (layers,) if isinstance(layers, str) else tuple(layers)
    chosen, asked = what_ifs(what_if), tensors_of(tensors)
    from .torch_probes import Sampler

    ledger = Ledger()
    matches = lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)  # noqa: E731
    return Probe(Sampler(model, every, chosen, asked, products, sample, matches, ledger), ledger)


class Probe:
    """What `watch` returns: it records until it is closed, and its tables stay afterwards.

    Rows are kept as numbers; no tensor is kept once its step is over.
    """

    def __init__(self, sampler: Any, ledger: Ledger) -> None:
        self._sampler, self._ledger = sampler, ledger
        self._written: dict[Any, set[Any]] = {}

    @property
    def closed(self) -> bool:
        """Whether it records no longer."""
        return self._sampler is None

    def __enter__(self) -> "Probe":
        self._open()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Take everything off the model; the records stay. A second time does nothing."""
        if self._sampler is not None:
            sampler, self._sampler = self._sampler, None
            sampler.close()

    def step(self) -> None:
        """Begin the next step: for training loops that call the model several times a step, or compiled as a whole.

        Call it after each optimizer step, and after `advance_`. From the first call on, forward passes are no longer
        counted.

        Raises:
            RuntimeError: a probe that is closed.
        """
        self._open().advance()

    def _open(self) -> Any:
        if self._sampler is None:
            raise RuntimeError("the probe is closed; call hu.watch(model, ...) for a new one")
        return self._sampler

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `frame` as dictionaries."""
        if self._sampler is not None:
            self._sampler.drain()
        return self._ledger.rows()

    def frame(self) -> "pandas.DataFrame":
        """The table of all that was recorded so far.

        Returns:
            A DataFrame, a row for each step, layer, product, tensor, format and recipe::

                step, layer             when and where
                product                 which of several of the layer, such as 'query' or 'scores'; else empty
                tensor                  fprop_x and fprop_w, the operands of Y = X W^T; dgrad_e and dgrad_w of dX = E W;
                                        wgrad_e and wgrad_x of dW = E^T X; and output, input_gradient, weight_gradient
                format, recipe          the operand's format, with what else is set; the recipe it is of
                in_use, training        whether the layer computes with it; whether it was in training
                calls                   how many calls are pooled
                sqnr_db ... rms         see `TensorStatistics`; of results, of the one that nothing was quantized for
                scale_min ... scale_max floor(log2 scale) over blocks
                scale_counts            how many blocks have a scale of each exponent, from scale_min to scale_max
                gradient_to_noise, gradient_cosine   see `GradientStatistics`; before gradient estimators are applied
                note                    what could not be done, or is special
        """
        import pandas

        table = pandas.DataFrame(self.rows(), columns=list(COLUMNS))
        return table.astype({"step": "int64", "in_use": bool, "training": bool, "calls": "int64"})

    def to_tensorboard(self, target: Any) -> None:
        """Write what was recorded since the last call with the same target.

        Args:
            target: a folder for logs, or a `torch.utils.tensorboard.SummaryWriter`. Curves are called
                layer/tensor/format/number, with what_if before a format that is not in use; scale exponents are
                histograms.

        Raises:
            ModuleNotFoundError: TensorBoard is not installed.
            ValueError: nothing was recorded.
        """
        from .torch_tensorboard import write, writer_of

        rows = self._recorded()
        own = isinstance(target, str) or hasattr(target, "__fspath__")
        writer: Any = writer_of(target) if own else target
        written = self._written.setdefault(str(target) if own else id(target), set())
        for row in rows:
            key = tuple(row[name] for name in IDENTITY)
            if key not in written:
                written.add(key)
                write(writer, row)
        writer.close() if own else writer.flush()

    def plot(
        self,
        kind: str = "steps",
        *,
        number: str = "sqnr_db",
        tensor: str = "fprop_w",
        format: str | None = None,
        step: int | None = None,
        path: Any = None,
    ) -> "Figure":
        """A picture of one number of one tensor.

        Args:
            kind: 'steps', a line for each layer over steps; 'formats', layers down and formats across, at one step.
            number: a column of `frame`, such as sqnr_db, underflow_percent, gradient_to_noise.
            tensor: whose.
            format: of 'steps': which; None for the one in use, or the first.
            step: of 'formats': which; None for the last.
            path: a file to write, such as 'probe.png'.

        Raises:
            ValueError: an unknown name, or nothing recorded that could be shown.
        """
        from .plots import KINDS, picture

        figure = picture(self._recorded(), kind, KINDS, number, tensor, format, step)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _recorded(self) -> list[dict[str, Any]]:
        rows = self.rows()
        if not rows:
            raise ValueError(
                "nothing was recorded: run a forward pass of the model that is watched; of one that is compiled, watch "
                "the compiled one, or call probe.step() after each step"
            )
        return rows
