"""The products of a traced function: where they are, what feeds them, how they are called, what they draw.

A product is found again by its site, the numbers of the equations, and of the jaxprs in them, that lead to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from .jax_canonical import second_shape
from .jax_derived import Derived
from .jax_names import MARK, Path, Scope
from .jax_origins import CONSTANT, NOTHING, Origin, Role, as_weight

Site: TypeAlias = tuple[int, ...]
Equation: TypeAlias = Any

KINDS = {"dot_general": ("linear", "matmul"), "conv_general_dilated": ("convolution",)}
"""Primitives that are rewritten, and the kinds of products they are."""
OTHERS = frozenset(("ragged_dot_general", "scaled_dot", "pallas_call"))
"""Primitives that multiply and are left alone."""


EMPTY = "empty, left alone"
"""The note of a product of an empty batch: there is nothing to quantize."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of a function.

    Args:
        site: where it is.
        kind: 'linear', 'matmul' or 'convolution'; of what is left alone its primitive.
        part: 'forward', or, inside of a backward rule, 'dgrad' or 'wgrad'.
        weight: which operand is the weight, or in a backward product E; None for neither.
        parameter: whether a parameter feeds it.
        path: of that parameter.
        scope: its scope of names.
        shapes: of its operands. second: shape of the second factor as quantized products take it: w (n, k),
            b (..., k, n), or a kernel (o, i, ...).
        loops: lengths of the loops around it, from the outside in; 0 for a while loop.
        inside: of what it is, 'while' or 'custom'; 'batch groups' of such a convolution.
        stream: the name from which its random words come.
        first: its number among the products of that name, in the first turn of all loops.
        strides: what a turn of each loop adds to that.
        note: why it is left alone; empty where it need not be.
    """

    site: Site
    kind: str
    part: str
    weight: int | None
    parameter: bool
    path: Path | None
    scope: Scope
    shapes: tuple[tuple[int, ...], ...]
    second: tuple[int, ...]
    loops: tuple[int, ...]
    inside: frozenset[str]
    stream: str
    first: int = 0
    strides: tuple[int, ...] = ()
    note: str = ""

    @property
    def layer(self) -> str:
        """Its name: of the layer whose parameter feeds it, else its scope."""
        return self.path.layer if self.path else str(self.scope) or self.kind


class Where(NamedTuple):
    """Where a walk is.

    Args:
        owned: for each result of the jaxpr, the parameter whose gradient it is, inside of a backward rule.
    """

    site: Site = ()
    scope: Scope = Scope()
    loops: tuple[int, ...] = ()
    inside: frozenset[str] = frozenset()
    turns: str = ""
    backward: bool = False
    owned: tuple[Path | None, ...] = ()

    def into(self, k: int, child: int, scope: Scope, *inside: str) -> "Where":
        """Inside of jaxpr number `child` of equation k."""
        return self._replace(site=(*self.site, k, child), scope=scope, inside=self.inside | {*inside}, owned=())


@dataclass(slots=True)
class Survey:
    """What a walk finds.

    Args:
        products: in the order in which they run.
        rules: rules for derivatives, as jaxprs, by site.
        counts: products of each name so far.
        whiles: while loops so far.
        held: paths of the arrays that the function holds, by identity.
        quiet: whether only origins are wanted.
    """

    products: list[Product] = field(default_factory=list)
    rules: dict[Site, Derived] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    whiles: int = 0
    quiet: bool = False
    held: Mapping[int, Path] = field(default_factory=dict)

    def constant(self, x: Any) -> Origin:
        """The origin of an array that the function holds; small ones are no weights."""
        if id(x) in self.held:
            return Origin(Role.PARAMETER, self.held[id(x)])
        return CONSTANT if getattr(x, "ndim", 0) > 1 else NOTHING

    @contextmanager
    def part(self, loop: bool = False) -> Iterator[dict[str, int]]:
        """A part that counts anew; its products come after those before it, in each turn of a loop. Gives its counts.

        What follows the part, or stands in its place in another branch, is for the caller to count.
        """
        before, start = self.counts, len(self.products)
        self.counts = {}
        yield self.counts
        own = self.counts
        for k, each in enumerate(self.products[start:], start):
            strides = (own[each.stream], *each.strides) if loop else each.strides
            self.products[k] = replace(each, first=each.first + before.get(each.stream, 0), strides=strides)
        self.counts = before

    def add(self, counts: Mapping[str, int], times: int = 1) -> None:
        """Go on after a part."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + times * count


