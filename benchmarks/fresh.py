"""What only a fresh process shows: the first call, the peak of memory, the import.

python -m benchmarks.fresh LIBRARY TASK SIZE     print {"first": seconds, "memory": share of the input or null}
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .timing import Call

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_ROOT = Path(__file__).resolve().parents[1]


def peak_growth(call: Call) -> int | None:
    """Bytes by which the resident memory grows at most during a call; None where the system does not say.

    Linux resets the peak when 5 is written to clear_refs. Free memory that malloc keeps would hide what a
    call takes of it, so it is given back first; JAX drops earlier results a moment late, in another thread.
    """
    time.sleep(0.1)
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5")
    except (OSError, AttributeError):
        return None
    before = _kilobytes("VmRSS")
    result = call()
    peak = _kilobytes("VmHWM")
    del result
    return max(0, peak - before) * 1024


def _kilobytes(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def probe(library: str, task: str, size: int) -> dict[str, float | None]:
    """First call and memory of a row, in this process."""
    from .arrays import array_of
    from .rows import row_named

    row = row_named(library, task)
    call = row.call(size)
    began = time.perf_counter()
    call()
    first = time.perf_counter() - began
    call()
    growth, given = peak_growth(call), array_of(size, row.task.dtype).nbytes
    return {"first": first, "memory": None if growth is None else growth / given}


def in_fresh_process(library: str, task: str, size: int, cache: str | None = None, limit: float = 120) -> Any:
    """What `probe` finds in a process of its own.

    Args:
        cache: folder for compiled code in place of the usual one; an empty one makes the process compile all.
        limit: seconds after which it is ended.

    Raises:
        RuntimeError: the process failed or took too long.
    """
    environment = {**os.environ, **({"NUMBA_CACHE_DIR": cache} if cache else {})}
    command = [sys.executable, "-m", "benchmarks.fresh", library, task, str(size)]
    return json.loads(_run(command, limit, environment).splitlines()[-1])


def import_seconds() -> float:
    """Seconds that `import halfulp` takes in a fresh process, its bytecode on disk."""
    program = "import time; began = time.perf_counter(); import halfulp; print(time.perf_counter() - began)"
    return float(_run([sys.executable, "-c", program], 60))


def _run(command: list[str], limit: float, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"a fresh process took more than {limit:g} s") from None
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    return done.stdout


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
