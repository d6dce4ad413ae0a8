"""What wrapping promises around the products: names, ties, copies, files, steps, resumption, messages."""

import copy
import io
import pickle

import halfulp as hu
import pytest
import torch
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import Recipe
from halfulp.sim.wrapping.wrapping import (
    advance_,
    after_step_,
    check_finite,
    dequantize_,
    extra_parameters,
    load_state_dict,
    quantize_,
    state_dict,
)
from torch import nn
from torch.utils.checkpoint import checkpoint

from .wrapped import EXACT, MXFP4, SR, Attention, Cnn, layer, mlp, normal, one_thread, step_of  # noqa: F401

NOISY = Recipe("noisy", fprop_x=Quantizer("mxfp4", rounding="stochastic"), wgrad_e=Quantizer("mxfp4", rounding="stochastic"))  # fmt: skip


def same(found, want):
    return len(found) == len(want) and all(torch.equal(a, b) for a, b in zip(found, want) if b is not None)


class Tied(nn.Module):
    """An embedding whose weight is the head's."""

    def __init__(self):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(50, 32), nn.Linear(32, 32), nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, rows):
        return self.head(self.body(self.embed(rows)).relu())


class Again(nn.Module):
    """One layer, three times; with checkpointing or without."""

    def __init__(self):
        super().__init__()
        self.inner, self.how = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)), None

    def forward(self, x):
        for _ in range(3):
            x = x + (
                self.inner(x) if self.how is None else checkpoint(self.inner, x, use_reentrant=self.how == "reentrant")
            )
        return x


class Whole(nn.Module):
    """A model that is recomputed as a whole."""

    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


def test_tied_weights_stay_tied():
    torch.manual_seed(0)
    model, rows = Tied(), torch.arange(32)
    quantize_(model, MXFP4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(rows).square().mean().backward()
    optimizer.step()
    for found in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), dequantize_(copy.deepcopy(model))):
        assert found.head.weight is found.embed.weight
        assert len(list(found.parameters())) == 3
    loaded = Tied()
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded.head.weight, model.head.weight)


def test_a_module_under_two_names():
    shared = nn.Linear(32, 32)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Linear(32, 32)})
    with pytest.raises(ValueError, match="a and b are one module, but rules give it two recipes"):
        quantize_(model, [("a", "mxfp4"), ("*", "mxfp8")])
    quantize_(model, [("[ab]", "mxfp4"), ("*", "mxfp8")])
    assert model["a"] is model["b"]
    assert model["a"]._halfulp_recipe.name == "mxfp4"


@pytest.mark.parametrize("name", ["fp8_delayed", "lsq", "nvfp4"])
def test_copies_and_files(name):
    torch.manual_seed(0)
    model, x = quantize_(mlp(), recipe(name), seed=7), normal(32, 64)
    model.train()
    step_of(model, [x])
    advance_(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)]
    want = step_of(model, [x])
    single = quantize_(nn.Linear(64, 64), recipe(name))  # whose root is the layer itself
    assert same(step_of(pickle.loads(pickle.dumps(single)), [x]), step_of(copy.deepcopy(single), [x]))
    for found in copies:
        assert same(step_of(found, [x]), want)
        advance_(found)
        assert type(dequantize_(found)[0]) is nn.Linear
    advance_(model)
    state = io.BytesIO()
    torch.save(state_dict(model), state)
    state.seek(0)
    fresh = quantize_(mlp(), recipe(name))
    fresh.load_state_dict(model.state_dict())
    load_state_dict(fresh, torch.load(state))
    assert same(step_of(fresh, [x]), step_of(model, [x]))


def test_repr_and_types():
    model = quantize_(mlp(), [("0", "mxfp4"), ("2", "identity")])
    assert "(0): QuantizedLinear(in_features=64, out_features=64, bias=True, recipe='mxfp4')" in repr(model)
    assert isinstance(model[0], nn.Linear)
    assert type(model[2]) is nn.Linear


