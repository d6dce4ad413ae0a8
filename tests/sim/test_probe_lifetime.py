"""Probes: where watching ends, compiled models, what comes out, and errors."""

import copy
import io

import pytest
import torch
import torch._dynamo.testing
from halfulp.sim.probes.probes import watch
from halfulp.sim.recipes.published import recipe
from halfulp.sim.wrapping.wrapping import advance_, dequantize_, quantize_
from torch import nn

from .watched import PLAIN
from .wrapped import mlp, normal, one_thread  # noqa: F401


def small():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU())


def test_copies_are_not_watched():
    model = quantize_(mlp(64), "mxfp8")
    with watch(model, every=1) as probe:
        model(normal(32, 64))
        twin = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        rows = len(probe.rows())
        twin(normal(32, 64)), loaded(normal(32, 64))
        assert len(probe.rows()) == rows
        assert (probe.frame()["calls"] == 1).all()
        watch(twin).close()
    assert torch.equal(twin(normal(32, 64)), model(normal(32, 64)))


def test_nothing_is_left_behind():
    """By close, also after an error in the model."""

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.fails = nn.Linear(32, 32), False

        def forward(self, x):
            y = self.inner(x)
            if self.fails:
                raise RuntimeError("no more")
            return y

    for rules in (PLAIN, "mxfp8"):
        model = Fails() if rules is None else quantize_(Fails(), rules)
        before = {name: dict(module.__dict__) for name, module in model.named_modules()}
        model.fails = True
        with pytest.raises(RuntimeError, match="no more"), watch(model, every=1, what_if="mxfp4") as probe:
            model(normal(32, 32))
        model.fails = False
        assert not torch.overrides._get_current_function_mode_stack()
        for name, module in model.named_modules():
            assert set(module.__dict__) == set(before[name])
            assert not [h for h in module._forward_hooks.values() if type(h).__module__.endswith("probes")]
        assert len(probe.rows()) > 0
        count = len(probe.rows())
        model(normal(32, 32))
        assert len(probe.rows()) == count


def test_no_tensor_is_kept_after_its_step():
    import gc
    import weakref

    model = quantize_(mlp(64), "mxfp8")
    with watch(model, every=2, what_if="mxfp4", products=True) as probe:
        x = normal(32, 64)
        kept = weakref.ref(x)
        loss = model(x).sum()
        loss.backward()
        del x
        gc.collect()
        assert kept() is None
        assert loss.grad_fn is not None
        advance_(model)
        model(normal(32, 64))
        assert not any(isinstance(value, torch.Tensor) for row in probe.rows() for value in row.values())


