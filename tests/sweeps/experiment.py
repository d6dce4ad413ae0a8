"""Functions to sweep, in a module that worker processes import."""

import os
import signal
import time
from pathlib import Path


def square(config):
    """Some numbers, a curve and text, at once."""
    x = config["x"]
    return {
        "loss": (x - 3) ** 2 / 7,
        "name": f"run {x}",
        "good": x > 2,
        "nothing": None,
        "curve": [x / 3, float("nan")],
    }


def moody(config):
    """Fails at 1, and at 2 but for the third time, by a file that counts."""
    if config["x"] == 1:
        raise ValueError("no ones,\nplease")
    if config["x"] == 2:
        count = Path(config["folder"]) / "count"
        with count.open("a") as file:
            file.write("x")
        if count.stat().st_size < 3:
            raise RuntimeError("not yet")
    return {"y": config["x"]}


def crash(config):
    """Kills its process at 3, always, and at 5, the first time."""
    if config["x"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    first = Path(config["folder"]) / "first"
    if config["x"] == 5 and not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": config["x"]}


def threads(config):
    """How many threads libraries take here."""
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    return {
        "most": max((each["num_threads"] for each in threadpool_info()), default=1),
        "omp": os.environ["OMP_NUM_THREADS"],
    }


def slow(config):
    """Tells its process and takes a moment."""
    Path(config["folder"], str(config["x"])).write_text(str(os.getpid()))
    time.sleep(config["seconds"])
    return {"y": config["x"] ** 2}
