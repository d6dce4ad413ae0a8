"""Complex numbers: rounding by component, phase quantization, residual stages, the widely-linear view."""

from fractions import Fraction
from math import isinf, isnan

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate.layouts import LAYOUTS
from halfulp.formats.complexes import phase_code
from halfulp.formats.dyadic import floor_log2, power

from ..support.cases import FLOATS
from ..support.exact_scaled import fl, groups_of

RNG = np.random.default_rng(0)
Z = (RNG.standard_normal((6, 8)) + 1j * RNG.standard_normal((6, 8))).astype(np.complex64)


def everywhere(z):
    return z, torch.from_numpy(z), jnp.asarray(z)


# ------------------------------------------------------------ by component


@pytest.mark.parametrize("name", ["fp4_e2m1", "e3m2", "int8", "nf4", "binary16", "int8_per_row", "mxfp4"])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_real_formats_round_each_component(name, dtype):
    z = (3 * Z).astype(dtype)
    want = hu.quantize(z.real, name, pad=True) if "_per" in name or name == "mxfp4" else hu.quantize(z.real, name)
    options = {"pad": True} if name == "mxfp4" else {}
    for given in everywhere(z):
        if isinstance(given, jax.Array) and dtype == np.complex128:
            continue
        y = hu.quantize(given, name, **options)
        assert type(y) is type(given)
        assert str(y.dtype) == str(given.dtype)
        assert np.array_equal(np.asarray(y).real, want)
        assert np.array_equal(np.asarray(y).imag, hu.quantize(z.imag, name, **options))
    re, im = hu.quantize((z.real, z.imag), name, **options)
    assert np.array_equal(re + 1j * im, hu.quantize(z, name, **options))


def test_scalars_lists_and_errors_of_components():
    assert hu.quantize(2.3 - 4.9j, "fp4_e2m1") == 2 - 4j
    assert hu.quantize([1 + 1j], "phase").tolist() == [1j]
    with pytest.raises(TypeError, match=r"expected a complex array or a pair \(re, im\), got a tuple of 3"):
        hu.quantize((1.0, 2.0, 3.0), "phase")
    with pytest.raises(TypeError, match="expected a pair of one type and dtype, got float32 and float64"):
        hu.quantize((Z.real, Z.imag.astype(float)), "phase")
    with pytest.raises(ValueError, match=r"expected a pair of one shape, got \(6, 8\) and \(8, 6\)"):
        hu.quantize((Z.real, Z.imag.T), "phase")
    with pytest.raises(TypeError, match="expected complex64 or complex128, got"):
        hu.quantize(Z.astype(np.clongdouble), "phase")
    with pytest.raises(TypeError, match="phase is for complex numbers|expected complex numbers"):
        hu.quantize(np.ones(3), "phase")
    with pytest.raises(ValueError, match="complex results keep the dtype of the input"):
        hu.quantize(Z, "fp4_e2m1", out_dtype="float64")
    with pytest.raises(ValueError, match="complex results are new arrays"):
        hu.quantize(Z, "fp4_e2m1", out=Z)
    with pytest.raises(ValueError, match="quantize the real and imaginary parts apart"):
        hu.quantize(Z, "int8_per_row", scale=np.float32(1))
    with pytest.raises(ValueError, match="phase rounds by phase, so rounding and seed say nothing; leave them out"):
        hu.quantize(Z, "phase", rounding="up", seed=3)
    with pytest.raises(ValueError, match="phase has no range to clip to"):
        hu.quantize(Z, "phase", ste="clip")