@pytest.mark.parametrize("name", ["fp8_delayed", "lsq", "mxfp4_sr_rht", "four_bit_cnn", "scheduled"])
def test_a_resumed_run_equals_an_uninterrupted_one(name):
    """Bit for bit: weights, momentum and what the wrapping carries."""
    given = MXFP4.with_(schedule=((3, NOISY),)) if name == "scheduled" else recipe(name)

    def start():
        torch.manual_seed(0)
        model = quantize_(mlp(), given, seed=1)
        return model, torch.optim.SGD([*model.parameters(), *extra_parameters(model)], 0.05, momentum=0.9)

    def run(model, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            (model(normal(64, 64, seed=step)) - 1).square().mean().backward()
            optimizer.step()
            advance_(model)
            with torch.no_grad():
                model.eval()(normal(3, 64))  # looking at the model changes nothing
            model.train()

    whole, optimizer = start()
    run(whole, optimizer, range(6))
    first, optimizer = start()
    run(first, optimizer, range(2))
    saved = copy.deepcopy((first.state_dict(), state_dict(first), optimizer.state_dict()))
    second, optimizer = start()
    with torch.no_grad():
        second(normal(2, 64))  # whatever the new process did before
    second.load_state_dict(saved[0])
    load_state_dict(second, saved[1])
    optimizer.load_state_dict(saved[2])
    run(second, optimizer, range(2, 6))
    assert same(list(second.state_dict().values()), list(whole.state_dict().values()))
    assert same(list(state_dict(second).values()), list(state_dict(whole).values()))


def test_states_of_other_recipes_are_refused():
    model = quantize_(mlp(), "fp8_delayed")
    with pytest.raises(ValueError, match="2 entries are missing .*'0.history', '0.seen'"):
        load_state_dict(model, {k: v for k, v in state_dict(model).items() if not (k.startswith("0.") and k[2] in "hs" and k[3] in "ie" and k != "0.seed")})  # fmt: skip
    with pytest.raises(ValueError, match="4 are not known"):
        load_state_dict(quantize_(mlp(), "mxfp8"), state_dict(model))
    other = quantize_(mlp(), recipe("fp8_delayed").with_(fprop_x=Quantizer("fp8_e4m3_per_tensor", scaling={"name": "delayed", "history": 20})))  # fmt: skip
    with pytest.raises(ValueError, match=r"0.history: expected shape \(1, 6, 20\), got \(1, 6, 16\)"):
        load_state_dict(other, state_dict(model))


def test_delayed_scales_are_those_of_the_history():
    """In force one step later, the largest of the last steps; in eval mode nothing is recorded; overflow is not."""
    torch.manual_seed(0)
    model, fmt = nn.Linear(8, 4, bias=False), "fp8_e4m3_per_tensor"
    weight = model.weight.detach().clone()
    delayed = Quantizer(fmt, scaling={"name": "delayed", "history": 2})
    quantize_(model, Recipe(fprop_x=delayed))
    xs = [normal(4, 8, seed=k) * 2.0**k for k in (3, 1, 0, 2)]
    past = []
    for x in xs:
        for part in x.split(2):  # two forward passes a step
            amax = {"amax": max(past[-2:])} if past else {}
            assert torch.equal(model(part), hu.quantize(part, fmt, **amax) @ weight.T)
        model.eval()(100 * x)
        model.train()
        with torch.no_grad():
            model(torch.full((1, 8), torch.inf))
        past.append(float(x.abs().max()))
        advance_(model)
    assert model._halfulp_history[0, 0].tolist() == [past[-1], past[-2]]


def test_learned_steps_begin_at_lsq_s_and_are_trained():
    torch.manual_seed(0)
    model, x = mlp(), normal(64, 64)
    weight = model[0].weight.detach().clone()
    quantize_(model, "lsq")
    (sizes, _) = extra_parameters(model)
    assert sizes.tolist() == [[0, 0]]
    assert len(list(model.parameters())) == 4
    optimizer = torch.optim.SGD(extra_parameters(model), 0.01)
    model(x).square().sum().backward()
    first = sizes.detach().clone()
    assert first[0, 0] == pytest.approx(float(2 * x.abs().mean() / 127**0.5))
    assert first[0, 1] == pytest.approx(float(2 * weight.abs().mean() / 7**0.5))
    assert (sizes.grad != 0).all()
    optimizer.step()
    assert (sizes.detach() != first).all()
    model.to(torch.float64)
    assert extra_parameters(model)[0] is sizes
    assert sizes.is_leaf
    assert sizes.dtype == sizes.grad.dtype == torch.float64
    model(x.double()).sum().backward()


def test_schedules_switch_where_they_say():
    given = EXACT.with_(schedule=((2, recipe("mxfp8")), (3, recipe("identity"))))
    model, x = nn.Linear(32, 32), normal(32, 32)
    plain, low = model(x), hu.quantize(x, "mxfp8") @ hu.quantize(model.weight.detach(), "mxfp8").T + model.bias
    quantize_(model, given)
    for want in (plain, plain, low, plain, plain):
        assert torch.allclose(model(x), want, atol=1e-6)
        advance_(model)


def test_tanh_after_every_step():
    torch.manual_seed(0)
    model = quantize_(Cnn(), recipe("four_bit_cnn"))
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    advance_(model)
    for name, p in model.named_parameters():
        inside = p.dim() > 1 and "norm" not in name
        assert torch.equal(p, 3 * torch.tanh(start[name] / 3) if inside else start[name])
    attention = quantize_(nn.MultiheadAttention(4, 2), recipe("four_bit_cnn").with_(pad=True))
    projection = attention.out_proj.weight.detach().clone()
    advance_(attention)
    assert torch.equal(attention.out_proj.weight, 3 * torch.tanh(projection / 3))
    tied = quantize_(Tied(), Recipe(fprop_w=Quantizer("int8_per_tensor"), after_step="tanh:1"))
    before = tied.head.weight.detach().clone()
    after_step_(tied)
    assert torch.equal(tied.head.weight, torch.tanh(before))  # once, though two layers have it


def test_each_layer_call_and_step_has_its_own_noise():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))
    model[1].load_state_dict(model[0].state_dict())
    quantize_(model, NOISY, seed=5)
    x = normal(32, 32)
    alone = model[0](x)
    assert torch.equal(alone, model[0](x))  # outside of the model's forward every call is the first
    assert not torch.equal(alone, model[1](x))
    again = quantize_(nn.Sequential(nn.Linear(32, 32)), NOISY, seed=5)
    again[0].load_state_dict(model[0].state_dict())
    assert torch.equal(alone, again[0](x))  # the name and the seed decide
    assert not torch.equal(alone, quantize_(dequantize_(again), NOISY, seed=6)[0](x))
    advance_(model)
    assert not torch.equal(alone, model[0](x))
    outputs = []
    several = quantize_(Again(), NOISY)
    several.inner.register_forward_hook(lambda module, args, output: outputs.append(output) or args[0] * 0)
    several(x := normal(64, 64))
    several(x)
    assert not torch.equal(outputs[0], outputs[1])
    assert same(outputs[:3], outputs[3:])


