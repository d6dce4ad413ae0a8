"""One trained network, quantized in any way of the study."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .jax_sites import Activations, Measures, Program
from .models import Batch, Network
from .reparametrized import equal_links, equalized, smooth_links, smoothed
from .weights import adaround, gptq, kernel_of, matrix_of, nearest, scales_of

ROUNDINGS = ("nearest", "gptq", "adaround")
"""How weights are rounded."""
REPAIRS = ("smooth", "equalize", "bias")
"""What is done before and after."""
SAMPLED = 8192
"""Inputs of a site, at most, on which its scale is fitted."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is quantized and how.

    Args:
        weights, activations: formats; None leaves them in float32. Weights have a scale a row, activations one
            a tensor.
        rounding: of weights, one of `ROUNDINGS`. repairs: some of `REPAIRS`.

    Raises:
        ValueError: unknown methods; methods for what stays in float32.
    """

    weights: str | None
    activations: str | None
    rounding: str = "nearest"
    repairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.repairs if name not in REPAIRS]
        if self.rounding not in ROUNDINGS or unknown:
            known = f"a rounding of {', '.join(ROUNDINGS)} and repairs of {', '.join(REPAIRS)}"
            raise ValueError(f"expected {known}, got {self.rounding!r} and {self.repairs}")
        if self.weights is None and self.rounding != "nearest":
            raise ValueError(f"{self.rounding} rounds weights; give them a format")

    @property
    def method(self) -> str:
        """Its methods, e.g. 'smooth+gptq'; 'nearest' without."""
        return "+".join([*self.repairs, *([self.rounding] if self.rounding != "nearest" else [])]) or "nearest"


class Subject:
    """A network with what was seen of it on calibration data.

    Args:
        program: of its task. network: its parameters. calibration, validation: data.
    """

    def __init__(self, program: Program, network: Network, calibration: Batch, validation: Batch) -> None:
        self._program, self._network = program, dict(network)
        self._calibration, self._validation = calibration, validation
        self._same: dict[Any, dict[str, np.ndarray]] = {}
        self._inputs: dict[Any, dict[str, np.ndarray]] = {}
        self._scales: dict[Any, Activations] = {}
        self._rounded: dict[Any, dict[str, np.ndarray]] = {}

    @cached_property
    def reference(self) -> Any:
        """The logits of the network as it is, on validation data."""
        return self._program.logits(self._network, self._validation["x"])

    def measures(self, case: Case) -> Measures:
        """What validation data say of the network in a case."""
        network, activations = self.quantized(case)
        return self._program.measures(network, self._validation, self.reference, activations)

    def quantized(self, case: Case) -> tuple[dict[str, np.ndarray], Activations | None]:
        """Parameters with quantized weights, and how inputs are rounded."""
        before = tuple(name for name in case.repairs if name != "bias")
        network, activations = self.same(before), self._activations(before, case.activations)
        if case.weights is not None:
            network = network | self._weights(before, case.weights, case.rounding)
        if "bias" in case.repairs:
            network = self._corrected(network, activations)
        return network, activations

    def same(self, repairs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The network with other ranges and the same outputs."""
        if repairs not in self._same:
            found, model = self._network, self._program.model
            for name in repairs:
                if name == "equalize":
                    found = equalized(found, equal_links(model))
                else:
                    seen = self._program.inputs(found, self._calibration["x"])
                    found = smoothed(found, smooth_links(model), seen)
            self._same[repairs] = found
        return self._same[repairs]

    def _seen(self, repairs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Inputs of all sites on calibration data, in float32."""
        if repairs not in self._inputs:
            self._inputs[repairs] = self._program.inputs(self.same(repairs), self._calibration["x"])
        return self._inputs[repairs]

    def _activations(self, repairs: tuple[str, ...], fmt: str | None) -> Activations | None:
        if fmt is None:
            return None
        if (repairs, fmt) not in self._scales:
            each = [_some(self._seen(repairs)[name]) for name in self._program.sites]
            scales = np.array([scales_of(x[None], fmt)[0, 0] for x in each], np.float32)
            self._scales[repairs, fmt] = Activations(fmt, scales)
        return self._scales[repairs, fmt]

    def _weights(self, repairs: tuple[str, ...], fmt: str, rounding: str) -> dict[str, np.ndarray]:
        key = (repairs, fmt, rounding)
        if key not in self._rounded:
            network, seen = self.same(repairs), self._seen(repairs)
            self._rounded[key] = {
                name: kernel_of(_rounded(matrix_of(network[name]), seen[name], fmt, rounding), network[name].shape)
                for name in self._program.sites
            }
        return self._rounded[key]

    def _corrected(self, network: dict[str, np.ndarray], activations: Activations | None) -> dict[str, np.ndarray]:
        """With biases by which the mean outputs of each layer are those of the original, one layer after another."""
        found, wanted = dict(network), self._seen(())
        for name in self._program.sites:
            bias = f"{name.removesuffix('.weight')}.bias"
            if bias not in found:
                continue
            seen = self._program.inputs(found, self._calibration["x"], activations)[name]
            mean = matrix_of(self._network[name]) @ wanted[name].mean(0) + self._network[bias]
            found[bias] = (mean - matrix_of(found[name]) @ seen.mean(0)).astype(np.float32)
        return found


def _some(x: np.ndarray) -> np.ndarray:
    """At most `SAMPLED` of the numbers: the same random places each time, so that every channel is among them."""
    flat = x.ravel()
    return flat if flat.size <= SAMPLED else flat[np.random.default_rng(0).integers(0, flat.size, SAMPLED)]


def _rounded(weights: np.ndarray, inputs: np.ndarray, fmt: str, rounding: str) -> np.ndarray:
    if rounding == "nearest":
        return nearest(weights, fmt)
    return gptq(weights, inputs, fmt) if rounding == "gptq" else adaround(weights, inputs, fmt)
