"""Models on disk: a safetensors file of `halfulp.save` whose metadata describe the layers too.

`halfulp.load` reads its arrays without torch. The description is what `entries.StoredModel` makes of itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...emulate import files
from .entries import StoredModel

ENTRY = "model"
"""The name of the description beside that of packed arrays."""


def write(path: str | Path, arrays: Mapping[str, Any], model: StoredModel) -> Path:
    """Write packed and ordinary arrays by name and what a model makes of them; errors are those of `halfulp.save`."""
    return files.write(path, arrays, {ENTRY: model.to_table()})


def read(path: str | Path, library: str) -> tuple[dict[str, Any], StoredModel]:
    """The arrays of a file by name, of a library as in `halfulp.load`, and what it says of its model.

    Raises:
        FileError: as of `halfulp.load`; a file of arrays alone, or a description that makes no sense.
        FileNotFoundError: no file.
    """
    arrays, table = files.read(path, library)
    if ENTRY not in table:
        raise files.FileError(f"{path} holds arrays and no model; read it with hu.load")
    try:
        return arrays, StoredModel.from_table(table[ENTRY])
    except ValueError as error:
        raise files.FileError(f"{path}: the description of the model cannot be read: {error}") from error