@pytest.mark.parametrize("how", ["reentrant", "new"])
def test_checkpointing_recomputes_the_same_noise(how):
    """Also of a layer that is called three times, each in a region of its own."""
    torch.manual_seed(0)
    model, x = quantize_(Again(), SR), normal(64, 64)
    want = step_of(model, [x])
    model.how = how
    for _ in range(2):
        assert same(step_of(model, [x]), want)
    fresh = quantize_(dequantize_(copy.deepcopy(model)), SR)  # nothing known of several calls
    assert same(step_of(fresh, [x]), want)
    model.how = None
    whole = nn.Sequential(Whole(model, how == "reentrant"))
    assert same(step_of(whole, [x]), want)


def test_recomputation_that_cannot_be_told_is_refused():
    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(64, 64)

        def forward(self, x):
            return sum(checkpoint(self.inner, x, use_reentrant=False) for _ in range(2))

    model, x = quantize_(Same(), SR), normal(64, 64)
    model(x)
    with pytest.raises(
        RuntimeError, match="inner is called several times in a forward pass, and got the same input twice"
    ):
        model(x).sum().backward()
    double = quantize_(Again(), SR)
    double.how = "new"
    double(x)
    first, _ = double(x), double(x + 1)
    with pytest.raises(RuntimeError, match="got an input it had not got before"):
        first.sum().backward()