def record(
    survey: Survey, equation: Equation, origins: Sequence[Origin], where: Where, owners: Mapping[Any, Path]
) -> None:
    """Add what an equation multiplies.

    Args:
        owners: the parameter whose gradient a value becomes, inside of a backward rule.
    """
    name = equation.primitive.name
    if name in KINDS:
        _add(survey, _product(equation, origins, where, owners.get(equation.outvars[0])))
    elif name in OTHERS or any(multiplies(inner) for inner in jaxprs_in_params(equation.params)):
        _add(survey, _plain(equation, name, where, f"{name} is left alone"))


def _add(survey: Survey, product: Product) -> None:
    number = survey.counts.get(product.stream, 0)
    survey.counts[product.stream] = number + 1
    survey.products.append(replace(product, first=number))


def multiplies(jaxpr: Any) -> bool:
    """Whether there are products in a jaxpr."""
    return any(
        equation.primitive.name in KINDS or any(multiplies(inner) for inner in jaxprs_in_params(equation.params))
        for equation in jaxpr.eqns
    )


def _plain(equation: Equation, kind: str, where: Where, note: str) -> Product:
    """A product that nothing is known of but where it is."""
    shapes = tuple(tuple(v.aval.shape) for v in equation.invars[:2])
    return Product(
        where.site, kind, "forward", None, False, None, where.scope, shapes, shapes[-1] if shapes else (), where.loops,
        where.inside, (str(where.scope) or kind) + where.turns, note=note,
    )  # fmt: skip


def _product(equation: Equation, origins: Sequence[Origin], where: Where, owner: Path | None) -> Product:
    a, b = (v.aval for v in equation.invars[:2])
    convolution = equation.primitive.name == "conv_general_dilated"
    batched = not convolution and bool(equation.params["dimension_numbers"][1][0])
    kind = "convolution" if convolution else "matmul" if batched else "linear"
    note = "quantized already, left alone" if MARK in where.scope.names else _unsuited(a, b)
    found = _plain(equation, kind, where, note)
    cotangents = [origin.role is Role.COTANGENT for origin in origins]
    if any(cotangents):
        return _backward(found, origins, cotangents, owner, where)
    scores = [as_weight(origin, len(v.aval.shape), batched) for origin, v in zip(origins, equation.invars)]
    if convolution and not scores[1]:
        scores = [0, 0]  # of images that are parameters nothing is a kernel
    weight = max((1, 0), key=scores.__getitem__) if any(scores) else None
    if convolution:
        order, groups = equation.params["dimension_numbers"].rhs_spec, equation.params["batch_group_count"]
        inside = found.inside | {"batch groups"} if groups > 1 else found.inside
        found = replace(found, second=tuple(b.shape[k] for k in order), inside=inside)
    else:
        kind = "matmul" if weight is None else kind
        found = replace(found, kind=kind, second=second_shape(equation.params, (a.shape, b.shape), weight, kind))
    return found if weight is None else _fed(replace(found, weight=weight), origins[weight].path, where)


def _fed(product: Product, path: Path | None, where: Where) -> Product:
    """A product that a parameter feeds."""
    stream = (path.layer if path else product.layer) + where.turns
    return replace(product, parameter=True, path=path, stream=stream)


def _backward(
    found: Product, origins: Sequence[Origin], cotangents: Sequence[bool], owner: Path | None, where: Where
) -> Product:
    """A product of a cotangent: dgrad with a parameter, otherwise wgrad, of the parameter whose gradient it becomes."""
    if all(cotangents) or found.kind == "convolution":
        why = "two cotangents" if all(cotangents) else "a convolution inside of a backward rule"
        return replace(found, part="wgrad", note=found.note or f"{why}, left alone")
    side = cotangents.index(True)
    other = origins[1 - side]
    found = replace(found, part="wgrad", weight=side)
    if as_weight(other, len(found.shapes[1 - side]), found.kind == "matmul"):
        return _fed(replace(found, part="dgrad"), other.path, where)
    return found if owner is None else _fed(found, owner, where)


def _unsuited(a: Any, b: Any) -> str:
    """Why a product cannot be quantized."""
    dtypes = [a.dtype, b.dtype]
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        kind = "complex numbers" if any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in dtypes) else "integers"
        return f"{kind}, left alone"
    if any(dtype.itemsize == 1 for dtype in dtypes):
        return f"{dtypes[0]} already, left alone"
    return EMPTY if 0 in (*a.shape, *b.shape) else ""