def test_random_components_draw_apart():
    """The imaginary parts draw from the stream folded with 2**32 - 2, in every library."""
    z = np.full((4, 64), 1.1 + 1.1j, np.complex64)
    for given in everywhere(z):
        y = np.asarray(hu.quantize(given, "fp8_e4m3", rounding="stochastic", seed=1))
        assert not np.array_equal(y.real, y.imag)
        want = hu.quantize(z.real, "fp8_e4m3", rounding="stochastic", seed=1)
        other = hu.quantize(z.imag, "fp8_e4m3", rounding="stochastic", seed=1, stream=hu.fold_stream(0, 2**32 - 2))
        assert np.array_equal(y.real, want)
        assert np.array_equal(y.imag, other)
    stream = torch.tensor(0)
    y = hu.quantize(torch.from_numpy(z), "fp8_e4m3", rounding="stochastic", seed=1, stream=stream)
    assert np.array_equal(y.numpy().imag, other)


# ------------------------------------------------------------ phases


def test_ties_and_zero():
    z = np.array([1 + 1j, -1 + 1j, -1 - 1j, 1 - 1j, 0, complex(-0.0, 0.0), 2, 2j, -2, -2j], np.complex64)
    for given in everywhere(z):
        codes = hu.encode(given, "phase").elements[0].tolist()
        assert codes == [1, 2, 3, 0, 0, 0, 0, 1, 2, 3]


def test_codes_next_to_the_diagonals():
    """Both sides of each diagonal, subnormal numbers included."""
    for a in (1.0, 1e-40, 3e38):
        a = np.float32(a)
        b = np.nextafter(a, np.float32(0))
        pairs = [(x, y) for p, q in ((a, b), (b, a), (a, a)) for x in (p, -p) for y in (q, -q)]
        re, im = (np.float32(part) for part in zip(*pairs))
        want = [phase_code(Fraction(float(x)), Fraction(float(y))) for x, y in pairs]
        assert hu.encode((re, im), "phase").elements[0].tolist() == want
        assert hu.encode((jnp.asarray(re), jnp.asarray(im)), "phase").elements[0].tolist() == want


def exact_phase(re, im, fmt, layout):
    """Values as Fractions, or nan, from the module's text; means as `exact_scaled.Reference.mean` takes them."""
    _, size, blocks = groups_of(fmt.blocks, re.shape)
    parts = [[float(v) for v in part.reshape(-1)] for part in (re, im)]
    result = [[0] * re.size, [0] * re.size]
    for indices in blocks.values():
        if any(isnan(part[k]) or isinf(part[k]) for part in parts for k in indices):
            for k in indices:
                result[0][k] = result[1][k] = float("nan")
            continue
        rest = [[Fraction(part[k]) for k in indices] for part in parts]
        total = None
        for _ in range(fmt.stages):
            codes = [phase_code(a, b) for a, b in zip(*rest)]
            values = []
            for axis in (0, 1):
                chosen = [abs(v) if code % 2 == axis else None for v, code in zip(rest[axis], codes)]
                s = mean(chosen, size, layout)
                values.append([(-s if code > 1 else s) if code % 2 == axis else Fraction(0) for code in codes])
            add = lambda a, b: fl(a + b, layout)  # noqa: E731
            total = values if total is None else [list(map(add, t, v)) for t, v in zip(total, values)]
            rest = [[fl(a - b, layout) for a, b in zip(r, v)] for r, v in zip(rest, values)]
        for axis in (0, 1):
            for k, v in zip(indices, total[axis]):
                result[axis][k] = v
    return result


def mean(chosen, size, layout):
    count = sum(v is not None for v in chosen)
    terms = [v or Fraction(0) for v in chosen]
    top = max(terms)
    if not count or top == 0:
        return Fraction(0)
    unit = power(floor_log2(top))
    terms = [t / unit if t / unit >= power(-100) else Fraction(0) for t in terms] + [Fraction(0)] * (size - len(terms))
    length = 1 << max(size - 1, 0).bit_length()
    terms += [Fraction(0)] * (length - len(terms))
    while length > 1:
        length //= 2
        terms = [fl(a + b, layout) for a, b in zip(terms[:length], terms[length:])]
    return fl(terms[0] / fl(Fraction(count), layout) * unit, layout)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("spec", ["phase", "phase_t2", "phase(2,row)", "phase(1,3x4)", "phase(2,flat8)"])
