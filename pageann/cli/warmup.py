"""``pageann warmup``: compile the kernels before anyone waits for them."""

from __future__ import annotations

import argparse
import time

from pageann.cli.output import talk
from pageann.cli.parsing import Subparsers, add_command, comma_list

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Kernels are compiled on first use and kept on disk, once for a machine and a version of PageANN. This
command does it beforehand, for instance while a container image is built. The folder is the first that
can be written of $PAGEANN_CACHE_DIR, $XDG_CACHE_HOME/pageann and ~/.cache/pageann."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "warmup", "Compile the kernels beforehand.", _DESCRIPTION, run)
    parser.add_argument(
        "--dtype",
        type=comma_list(str),
        metavar="TYPE,...",
        help="element types to compile for: float32, float16, int8, uint8 (default: all)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compile."""
    import pageann
    from pageann.jit import cache_folder, quiet_compilation

    quiet_compilation()
    talk("compiling kernels; this can take a minute or two")
    start = time.monotonic()
    pageann.warmup(dtypes=arguments.dtype)
    talk(f"kernels are ready after {time.monotonic() - start:.1f} s, in {cache_folder()}")
    return 0
