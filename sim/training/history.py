"""What the runs of a chunk leave behind as they are trained; no framework here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .training import Run, Trained, Training


class History:
    """Curves, evaluations and probes of runs that are trained side by side, each array with an axis of runs first."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.curves: list[dict[str, np.ndarray]] = []
        self.evaluations: list[tuple[int, dict[str, np.ndarray]]] = []
        self.probes: list[tuple[int, dict[str, np.ndarray]]] = []

    def add(self, curves: Mapping[str, Any], steps: int) -> None:
        """Numbers of some steps; what follows them in the arrays is left out."""
        self.curves.append({name: np.asarray(curve)[:, :steps] for name, curve in curves.items()})

    def evaluated(self, step: int, measured: Mapping[str, Any]) -> None:
        """Metrics after that many steps."""
        self.evaluations.append((step, _arrays(measured)))

    def probed(self, step: int, found: Mapping[str, Any]) -> None:
        """Statistics after that many steps."""
        self.probes.append((step, _arrays(found)))

    def arrays(self) -> list[np.ndarray]:
        """Everything as arrays, for a checkpoint; names and steps are those of JSON."""
        marks = json.dumps(
            {
                "curves": [list(each) for each in self.curves],
                "evaluations": [[step, list(each)] for step, each in self.evaluations],
                "probes": [[step, list(each)] for step, each in self.probes],
            }
        )
        values = [a for each in self.curves for a in each.values()]
        values += [a for _, each in (*self.evaluations, *self.probes) for a in each.values()]
        return [np.array(marks), *values]

    def restore(self, arrays: Sequence[np.ndarray]) -> None:
        """Put back what `arrays` returned."""
        marks, rest = json.loads(str(arrays[0])), iter(arrays[1:])
        self.curves = [{name: next(rest) for name in names} for names in marks["curves"]]
        self.evaluations = [(step, {name: next(rest) for name in names}) for step, names in marks["evaluations"]]
        self.probes = [(step, {name: next(rest) for name in names}) for step, names in marks["probes"]]

    def result(self, run: Run, k: int, ended: int, parameters: Any) -> Trained:
        """What became of member k.

        Args:
            ended: the step that ended it, -1 for none. parameters: its own, or None.
        """
        curves = {name: np.concatenate([each[name][k] for each in self.curves]) for name in self.curves[0]}
        if self._training.loss_scale is None:
            del curves["loss_scale"]
        return Trained(
            run,
            {name: float(value[k]) for name, value in self.evaluations[-1][1].items()},
            None if ended < 0 else ended,
            curves,
            _by_name(self.evaluations, k),
            _by_name(self.probes, k),
            parameters,
        )


def _arrays(found: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in found.items()}


def _by_name(rows: list[tuple[int, dict[str, np.ndarray]]], k: int) -> dict[str, np.ndarray]:
    if not rows:
        return {}
    found = {name: np.array([each[name][k] for _, each in rows]) for name in rows[0][1]}
    return {"step": np.array([step for step, _ in rows]), **found}