def test_phases_equal_the_definition(spec, dtype):
    fmt, floats = hu.format(spec), FLOATS[dtype]
    work = LAYOUTS["float64" if dtype == "float64" else "float32"]
    usual = [RNG.standard_normal((6, 8)).astype(floats) for _ in range(2)]
    corners = [part.copy() for part in usual]
    corners[0][0], corners[1][0] = 0, -0.0
    corners[0][1:3] = (corners[0][1:3].astype(float) * float(LAYOUTS[dtype].number(3))).astype(floats)
    special = [part.copy() for part in usual]
    special[0][2, 3], special[1][5, 7] = np.nan, np.inf
    for re, im in (usual, corners, special):
        want = exact_phase(re, im, fmt, work)
        want = [[v if isinstance(v, float) else float(fl(v, LAYOUTS[dtype], True)) for v in part] for part in want]
        tensors = [torch.from_numpy(p.astype(np.float64)).to(getattr(torch, dtype)) for p in (re, im)]
        results = [
            hu.quantize((re, im), fmt, pad=True),
            [t.double().numpy() for t in hu.quantize(tuple(tensors), fmt, pad=True)],
        ]
        if dtype == "float32" and spec in ("phase", "phase(2,flat8)"):
            results.append(hu.quantize((jnp.asarray(re), jnp.asarray(im)), fmt, pad=True))
            results.append(portable(tensors, fmt))
        for result in results:
            for got, expected in zip(result, want):
                assert np.array_equal(np.asarray(got, np.float64).reshape(-1), expected, equal_nan=True)


def portable(tensors, fmt):
    """What devices without a kernel of their own run."""
    from halfulp.emulate.backends import torch_complex
    from halfulp.emulate.views import view_of

    bits = [t.view(torch.int32) for t in tensors]
    layout = LAYOUTS["float32"]
    found = torch_complex._portable(bits, fmt, layout, view_of(fmt.blocks, tuple(bits[0].shape), True, fmt.name))
    return [part.view(torch.float32).numpy() for part in found]


def test_published_errors_of_stages():
    """Gaussian parts: relative error .363 .130 .058 .033 for one to four stages; scale 1.128 for one."""
    z = (RNG.standard_normal(1 << 18) + 1j * RNG.standard_normal(1 << 18)).astype(np.complex64)
    for stages, published in ((1, 0.363), (2, 0.130), (3, 0.058), (4, 0.033)):
        y = hu.quantize(z, f"phase_t{stages}")
        batches = [(np.abs(y - z) ** 2).reshape(64, -1).sum(1), (np.abs(z) ** 2).reshape(64, -1).sum(1)]
        ratios = batches[0] / batches[1]
        assert abs(ratios.mean() - published) < 4 * ratios.std(ddof=1) / 8 + 1e-3
    codes = hu.encode(z, "phase")
    scales = codes.scales.view(np.float32).reshape(-1)
    assert np.allclose(scales, 2 / np.sqrt(np.pi), atol=0.01)


def test_codes_and_packed_bits_come_back():
    for name in ("phase", "phase_t3"):
        for given in (Z, torch.from_numpy(Z), (Z.real, Z.imag), jnp.asarray(Z))[: 4 if name == "phase" else 3]:
            codes = hu.encode(given, name)
            want = hu.quantize(given, name)
            for back in (hu.decode(codes), hu.unpack(hu.pack(given, name)), hu.unpack(hu.pack(codes))):
                assert type(back) is type(given)
                assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(back, want))
    packed = hu.pack(Z, "phase_t2")
    assert packed.nbytes == 2 * 48 * 2 // 8 + 2 * 2 * 4
    with pytest.raises(ValueError, match="scales of float64 are not packed; convert the array to complex64 first"):
        hu.pack(Z.astype(np.complex128), "phase")
    wrong = hu.Encoded(codes.fmt, (5, 8), codes.dtype, codes.elements, codes.scales)
    with pytest.raises(ValueError, match=r"phase_t3: expected elements and scales of shapes"):
        hu.decode(wrong)
    with pytest.raises(ValueError, match="an empty one has no scales"):
        hu.encode(Z[:0], "phase")


