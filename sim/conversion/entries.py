"""What a file says of a converted model: its layers, their recipes, and how each weight is stored. No framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..recipes.recipe import Recipe, from_table, to_table

VERSION = 1

WAYS = ("bits", "rows", "complex", "values")
"""How a weight is stored.

bits      one packed array
rows      packed arrays, one below the other
complex   packed arrays U and W of its widely-linear view (`halfulp.from_widely_linear`)
values    numbers of the weight's own dtype, already rounded, where no codes stand for them
"""

DTYPES = ("float16", "bfloat16", "float32", "float64")

ROLES = ("products", "around", "shielded")
"""What a layer does: quantized products, quantized input and output, or nothing inside of a layer that quantizes."""

PROJECTIONS = ("", "together", "apart")
"""Which products an attention's packed projections are for: any, one of all three, or one of each."""


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """How one weight of a layer is stored.

    Args:
        shape: of the weight in the plain model; that of what is stored may be longer, where a transform needs whole
            blocks.
        dtype: of its values in products, 'float32' and the like.
        way: one of `WAYS`.
    """

    shape: tuple[int, ...]
    dtype: str
    way: str

    def __post_init__(self) -> None:
        if self.way not in WAYS or self.dtype not in DTYPES:
            raise ValueError(
                f"expected one of {', '.join(WAYS)} of {', '.join(DTYPES)}, got {self.way!r} of {self.dtype!r}"
            )


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer of a converted model.

    Args:
        kind: name of its class in the plain model.
        role: one of `ROLES`.
        recipe: the one in force when it was converted, without a schedule.
        seed: two words below 2**32, of the user's seed and the layer's name. step: at which its random words are drawn.
        must: whether a call without any product is an error.
        projections: one of `PROJECTIONS`.
        weights: those that are stored as products read them, by name from the layer on.
        note: why weights of a recipe that quantizes them were kept as they are; empty where they were not.
    """

    kind: str
    role: str
    recipe: Recipe
    seed: tuple[int, int] = (0, 0)
    step: int = 0
    must: bool = False
    projections: str = ""
    weights: Mapping[str, StoredWeight] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES or self.projections not in PROJECTIONS:
            raise ValueError(f"unknown role {self.role!r} or projections {self.projections!r}")
        words = (*self.seed, self.step)
        if len(words) != 3 or not all(type(word) is int and 0 <= word < 1 << 32 for word in words):
            raise ValueError(f"expected a seed of two words and a step below 2**32, got {self.seed} and {self.step}")


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A converted model without its tensors.

    Args:
        layers: by qualified name.
        shared: names of tensors that are another one, and the name of that.
        derived: names of buffers that are in the file and not in a state_dict, such as masks.
        counting: modules in whose calls layers that draw random numbers count their products from 0.
        library: version of halfulp that wrote it.
    """

    layers: Mapping[str, StoredLayer]
    shared: Mapping[str, str]
    derived: tuple[str, ...]
    counting: tuple[str, ...]
    library: str

    def to_table(self) -> dict[str, Any]:
        """As what JSON holds, which `from_table` reads; each recipe once."""
        recipes: dict[str, dict[str, Any]] = {}
        layers = {}
        for name, layer in self.layers.items():
            table = to_table(layer.recipe)
            key = next((k for k, known in recipes.items() if known == table), str(len(recipes)))
            recipes[key] = table
            weights = {
                leaf: {"shape": list(weight.shape), "dtype": weight.dtype, "way": weight.way}
                for leaf, weight in layer.weights.items()
            }
            layers[name] = {
                "kind": layer.kind, "role": layer.role, "recipe": key, "seed": list(layer.seed), "step": layer.step,
                "must": layer.must, "projections": layer.projections, "weights": weights, "note": layer.note,
            }  # fmt: skip
        return {
            "version": VERSION, "library": self.library, "recipes": recipes, "layers": layers,
            "shared": dict(self.shared), "derived": list(self.derived), "counting": list(self.counting),
        }  # fmt: skip

    @staticmethod
    def from_table(table: Any) -> "StoredModel":
        """The model that `to_table` wrote.

        Raises:
            ValueError: a newer version, or entries that make no sense.
        """
        try:
            version, library = table["version"], str(table["library"])
            if version != VERSION:
                raise ValueError(f"version {version} of halfulp {library}, expected {VERSION}; update halfulp")
            recipes = {key: _recipe(key, each) for key, each in table["recipes"].items()}
            layers = {name: _layer(name, entry, recipes) for name, entry in table["layers"].items()}
            shared = {str(name): str(other) for name, other in table["shared"].items()}
            derived, counting = (tuple(str(name) for name in table[key]) for key in ("derived", "counting"))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"its entries make no sense ({type(error).__name__}: {error})") from error
        return StoredModel(layers, shared, derived, counting, library)


def _recipe(key: str, table: Any) -> Recipe:
    try:
        return from_table(table)
    except (ValueError, TypeError) as error:
        raise ValueError(f"recipe {table.get('name', key)!r}: {error}") from error


def _layer(name: str, entry: Any, recipes: Mapping[str, Recipe]) -> StoredLayer:
    weights = {
        leaf: StoredWeight(_shape(each["shape"]), str(each["dtype"]), str(each["way"]))
        for leaf, each in entry["weights"].items()
    }
    try:
        return StoredLayer(
            str(entry["kind"]), str(entry["role"]), recipes[entry["recipe"]], tuple(entry["seed"]), entry["step"],
            bool(entry["must"]), str(entry["projections"]), weights, str(entry["note"]),
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error


def _shape(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not all(type(n) is int and 0 <= n < 1 << 48 for n in given):
        raise ValueError(f"expected a shape, got {given!r}")
    return tuple(given)
