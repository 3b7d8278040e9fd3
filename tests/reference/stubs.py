"""Generates the gRPC stubs from the protocol: ``python -m tests.reference.stubs`` writes them into server/v1.

The protocol is compiled under the path that it has in an installation, so that the stubs import each
other as ``pageann.server.v1``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["HOME", "NAMES", "generate"]

HOME = Path(__file__).parents[2] / "server" / "v1"
NAMES = ("pageann_pb2.py", "pageann_pb2.pyi", "pageann_pb2_grpc.py")
PROTOCOL = "pageann/server/v1/pageann.proto"


def generate(target: Path) -> None:
    """Write the three files of :data:`NAMES` into the folder ``target``."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, PROTOCOL)
        source.parent.mkdir(parents=True)
        shutil.copy(HOME / source.name, source)
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", *outputs, PROTOCOL]
        subprocess.run(command, check=True)
        for name in NAMES:
            shutil.copy(source.with_name(name), target / name)


if __name__ == "__main__":
    generate(HOME)
