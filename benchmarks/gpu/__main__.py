"""Check and time the kernels on this machine's GPU, and write the record benchmarks/gpu/<machine>.md.

    python -m benchmarks.gpu                check, time, record
    python -m benchmarks.gpu --only check   check and print; nothing is recorded

Exit codes: 0 all results equal; 1 some differ (the record says which); 3 no GPU or no package to use it with.
"""

import argparse
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent
NO_GPU = 3
NEEDED = ("numpy", "numba", "ml_dtypes", "torch", "triton")


def obstacle() -> str | None:
    """What keeps the GPU from being used, and what to do."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return (
            f"{sys.executable} lacks {', '.join(missing)}. Install them there (a CUDA build of torch, 2.11 or later, "
            "brings triton), or name another interpreter: make gpu-check GPU_PYTHON=/path/to/python"
        )
    import torch

    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} of {sys.executable} was built without CUDA. Name an interpreter whose torch "
            "was built with it: make gpu-check GPU_PYTHON=/path/to/python"
        )
    if not torch.cuda.is_available():
        return "torch finds no GPU here: run this on a machine with an NVIDIA GPU whose driver `nvidia-smi` shows"
    return None


def versions() -> str:
    """What ran."""
    import halfulp
    import torch

    found = [f"halfulp {halfulp.__version__}"]
    for name in (*NEEDED, "jax"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    capability = ".".join(map(str, torch.cuda.get_device_capability()))
    return (
        f"{torch.cuda.get_device_name()}, compute capability {capability}; CUDA {torch.version.cuda}; "
        f"Python {platform.python_version()}; {', '.join(found)}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("check", "speed"), help="one of the two parts; nothing is recorded")
    options = parser.parse_args()
    reason = obstacle()
    if reason is not None:
        print(f"No GPU to check: {reason}", file=sys.stderr)
        return NO_GPU
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX leaves the others room
    import torch

    from . import check, speed

    name, device = torch.cuda.get_device_name(), torch.device("cuda", torch.cuda.current_device())
    parts, wrong = [f"# {name}\n\n{versions()}"], 0
    if options.only != "speed":
        results = check.run(device)
        wrong = sum(result.wrong for result in results)
        parts.append(check.table(results))
    if options.only != "check":
        parts.append(speed.table(speed.run(device), speed.host_microseconds(device), speed.products(device)))
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.only is None:
        path = FOLDER / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.md"
        path.write_text(text)
        print(f"written to {path}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
