"""Storages of optimizers as data: text and back, bits, and what does not go together."""

import pytest
import torch
from halfulp.sim.optimizers.optimizers import low_precision
from halfulp.sim.optimizers.oscillation import Freezing, Ramping
from halfulp.sim.optimizers.storage import Storage
from halfulp.sim.optimizers.storages import STORAGES, list_storages
from halfulp.sim.optimizers.storages import storage as storage_of
from halfulp.sim.optimizers.stored import Stored, dynamic
from halfulp.sim.recipes.published import recipe
from torch import nn

from .kept import INT8, parameter, sgd
from .wrapped import one_thread as one_thread

# --- the data -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORAGES)
def test_storages_are_text_and_back(name):
    found = storage_of(name)
    assert Storage.from_toml(found.to_toml()) == found
    assert Storage.from_json(found.to_json()) == found
    assert storage_of(found.to_table()) == found
    assert hash(Storage.from_toml(found.to_toml())) == hash(found)
    assert list_storages()[name] == found.source
    assert found.source


def test_settings_survive_as_text():
    found = Storage(
        weights=Stored("mxfp4", axis=0), master={"fmt": "bf16", "rounding": "stochastic"}, ema=0.9,
        states={"exp_avg_sq": {"fmt": "uint8@-8", "domain": "sqrt"}, "*": "bf16"}, ramping={"limit": 7}, freezing=True,
    )  # fmt: skip
    assert Storage.from_toml(found.to_toml()) == found
    assert found.ramping == Ramping(limit=7)
    assert found.freezing == Freezing()
    assert found.with_(freezing=None).freezing is None
    assert found.state("nu") == found.states["exp_avg_sq"]
    assert found.state("momentum_buffer") == Stored("bf16")


def test_what_recipes_say_of_their_optimizer():
    found = Storage.from_recipe(recipe("four_bit_cnn").with_(master="bf16", optimizer_state="fp16"))
    assert (found.weights, found.master, found.limit) == (Stored("bf16"), None, 3.0)
    assert found.state("exp_avg") == Stored("fp16")


@pytest.mark.parametrize(
    ("storage", "shape", "expected"),
    [
        ("bf16", (64, 64), (16, 0, 16, 32, 0)),
        ("fp8_lm", (4096, 4096), (8, 16, 8, 24, 0)),
        ("adam8bit", (64, 64), (32, 0, 32, 16.25, 0)),
        ("adam8bit", (63, 64), (32, 0, 32, 64, 0)),
        ("int8_weights", (64, 64), (8.125, 0, 32, 16.25, 0)),
        ("tetrajet_ema", (64, 64), (4.25, 32, 32, 64, 32)),
        ("tetrajet_ema", (64,), (32, 0, 32, 64, 0)),
    ],
)
def test_bits_a_parameter(storage, shape, expected):
    assert storage_of(storage).bits(shape) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_dynamic_formats_are_those_of_torchao():
    """Up to the last bit: its parts are float32 numbers."""
    from torchao.optim.quant_utils import create_dynamic_map

    assert dynamic(True).values == pytest.approx(create_dynamic_map(True), rel=3e-7)
    assert dynamic(False).values == pytest.approx(create_dynamic_map(False, 7, 8), rel=3e-7)


