"""Rules on names and types: the first that matches wins, and none may be without effect. No framework is needed."""

import subprocess
import sys

import pytest
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.recipe import Recipe
from halfulp.sim.recipes.rules import Entry, Rule, around_of, resolved, rules_of

MODEL = [
    Entry("", ("Model",)),
    Entry("embed", ("Embedding",)),
    *(
        Entry(f"layers.{k}{name}", types)
        for k in range(11)
        for name, types in (("", ("Block",)), (".attn", ("Attention",)), (".attn.qkv", ("MyLinear", "Linear")))
    ),
    Entry("head", ("Linear",)),
]


def chosen(rules):
    """The number of the rule that each module gets, by name."""
    found = resolved(rules_of(rules), MODEL)
    return {entry.name: None if match is None else match.rule for entry, match in zip(MODEL, found)}


def named(rules):
    found = resolved(rules_of(rules), MODEL)
    return {entry.name for entry, match in zip(MODEL, found) if match is not None and match.named}


def test_the_first_rule_that_matches_wins():
    found = chosen([("layers.0.attn", "mxfp4"), ("type:Embedding", "identity"), ("*", "mxfp8")])
    assert found["layers.0.attn.qkv"] == found["layers.0.attn"] == 0
    assert found["embed"] == 1
    assert found["layers.1.attn.qkv"] == found["head"] == found["layers.0"] == 2
    assert chosen([("layers.*.attn", "mxfp4")])["head"] is None


def test_names_have_the_wildcards_of_a_shell():
    assert {name for name, k in chosen([("layers.[0-2]", "mxfp4")]).items() if k == 0} == {
        f"layers.{k}{part}" for k in range(3) for part in ("", ".attn", ".attn.qkv")
    }
    assert chosen([("layers.1?.attn", "mxfp4")])["layers.1.attn"] is None
    assert chosen([("layers.1?.attn", "mxfp4")])["layers.10.attn"] == 0
    assert chosen([("*.attn", "mxfp4")])["layers.3.attn.qkv"] == 0


def test_types_match_classes_that_are_derived():
    found = chosen([("type:MyLinear", "mxfp4"), ("type:Linear", "mxfp8")])
    assert found["layers.0.attn.qkv"] == 0
    assert found["head"] == 1
    assert chosen([("type:*Linear", "mxfp4")])["layers.0.attn.qkv"] == 0


def test_what_a_rule_names():
    """A type, or a last part without wildcards; not what is inside of it."""
    assert named([("layers.*.attn", "mxfp4")]) == {f"layers.{k}.attn" for k in range(11)}
    assert named([("type:Attention", "mxfp4")]) == {f"layers.{k}.attn" for k in range(11)}
    assert named([("layers.*", "mxfp4"), ("*", "mxfp8")]) == set()


def test_a_recipe_alone_is_a_rule_for_all():
    for given in ("mxfp4", recipe("mxfp4"), [("*", "mxfp4")], [Rule("*", "mxfp4")], Rule("*", "mxfp4")):
        assert rules_of(given) == (Rule("*", recipe("mxfp4")),)
    assert Rule("*", None).idle
    assert Rule("*", "identity").idle
    assert not Rule("*", Recipe(after_step="tanh:3")).idle


def test_rules_without_effect():
    for rules, message in (
        ([("*.head", "mxfp4")], r"rule 1 '\*\.head' matched no module; closest: 'head'"),
        ([("head", "mxfp4"), ("embed", None), ("layers.*.atn", "mxfp4")], "rule 3 'layers.*.atn' matched no module; closest: 'layers.0.attn'"),
        ([("type:Linaer", "mxfp4")], "rule 1 'type:Linaer' matched no module; closest: 'type:Linear'"),
        ([("type:1", "mxfp4")], "types: Model, Embedding, Block"),
        ([("*", "mxfp8"), ("head", "identity")], r"rule 2 'head' is never used: rule 1 '\*' comes before it"),
        ([("layers.0", "mxfp8"), ("*.attn", "mxfp4"), ("layers.0.attn", "int8")], "rule 3 'layers.0.attn' is never used: rule 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            resolved(rules_of(rules), MODEL)
    with pytest.raises(ValueError, match="modules: none but the model itself"):
        resolved(rules_of([("layer", "mxfp4")]), MODEL[:1])


def test_what_is_no_rule():
    for given, error, message in (
        (3, TypeError, "expected a recipe, its name, or a list"),
        ([], ValueError, "expected one rule or more"),
        (["mxfp4"], TypeError, "rule 1: expected a pair"),
        ([("*", "mxfp4"), ("head",)], TypeError, "rule 2: expected a pair"),
        ([("", "mxfp4")], ValueError, "expected a pattern"),
        ([("type:", "mxfp4")], ValueError, "expected a pattern"),
        ([(3, "mxfp4")], TypeError, "expected a pattern"),
        ([("*", "mxfp-4")], ValueError, "did you mean 'mxfp4'"),
        ("mxfp-4", ValueError, "did you mean 'mxfp4'"),
    ):
        with pytest.raises(error, match=message):
            rules_of(given)


def test_around_of():
    assert around_of("") == []
    assert around_of("a.b.c") == ["", "a", "a.b"]


def test_rules_and_the_front_import_no_framework():
    program = (
        "import sys, halfulp, halfulp.sim.recipes.rules, halfulp.sim.recipes.realizable, halfulp.sim.recipes.plan, halfulp.sim.wrapping.wrapping;"
        "found = {'torch', 'jax', 'pandas'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