def test_autocast():
    """Factors are cast as autocast casts those of torch's own layers, and what is cast is quantized."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64, bias=False)), normal(32, 64)
    low = [t.detach().bfloat16() for t in (x, model[0].weight, model[0].bias)]
    quantize_(model, "mxfp8")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model[0](x)
        found = model(x)
    assert y.dtype == found.dtype == torch.bfloat16
    assert torch.equal(y, hu.quantize(low[0], "mxfp8") @ hu.quantize(low[1], "mxfp8").T + low[2])
    found.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dtypes_and_hooks():
    model, x = quantize_(mlp(), "nvfp4"), normal(32, 64)
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        model.to(dtype)
        assert model[0]._halfulp_step.dtype == torch.int64
        y = model(x.to(dtype))
        assert y.dtype == dtype
        y.float().square().mean().backward()
        model.zero_grad()
    assert len(seen) == 3
    dequantize_(model)(x.double())
    assert len(seen) == 4


def test_filter_fn():
    model = quantize_(mlp(), "mxfp8", lambda module, name: name != "2")
    assert [type(m).__name__ for m in model] == ["QuantizedLinear", "GELU", "Linear"]
    with pytest.raises(ValueError, match="filter_fn left nothing to quantize"):
        quantize_(mlp(), "mxfp8", lambda module, name: False)
    block = quantize_(Attention(), [("type:Attention", EXACT)], lambda module, name: name != "qkv")
    assert type(block.qkv).__name__ == "Linear"


def test_models_inside_of_others_keep_their_names():
    plain = quantize_(mlp(), NOISY)
    compiled = torch.compile(mlp(), backend="eager")
    compiled._orig_mod.load_state_dict(plain.state_dict())
    assert quantize_(compiled, NOISY) is compiled
    assert torch.equal(compiled._orig_mod(normal(32, 64)), plain(normal(32, 64)))
    assert list(state_dict(compiled)) == list(state_dict(plain))
    dequantize_(compiled)


def test_what_cannot_be_wrapped():
    twice = quantize_(mlp(), "mxfp8")
    lazy, meta, replaced = nn.LazyLinear(3), nn.Linear(2, 2, device="meta"), mlp()
    replaced[0].forward = lambda x: x
    for model, rules, message in (
        (twice, "mxfp4", r"quantized already \(0 by 'mxfp8'\); call hu.dequantize_\(model\) first"),
        (nn.Sequential(nn.ReLU()), "mxfp4", r"rule 1 '\*' matched nothing that can be quantized: the model"),
        (nn.Sequential(nn.Bilinear(2, 2, 2), nn.Linear(2, 2)), [("0", "mxfp4"), ("1", "mxfp4")], r"rule 1 '0' matched nothing .*0 \(Bilinear\)"),
        (nn.Linear(5, 4), "ifairy", "ifairy has complex weights, and this Linear has no widely-linear view"),
        (Tied(), "ifairy", "embed: ifairy has complex weights, and this Embedding .*a rule .'embed', 'identity'"),
        (lazy, "mxfp4", "this LazyLinear has no sizes yet"),
        (meta, "mxfp4", "its parameters are on the meta device"),
        (replaced, "mxfp4", "0: the forward of this Linear was replaced on the object"),
        (nn.Sequential(Attention()), [("type:Attention", "lsq")], "how many products this Attention has is not known"),
        (mlp(), [("3", "mxfp4")], "rule 1 '3' matched no module"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            quantize_(model, rules)
    assert type(replaced[2]) is nn.Linear  # nothing was changed
    with pytest.raises(TypeError, match="expected a torch.nn.Module, got function"):
        quantize_(normal, "mxfp4")
    for seed in (-1, 1 << 64, 0.5, True):
        with pytest.raises(ValueError, match="expected a seed from 0"):
            quantize_(mlp(), "mxfp8", seed=seed)


def test_the_identity_runs_through_the_same_loop():
    model = quantize_(mlp(), "identity")
    assert dequantize_(model) is model
    assert state_dict(model) == {}
    assert extra_parameters(model) == []
    load_state_dict(model, {})
    advance_(model)
    with pytest.raises(ValueError, match="1 are not known .'0.step'"):
        load_state_dict(model, {"0.step": torch.tensor(1)})


def test_blocks_that_do_not_divide():
    """The message names the layer, the operand, its axis and block, and what to write."""
    model = quantize_(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 50)), "mxfp4")
    with torch.no_grad():
        assert model(normal(3, 64)).shape == (3, 50)  # forward contracts over 64 only
    with pytest.raises(ValueError, match=r"0: wgrad_e has blocks of 32 elements \(mxfp4\) along axis -2, and its 3 tokens are no multiple of 32; give the recipe pad=True \(recipe.with_\(pad=True\)\)"):  # fmt: skip
        model(normal(3, 64))
    with pytest.raises(
        ValueError, match=r"1: dgrad_e has blocks of 32 elements \(mxfp4\) along axis -1, and its 50 outputs"
    ):
        model(normal(32, 64))
    whole = quantize_(nn.Linear(48, 64), SR.with_(pad=False))
    with pytest.raises(
        ValueError, match=r"Linear: wgrad_e has blocks of 64 elements \(rht64\) along axis -2, and its 32 tokens"
    ):
        whole(normal(32, 48))
    with pytest.raises(ValueError, match="inner.0: wgrad_e has blocks"):
        quantize_(Again(), "mxfp4")(normal(3, 64))


def test_losses_that_are_not_finite():
    model = quantize_(mlp(), "mxfp8")
    x = normal(32, 64)
    loss = model(x).sum()
    assert check_finite(loss, model) is loss
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    for inputs, message in (
        ((), "pass the model's inputs too"),
        ((x,), r"outputs of, in their order 2 \(QuantizedLinear\)"),
    ):
        with pytest.raises(FloatingPointError, match=f"the loss is nan; not finite: parameters 2.weight; .*{message}"):
            check_finite(model(x).sum(), model, *inputs)
    step = model[0]._halfulp_step.clone()
    model[2].weight.data.zero_()
    model[0].weight.grad = torch.full((64, 64), torch.inf)
    with pytest.raises(FloatingPointError, match="the loss is inf; .*gradients of 0.weight"):
        check_finite(torch.tensor(torch.inf), model)
    assert torch.equal(step, model[0]._halfulp_step)


def test_attention_counts_its_products_across_calls():
    """Six products of one call, and those of the next, all draw other words."""
    model, (x,) = layer("attention_masked")
    noisy = MXFP4.with_(fprop_x=Quantizer("mxfp4", rounding="stochastic"))
    quantize_(model, noisy)
    first = model(x)[0]
    assert model.inner._halfulp_calls == -1
    assert torch.equal(first, model(x)[0])
    advance_(model)
    assert not torch.equal(first, model(x)[0])


def test_transformers():
    import transformers

    config = transformers.GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    rows = torch.arange(32).reshape(1, 32)
    want = model(rows).logits
    keys = list(model.state_dict())
    quantize_(model, [("*.wpe", "identity"), ("*", MXFP4)])
    assert list(model.state_dict()) == keys
    found = model(rows, labels=rows)
    assert not torch.equal(found.logits, want)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    found.loss.backward()
    torch.optim.SGD(model.parameters(), 0.5).step()
    assert [name for name, p in model.named_parameters() if torch.equal(p, start[name])] == []
    assert model.lm_head.weight is model.transformer.wte.weight
    dequantize_(model)
    model.load_state_dict(dict(start), strict=False)
    assert torch.equal(model(rows).logits, want)