ERRORS = {
    "unknown format": ({"weights": "bf61"}, "weights: unknown format 'bf61'; did you mean 'bf16'"),
    "unknown setting": ({"weigths": "bf16"}, "unknown setting 'weigths'; did you mean 'weights'"),
    "unknown setting of a tensor": ({"weights": {"fmt": "bf16", "round": "up"}}, "unknown setting 'round'"),
    "unknown rounding": ({"weights": {"fmt": "bf16", "rounding": "nearest"}}, "weights: unknown rounding"),
    "no format": ({"weights": {"rounding": "up"}}, "weights: expected a format"),
    "no table": ({"states": "bf16"}, "states: expected a table"),
    "two names": ({"states": {"mu": "bf16", "exp_avg": "bf16"}}, "both mean 'exp_avg'"),
    "complex": ({"weights": "phase"}, "optimizers keep real numbers"),
    "scales of unscaled": ({"weights": {"fmt": "bf16", "scales": "kept"}}, "bfloat16 has no scales"),
    "kept outer scales": ({"weights": {"fmt": "nvfp4", "scales": "kept"}}, "one plain scale a block"),
    "kept with a master": ({"weights": INT8, "master": "binary32"}, "weights without a master"),
    "domain": ({"weights": {"fmt": "bf16", "domain": "sqrt"}}, "domain 'sqrt' is for states"),
    "unknown domain": ({"states": {"*": {"fmt": "bf16", "domain": "log"}}}, "unknown domain 'log'"),
    "domain of signed": ({"states": {"mu": {"fmt": "bf16", "domain": "sqrt"}}}, "'exp_avg' has negative numbers"),
    "axis": ({"weights": {"fmt": "mxfp4", "axis": "x"}}, "axis: expected an integer"),
    "axes": ({"weights": "bf16", "min_ndim": "2"}, "min_ndim: expected an integer of 0 or more, got '2'"),
    "size": ({"weights": "bf16", "min_size": -3}, "min_size: expected an integer of 0 or more, got -3"),
    "no overflow": ({"weights": {"fmt": "int8", "overflow": 3}}, "unknown overflow '3'"),
    "ema of text": ({"weights": "mxfp4", "master": "binary32", "ema": "0.9"}, "expected a decay between 0 and 1"),
    "window": ({"weights": "mxfp4", "master": "binary32", "ramping": {"window": 2.5}}, "positive window, an integer"),
    "limit": ({"weights": "mxfp4", "master": "binary32", "ramping": {"limit": "3"}}, "positive limit, an integer"),
    "overflow": ({"weights": {"fmt": "int8", "overflow": "clip"}}, "unknown overflow 'clip'"),
    "ema": ({"weights": "mxfp4", "master": "binary32", "ema": 1.0}, "expected a decay between 0 and 1"),
    "ema without a master": ({"weights": "mxfp4", "ema": 0.9}, "compares weights in a format with their master"),
    "ramping": ({"weights": "mxfp4", "master": "binary32", "ramping": {"window": 0}}, "expected a positive window"),
    "setting of ramping": (
        {"weights": "mxfp4", "master": "binary32", "ramping": {"step": 1}},
        "setting of ramping 'step'",
    ),
    "no ramping": ({"weights": "mxfp4", "master": "binary32", "ramping": 3}, "ramping: expected Ramping"),
    "freezing": ({"weights": "mxfp4", "master": "binary32", "freezing": {"reach": 0.6}}, "expected a reach"),
    "start": ({"weights": "mxfp4", "master": "binary32", "freezing": {"start": -1}}, "expected a start"),
    "compensation": ({"weights": "int4", "compensation": "echo"}, "unknown compensation 'echo'; did you mean 'eco'"),
    "compensation and master": ({"weights": "int4", "master": "bf16", "compensation": "eco"}, "replaces a master"),
    "after_step": ({"after_step": "tanh"}, "expected such as 'tanh:3'"),
    "seed": ({"weights": "bf16", "seed": -1}, "expected a seed"),
    "storage": ({"storage": "bf8"}, "unknown storage 'bf8'"),
    "no storage": ({"storage": 3}, "expected a Storage"),
    "table": ({"storage": {"weight": "bf16"}}, "setting of a storage 'weight'"),
    "nothing covered": ({"weights": "bf16", "min_ndim": 3}, "pass min_ndim=0, min_size=0 for all"),
    "blocks": ({"weights": {"fmt": "mxfp4", "axis": 2}}, "need axis 2"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_of_settings(case):
    settings, message = ERRORS[case]
    with pytest.raises((ValueError, TypeError)) as error:
        low_precision(sgd(parameter(4, 32)), **settings)
    assert message in str(error.value)


def test_errors_of_optimizers():
    p = parameter(4, 32)
    with pytest.raises(TypeError, match="expected a torch optimizer or an optax transformation, got str"):
        low_precision("adam", weights="bf16")
    with pytest.raises(ValueError, match="wrapped already"):
        low_precision(low_precision(sgd(p), weights="bf16"), weights="bf16")
    with pytest.raises(ValueError, match="LBFGS calls its closure"):
        low_precision(torch.optim.LBFGS([p]), weights="bf16")
    with pytest.raises(ValueError, match="empty parameter list"):
        low_precision(torch.optim.SGD([], lr=0.1), weights="bf16")
    for inner in (
        sgd(p),
        torch.optim.RMSprop([p]),
        torch.optim.Adam([p], amsgrad=True),
        torch.optim.Adam([p], betas=(0.0, 0.9)),
    ):
        with pytest.raises(ValueError, match="'eco' is for SGD with momentum, Adam and AdamW"):
            low_precision(inner, weights="int4_per_row", compensation="eco")
    with pytest.raises(
        ValueError, match="weights of tensor 0: values of binary16 do not fit bfloat16; keep the parameter in float32"
    ):
        low_precision(sgd(parameter(4, 32, dtype=torch.bfloat16)), weights="fp16")
    with pytest.raises(ValueError, match="does not fit bfloat16; keep the parameter in float32"):
        low_precision(sgd(parameter(4, 32, dtype=torch.bfloat16)), weights="int8_per_row")
    with pytest.raises(TypeError, match="expected real numbers"):
        low_precision(sgd(nn.Parameter(torch.zeros(4, 4, dtype=torch.complex64))), weights="bf16")
    with pytest.raises(ValueError, match="values of binary16 do not fit bfloat16; keep the parameter in float32"):
        low_precision(sgd(parameter(4, 32, dtype=torch.bfloat16)), weights="fp16", master="binary32")
    p.grad = torch.ones(4, 32)
    optimizer = low_precision(torch.optim.Adam([p]), states={"*": {"fmt": "bf16", "domain": "sqrt"}})
    with pytest.raises(ValueError, match="state 'exp_avg' of this Adam has negative numbers"):
        optimizer.step()
    optimizer = low_precision(sgd(p), weights="bf16", states={"exp_avg": "bf16"})
    p.grad = torch.ones(4, 32)
    with pytest.raises(ValueError, match="unknown state 'exp_avg'.*states of this SGD: none"):
        optimizer.step()
    table = nn.Embedding(5, 4, sparse=True)
    optimizer = low_precision(torch.optim.SparseAdam(table.parameters()), weights="bf16")
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match="sparse gradient; use Embedding"):
        optimizer.step()
