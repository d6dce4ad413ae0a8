"""What tells one version of a function from another."""

from halfulp.sim.sweeps.provenance import source_hash

MODULE = """
STEPS = 3
SIZES = (1, 2)
TABLE = [1]
calls = 0

def helper(x):
    return deeper(x) * 2

def deeper(x):
    return helper(x - 1) if x > STEPS else x

def train(config, rate=STEPS):
    global calls
    calls += 1
    return {"y": [helper(k) for k in SIZES] + TABLE, "file": __file__, "again": train}
"""


def hash_of(**names):
    made = {"__name__": "experiment", "__file__": "a.py"}
    source = MODULE
    for old, new in names.values():
        assert old in source
        source = source.replace(old, new)
    exec(source, made)
    return source_hash(made["train"]), made


def test_constants_and_functions_of_the_module_count():
    usual, made = hash_of()
    made["calls"] = 7  # what the function writes itself
    made["TABLE"].append(2)  # what anyone may change
    made["__file__"] = "b.py"
    assert source_hash(made["train"]) == usual == hash_of()[0]
    assert hash_of(size=("(1, 2)", "(1, 3)"))[0] != usual
    assert hash_of(helper=("* 2", "* 3"))[0] != usual
    assert hash_of(deeper=("x - 1", "x - 2"))[0] != usual
    assert hash_of(default=("rate=STEPS", "rate=STEPS + 1"))[0] != usual
    assert hash_of(deep_constant=("STEPS = 3", "STEPS = 4"))[0] != usual


def test_functions_of_other_modules_do_not():
    usual, made = hash_of()
    made["helper"].__module__ = "another"
    assert source_hash(made["train"]) != usual
    made["deeper"].__code__ = made["train"].__code__
    one = source_hash(made["train"])
    made["helper"].__code__ = made["train"].__code__
    assert source_hash(made["train"]) == one