def test_dequantize_and_quantize_while_watched():
    """A model that is taken back is asked about formats only; one that is wrapped again is recorded again."""
    model = quantize_(mlp(64), "mxfp8")
    with watch(model, every=1, what_if="mxfp4", tensors="fprop_w") as probe:
        for change in (lambda: None, lambda: dequantize_(model), lambda: quantize_(model, "nvfp4")):
            change()
            model(normal(32, 64))
            advance_(model)
    table = probe.frame()
    assert [(row.step, row.recipe) for row in table[table["layer"] == "0"].itertuples()] == [
        (0, "mxfp8"), (0, ""), (1, ""), (2, "nvfp4"), (2, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(("rules", "way"), [("nvfp4", "module"), ("mxfp8", "in place"), (PLAIN, "module")])
def test_compiled(rules, way):
    """Sampled steps run without the compiler, the others compile nothing anew, all with the same bits."""
    torch._dynamo.reset()
    found, counts = [], []
    for watched in (False, True):
        torch.manual_seed(0)
        model = small() if rules is None else quantize_(small(), rules)
        frames = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        called = torch.compile(model, backend=frames) if way == "module" else model
        if way == "in place":
            model.compile(backend=frames)
        probe = watch(called, every=2, what_if="mxfp4", tensors=("fprop_w", "weight_gradient")) if watched else None
        results = []
        for k in range(4):
            called.zero_grad()
            with torch._dynamo.config.patch(error_on_recompile=k > 1):
                y = called(normal(32, 64, seed=k))
            y.square().sum().backward()
            results += [y.detach(), *(p.grad for p in model.parameters())]
            advance_(called)
        found.append(results)
        if probe:
            probe.close()
            assert set(probe.frame()["step"]) == {0, 2}
            with torch._dynamo.config.patch(error_on_recompile=True):
                called(normal(32, 64))
        counts.append(frames.frame_count)
    assert counts == [1, 1]
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_a_compiled_function_that_calls_the_model():
    """Its hooks are compiled with it; `step` says when a step begins."""
    torch._dynamo.reset()
    model = quantize_(mlp(64), "mxfp8")

    @torch.compile(backend="aot_eager")
    def loss_of(x):
        return model(x).square().mean()

    with watch(model, every=2, tensors="fprop_w") as probe:
        for k in range(4):
            probe.step()
            loss_of(normal(32, 64, seed=k)).backward()
            advance_(model)
    assert set(probe.frame()["step"]) == {0, 2}


def test_tensorboard(monkeypatch, tmp_path):
    class Writer:
        def __init__(self):
            self.scalars, self.histograms = [], []

        def add_scalar(self, name, value, step):
            self.scalars.append((name, value, step))

        def add_histogram_raw(self, name, **how):
            self.histograms.append((name, how))

        def flush(self):
            pass

    model, writer = quantize_(nn.Sequential(nn.Linear(64, 64)), "mxfp8"), Writer()
    with watch(model, every=1) as probe:
        for _ in range(2):
            model(normal(32, 64))
            advance_(model)
            probe.to_tensorboard(writer)
    names = [(name, step) for name, _, step in writer.scalars]
    assert ("0/fprop_w/mxfp8_e4m3/sqnr_db", 0) in names
    assert len(set(names)) == len(names)
    name, how = writer.histograms[0]
    assert name == "0/fprop_x/mxfp8_e4m3/scale_exponents"
    assert how["num"] == sum(how["bucket_counts"]) == 32 * 2
    assert len(how["bucket_limits"]) == len(how["bucket_counts"])
    monkeypatch.setattr("halfulp.sim.probes.torch_tensorboard.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        probe.to_tensorboard(tmp_path)


def test_pictures(tmp_path):
    model = quantize_(mlp(64), "mxfp8")
    with watch(model, every=1, what_if=["mxfp4", "nvfp4"]) as probe:
        for k in range(3):
            model(normal(32, 64, seed=k)).square().mean().backward()
            advance_(model)
    figure = probe.plot(path=tmp_path / "steps.png")
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["0", "2"]
    assert "dB" in figure.axes[0].get_ylabel()
    assert (tmp_path / "steps.png").stat().st_size > 1000
    ratio = probe.plot(number="gradient_to_noise", tensor="weight_gradient")
    assert len(ratio.axes[0].get_lines()) == 3
    grid = probe.plot("formats", step=1)
    assert [t.get_text() for t in grid.axes[0].get_xticklabels()] == ["mxfp8_e4m3 (in use)", "mxfp4", "nvfp4"]
    assert "nvfp4" in probe.plot(format="nvfp4").axes[0].get_title()
    for how, message in (
        ({"kind": "layers"}, "unknown kind 'layers'"),
        ({"number": "snr"}, "did you mean 'sqnr_db'"),
        ({"tensor": "weight"}, "unknown tensor 'weight'"),
        ({"format": "nvfp"}, "did you mean 'nvfp4'"),
        ({"kind": "formats", "step": 7}, "step 7 was not recorded; expected one of 0, 1, 2"),
        ({"number": "gradient_cosine"}, "no finite gradient_cosine of fprop_w was recorded; there is one of"),
    ):
        with pytest.raises(ValueError, match=message):
            probe.plot(**how)


def test_errors():
    model = quantize_(mlp(64), "mxfp8")
    for arguments, kind, message in (
        (("model",), TypeError, "expected a torch.nn.Module, got str"),
        ((mlp(64),), ValueError, "nothing to watch: the model is not quantized"),
        ((model, {"every": 0}), ValueError, "every: expected a number of steps of 1 or more, got 0"),
        ((model, {"every": 2.5}), ValueError, "got 2.5"),
        ((model, {"what_if": "nvfp"}), ValueError, "what_if: unknown format 'nvfp'; did you mean 'nvfp4'"),
        ((model, {"what_if": ["quartet"]}), ValueError, r"'quartet' is a recipe; write hu.recipe\('quartet'\)"),
        ((model, {"what_if": [4]}), TypeError, "what_if: expected names of formats, quantizers or recipes, got 4"),
        ((model, {"what_if": ["phase"]}), ValueError, "what_if: phase is a format of complex numbers"),
        ((model, {"what_if": [recipe("lsq")]}), ValueError, "lsq keeps learned scales from step to step"),
        ((model, {"tensors": "weights"}), ValueError, "unknown tensor 'weights'"),
        ((model, {"tensors": []}), ValueError, "tensors: expected one or more of"),
        ((model, {"layers": "layers.*"}), ValueError, "layers= matches none of 0, 2"),
    ):
        with pytest.raises(kind, match=message):
            watch(arguments[0], **(arguments[1] if len(arguments) > 1 else {}))
    with watch(model) as probe:
        with pytest.raises(ValueError, match="the model is watched already; close that probe first"):
            watch(model)
        with pytest.raises(ValueError, match="nothing was recorded: run a forward pass"):
            probe.plot()
    probe.close()
    assert probe.closed
    assert probe.frame().empty
    with pytest.raises(RuntimeError, match="the probe is closed; call hu.watch"):
        probe.step()
    with pytest.raises(RuntimeError, match="the probe is closed"), probe:
        pass
    watch(model).close()
