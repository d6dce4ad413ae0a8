"""Codes as arrays of the small dtypes that torch and ml_dtypes have."""

from typing import Any

from ..formats.registry import Format
from ..formats.scaled import ScaledFormat
from .dispatch import packing_backend_of
from .encoded import Encoded

DTYPES = {
    "fp8_e4m3": "float8_e4m3fn",
    "fp8_e5m2": "float8_e5m2",
    "fp8_e4m3fnuz": "float8_e4m3fnuz",
    "fp8_e5m2fnuz": "float8_e5m2fnuz",
    "fp8_e4m3b11fnuz": "float8_e4m3b11fnuz",
    "fp8_e4m3_ieee": "float8_e4m3",
    "fp8_e3m4": "float8_e3m4",
    "fp6_e3m2": "float6_e3m2fn",
    "fp6_e2m3": "float6_e2m3fn",
    "fp4_e2m1": "float4_e2m1fn",
    "e8m0": "float8_e8m0fnu",
    "binary16": "float16",
    "bfloat16": "bfloat16",
    "binary32": "float32",
}
"""Names of dtypes by format."""


def native(codes: Encoded | Any, fmt: str | Format | None = None) -> Any:
    """Codes as an array of the library's own small dtype, without copying where it can be.

    Args:
        codes: what `encode` returned.
        fmt: the format, where the codes are those of an unscaled one.

    Returns:
        For codes of an unscaled format an array in their shape: torch's float8 dtypes; of ml_dtypes for NumPy
        and JAX. torch holds two E2M1 codes a byte, low nibble first, and halves the last axis. For `Encoded`
        a dict of such arrays for 'elements', 'scales' and 'outer'.

    Raises:
        ValueError: a format the library has no dtype for; the message lists those it has.

    Example:
        >>> from halfulp.emulate.quantize import encode
        >>> native(encode([1.0, -448.0], "fp8_e4m3"), "fp8_e4m3").tolist()
        [1.0, -448.0]
    """
    if not isinstance(codes, Encoded):
        from ..formats.registry import plain_format

        if fmt is None:
            raise TypeError("native needs the format of the codes; pass its name")
        return packing_backend_of(codes).as_dtype(codes, plain_format(fmt), DTYPES)
    if not isinstance(codes.fmt, ScaledFormat):
        raise ValueError(f"{codes.fmt.name}: there is no dtype for complex codes")
    parts: dict[str, Format] = {"elements": codes.fmt.element, "scales": codes.fmt.scale}
    parts |= {"outer": codes.fmt.outer.scale} if codes.fmt.outer else {}
    return {
        name: packing_backend_of(codes.elements).as_dtype(codes.arrays[name], part, DTYPES)
        for name, part in parts.items()
    }
