"""Functions of JAX arrays whose matrix products and convolutions are quantized, forward and backward.

A function is traced, its products are looked up and given their recipes, and its jaxpr is evaluated anew. All of that
happens once for each structure of arguments; then it is one compiled program.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.backends.jax import key_of
from ...emulate.philox import check_word, seed_words
from ...emulate.plan import Randomness
from ..recipes.rules import Rule, rules_of
from . import jax_state
from .jax_evaluation import Evaluation, Traced
from .jax_names import Path, argument_names, held_by, is_array, is_bare, keys_of
from .jax_origins import DATA, Origin, Role
from .jax_rewriting import Rewriting
from .jax_rules import Row, assigned
from .jax_sites import Survey, Where
from .jax_survey import walk


class Static(NamedTuple):
    """What is not traced of a call: the tree of its arguments, and the leaves that are no arrays.

    Their types tell True from 1, which are equal.
    """

    tree: Any
    leaves: tuple[Any, ...]
    types: tuple[type, ...]


class Program(NamedTuple):
    """A traced function with its products.

    Args:
        closed: its jaxpr. shape: of its results, a pytree.
        survey: its products. rows: what each gets.
    """

    closed: Any
    shape: Any
    survey: Survey
    rows: list[Row]


class _Hole:
    """What stands for an array among static leaves."""


_ARRAY = _Hole()


class Quantized:
    """What `hu.quantized` returns; see there."""

    def __init__(self, fn: Callable[..., Any], given: Any, params: Any) -> None:
        if not callable(fn):
            raise TypeError(f"expected a function of JAX arrays, got {type(fn).__name__}")
        self.fn, self.rules, self.params = fn, rules_of(given), _params(params)
        self.__name__, self.__doc__ = getattr(fn, "__name__", type(fn).__name__), fn.__doc__
        self._run = jax.jit(self._evaluated, static_argnums=(0, 1))
        self._first = jax.jit(self._first_sizes, static_argnums=0)

    def __repr__(self) -> str:
        names = ", ".join(f"({rule.pattern!r}, {rule.recipe.name!r})" for rule in self.rules)
        return f"quantized({self.__name__}, [{names}])"

    def __call__(self, *args: Any, seed: Any = 0, step: Any = 0, state: Any = None, **kwargs: Any) -> Any:
        """The results of the function, its products quantized."""
        static, leaves = _split(args, kwargs)
        return self._run(static, False, leaves, _seed(seed), _step(step), state)

    def init(self, *args: Any, seed: Any = 0, step: Any = 0, **kwargs: Any) -> jax_state.State:
        """What recipes with delayed or learned scales carry; {} for others. Arguments as those of a call."""
        static, leaves = _split(args, kwargs)
        return self._first(static, leaves, _seed(seed), _step(step))

    def advance(self, state: jax_state.State, gradient: jax_state.State, rate: float | None = None) -> jax_state.State:
        """The state of the next step.

        Args:
            state: of this step.
            gradient: with respect to the state, of the same `jax.grad` as that of the parameters.
            rate: of plain gradient descent on learned step sizes; None where your optimizer trains state["sizes"].
        """
        return jax_state.advance(state, gradient, rate)

    def traced(self, *args: Any, seed: Any, step: Any, state: Any = None, formats: Any = None) -> Any:
        """As a call, inside of a function that is compiled.

        Args:
            formats: what of recipes is data, by their names, as `jax_recipe_data.data_of` makes it.
        """
        static, leaves = _split(args, {})
        return self._evaluated(static, False, leaves, seed, step, state, formats)

    def _evaluated(
        self, static: Static, first: bool, leaves: Any, seed: Any, step: Any, state: Any, formats: Any = None
    ) -> Any:
        program = traced_program(self.fn, self.rules, self.params, static, leaves)
        chosen = {row.product.site: row for row in program.rows if row.recipe is not None}
        jax_state.check(state, jax_state.shapes_of(list(chosen.values())))
        if not chosen:
            return _called(self.fn, static, leaves)
        words = key_of(Randomness(seed, step))
        run = Evaluation(
            {site: row.product for site, row in chosen.items()},
            {site: row.slot for site, row in chosen.items()},
            program.survey.rules,
            Rewriting(chosen, first),
        )
        traced = Traced(words[2:], words[1], (), state or {}, formats or {})
        found = run.closed(program.closed, jax.tree.leaves(leaves), traced, ())
        return jax.tree.unflatten(jax.tree.structure(program.shape), found)

    def _first_sizes(self, static: Static, leaves: Any, seed: Any, step: Any) -> jax_state.State:
        """Histories of zeros, and the step sizes that the data suggests, which come out as a gradient."""
        rows = traced_program(self.fn, self.rules, self.params, static, leaves).rows
        state = jax_state.zeros(jax_state.shapes_of([row for row in rows if row.recipe is not None]))
        if "sizes" not in state:
            return state

        def results(sizes: Any) -> list[Any]:
            found = self._evaluated(static, True, leaves, seed, step, {**state, "sizes": sizes})
            return [x for x in jax.tree.leaves(found) if jnp.issubdtype(x.dtype, jnp.inexact)]

        found, pull = jax.vjp(results, state["sizes"])
        return {**state, "sizes": pull([jnp.ones_like(x) for x in found])[0]}


def program_of(q: Quantized, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    """The program of a call; arguments may be `jax.ShapeDtypeStruct`s."""
    static, leaves = _split(args, kwargs)
    return traced_program(q.fn, q.rules, q.params, static, leaves)


def traced_program(fn: Any, rules: Sequence[Rule], params: Any, static: Static, leaves: Any) -> Program:
    """Trace a function and give its products their recipes.

    Raises:
        ValueError: see `jax_rules.assigned`; `params` that name no argument.
    """
    arrays = jax.tree.leaves(leaves)
    closed, shape = jax.make_jaxpr(lambda *xs: _called(fn, static, xs), return_shape=True)(*arrays)
    survey = Survey(held=held_by(fn))
    origins = _origins(fn, params, static, _holds(closed))
    walk(survey, closed.jaxpr, [survey.constant(x) for x in closed.consts], origins, Where())
    return Program(closed, shape, survey, assigned(survey.products, rules))


def _holds(closed: Any) -> bool:
    """Whether a jaxpr, or one inside of it, has constants that may be weights."""
    if any(getattr(x, "ndim", 0) > 1 for x in closed.consts):
        return True
    given = [x for equation in closed.jaxpr.eqns for x in equation.params.values()]
    inner = [x for each in given for x in (each if isinstance(each, tuple) else (each,)) if hasattr(x, "consts")]
    return any(_holds(x) for x in inner)


def _called(fn: Any, static: Static, arrays: Sequence[Any]) -> Any:
    """The function's results, of the arrays among its arguments."""
    given = iter(arrays)
    leaves = [next(given) if leaf is _ARRAY else leaf for leaf in static.leaves]
    args, kwargs = jax.tree.unflatten(static.tree, leaves)
    return fn(*args, **kwargs)


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Static, list[Any]]:
    """What of the arguments is static, and the arrays."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    kept = tuple(_ARRAY if is_array(x) or isinstance(x, float) else x for x in leaves)
    static = Static(tree, kept, tuple(type(x) for x in kept))
    try:
        hash(static)
    except TypeError:
        kinds = {type(x).__name__ for x in static.leaves if x is not _ARRAY and type(x).__hash__ is None}
        raise TypeError(
            "expected arrays, numbers and static values that can be hashed among the arguments, got "
            f"{', '.join(sorted(kinds)) or 'a pytree with other metadata'}; convert it with jnp.asarray, or bind it "
            "with functools.partial"
        ) from None
    return static, [x for x in leaves if is_array(x) or isinstance(x, float)]


def _origins(fn: Any, params: Any, static: Static, holds: bool) -> list[Origin]:
    """The origin of each array among the arguments."""
    args, kwargs = jax.tree.unflatten(static.tree, static.leaves)
    names = [*argument_names(fn, len(args)), *kwargs]
    values = [*args, *kwargs.values()]
    chosen = _chosen(params, names, values, len(args), holds)
    found = []
    for name, value in zip(names, values):
        for path, leaf in jax.tree_util.tree_flatten_with_path(value)[0]:
            if leaf is _ARRAY:
                found.append(Origin(Role.PARAMETER, Path(name, keys_of(path))) if name in chosen else DATA)
    return found


def _chosen(params: Any, names: list[str], values: list[Any], positional: int, holds: bool) -> set[str]:
    """The names of the arguments whose arrays are parameters."""
    if params is None:
        return set() if not positional or (is_bare(values[0]) and holds) else {names[0]}
    for each in params:
        if isinstance(each, str) and each not in names:
            raise ValueError(f"params={each!r} is none of the arguments {', '.join(names)}")
        if isinstance(each, int) and not -positional <= each < positional:
            raise ValueError(f"params={each} is none of the {positional} positional arguments")
    return {each if isinstance(each, str) else names[:positional][each] for each in params}


def _params(given: Any) -> tuple[int | str, ...] | None:
    """Numbers and names of arguments.

    Raises:
        TypeError: anything else.
    """
    if given is None:
        return None
    found = given if isinstance(given, list | tuple) else (given,)
    if not all(isinstance(each, int | str) and not isinstance(each, bool) for each in found):
        raise TypeError(f"params: expected numbers or names of arguments, such as (0,) or 'weights', got {given!r}")
    return tuple(found)


def _seed(given: Any) -> Any:
    """A seed as the compiled function takes it.

    Raises:
        ValueError: an integer that has no 64 bits, or an array of another shape.
        TypeError: neither an integer, nor two words, nor a key.
    """
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        return np.array(seed_words(int(given)), np.uint32)
    if not isinstance(given, jax.Array | np.ndarray):
        raise TypeError(f"expected a seed of one integer, two words of 32 bits or a JAX key, got {given!r}")
    is_key = jnp.issubdtype(given.dtype, jax.dtypes.prng_key)
    if not is_key and not (jnp.issubdtype(given.dtype, jnp.integer) and given.shape in ((), (2,))):
        shape = f"{given.dtype} of shape {given.shape}"
        raise ValueError(f"expected a seed of one integer, two words of 32 bits or a JAX key, got {shape}")
    return given


def _step(given: Any) -> Any:
    """A step as the compiled function takes it.

    Raises:
        ValueError: an integer that has no 32 bits, or an array that is none.
        TypeError: neither.
    """
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        return np.uint32(check_word("step", int(given)))
    if not isinstance(given, jax.Array | np.ndarray):
        raise TypeError(f"expected an integer step, got {given!r}")
    if given.shape != () or not jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(f"expected an integer step, got {given.dtype} of shape {given.shape}")
    return given