def test_gradients_pass_straight_through():
    t = torch.from_numpy(Z.copy()).requires_grad_()
    hu.quantize(t, "phase").abs().sum().backward()
    y = hu.quantize(torch.from_numpy(Z), "phase").requires_grad_()
    y.abs().sum().backward()
    assert torch.equal(t.grad, y.grad)
    re, im = torch.func.jvp(
        lambda a, b: hu.quantize((a, b), "phase"),
        (t.real.detach(), t.imag.detach()),
        (torch.ones(6, 8), torch.zeros(6, 8)),
    )[1]
    assert re.sum() == 48
    assert im.sum() == 0
    g = jax.grad(lambda a, b: sum(part.sum() for part in hu.quantize((a, b), "phase")), (0, 1))(jnp.asarray(Z.real), jnp.asarray(Z.imag))  # fmt: skip
    assert all(np.all(np.asarray(part) == 1) for part in g)


def test_compiled_and_mapped():
    torch._dynamo.reset()
    re, im = torch.from_numpy(Z.real.copy()), torch.from_numpy(Z.imag.copy())
    f = lambda a, b: hu.quantize((a * 1, b), "phase_t2")  # noqa: E731
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(compiled(re, im), f(re, im)))
    rows = torch.func.vmap(f)(re, im)
    mapped = jax.vmap(lambda a, b: hu.quantize((a, b), "phase"))(jnp.asarray(Z.real), jnp.asarray(Z.imag))
    for k in range(6):
        assert np.array_equal(rows[0][k].numpy(), hu.quantize(Z[k], "phase_t2").real)
        assert np.array_equal(np.asarray(mapped[1][k]), hu.quantize(Z[k], "phase").imag)
    assert hu.quantize(Z[:0], "phase").shape == (0, 8)
    assert hu.quantize(torch.from_numpy(Z[:0]), "phase").shape == (0, 8)


# ------------------------------------------------------------ widely linear


def test_widely_linear_forms_are_the_matrix():
    a = RNG.standard_normal((2, 12, 10))
    for given in (a, torch.from_numpy(a)):
        u, w = hu.to_widely_linear(given)
        assert u.shape == (2, 6, 5)
        back = np.asarray(hu.from_widely_linear(u, w))
        assert np.abs(back - a).max() / np.abs(a).max() < 1e-15
    z = RNG.standard_normal(5) + 1j * RNG.standard_normal(5)
    y = a[0] @ np.concatenate([z.real, z.imag])
    u, w = hu.to_widely_linear(a[0])
    assert np.allclose(u @ z + w @ z.conj(), y[:6] + 1j * y[6:])
    u, w = hu.to_widely_linear(jnp.asarray(a, jnp.float32))
    assert np.allclose(np.asarray(hu.from_widely_linear(u, w)), a, atol=1e-6)
    with pytest.raises(
        ValueError, match=r"expected real matrices with an even number of rows and columns, got shape \(3, 4\)"
    ):
        hu.to_widely_linear(np.ones((3, 4)))
    with pytest.raises(ValueError, match="expected two matrices of one shape"):
        hu.from_widely_linear(u, w[0])


def test_two_bits_of_a_real_matrix():
    """Fairy2i: both forms quantized by phase; T = 1 to 4 leave .363 .130 .058 .033 of a Gaussian matrix."""
    a = RNG.standard_normal((512, 512)).astype(np.float32)
    for stages, published in ((1, 0.363), (2, 0.130), (3, 0.058), (4, 0.033)):
        u, w = hu.to_widely_linear(a)
        b = hu.from_widely_linear(hu.quantize(u, f"phase_t{stages}"), hu.quantize(w, f"phase_t{stages}"))
        assert abs(((b - a) ** 2).sum() / (a**2).sum() - published) < 3e-3
