"""Compile kernels with Numba, and keep what was compiled.

``@kernel`` is ``numba.njit(nogil=True)`` with a disk cache of our own. Numba's cache knows a
function by the modification time of its own file, so a changed callee in another file leaves stale
code behind, and it writes beside the sources, which may be read-only. Ours is one folder whose name
is a hash of every kernel source, of the versions and of the processor, in a place that can be
written. The first compilation of a process is announced on stderr.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

__all__ = ["FAST", "cache_folder", "cpu_features", "has_cpu_feature", "kernel", "quiet_compilation"]

Function = TypeVar("Function", bound=Callable[..., Any])

FAST = frozenset({"reassoc", "contract", "nsz", "arcp"})
"""Float rules for sums in kernels: the compiler may reorder them; NaN and infinity keep their meaning."""

_EXPECTED_SECONDS = 90
_announced = False


@functools.cache
def cpu_features() -> frozenset[str]:
    """Names of the instruction sets of this processor, as LLVM calls them."""
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def has_cpu_feature(*names: str) -> bool:
    """Whether this is an x86-64 processor with all of ``names``; LLVM aborts on an unknown instruction."""
    if os.environ.get("PAGEANN_PLAIN_KERNELS") == "1":
        return False
    return platform.machine() == "x86_64" and all(name in cpu_features() for name in names)


def _kernel_sources() -> list[Path]:
    import pageann.index.kernels
    import pageann.storage

    roots = [Path(next(iter(package.__path__))) for package in (pageann.index.kernels, pageann.storage)]
    files = {path for root in roots for path in root.rglob("*.py")}
    return sorted(files | {Path(__file__)}, key=lambda path: (path.parent.name, path.name))


@functools.cache
def source_stamp() -> str:
    """Hash of all that decides what machine code comes out."""
    digest = hashlib.sha256()
    for path in _kernel_sources():
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    facts = (numba.__version__, llvm.llvm_version_info, sys.version_info[:3], llvm.get_host_cpu_name())
    digest.update(repr(facts).encode())
    digest.update(",".join(sorted(cpu_features())).encode())
    digest.update(os.environ.get("PAGEANN_PLAIN_KERNELS", "").encode())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: the first of these that can be written.

    ``$PAGEANN_CACHE_DIR``, ``$XDG_CACHE_HOME/pageann``, ``~/.cache/pageann``, and a folder of this
    user's own under the system's temporary folder.
    """
    candidates = []
    if value := os.environ.get("PAGEANN_CACHE_DIR"):
        candidates.append(Path(value))
    if value := os.environ.get("XDG_CACHE_HOME"):
        candidates.append(Path(value) / "pageann")
    home = os.path.expanduser("~")
    if os.path.isabs(home):  # a user without an entry and without $HOME has none
        candidates.append(Path(home) / ".cache" / "pageann")
    shared = Path(tempfile.gettempdir()) / f"pageann-cache-{os.getuid()}"
    candidates.append(shared)
    for candidate in candidates:
        folder = candidate / f"kernels-{source_stamp()}"
        try:
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(exist_ok=True)
            owned = [shared, folder] if candidate is shared else [folder]
            if any(path.stat().st_uid != os.getuid() for path in owned):
                continue  # compiled code of another user is not to be trusted
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="pageann-cache-"))


class _Locator(_CacheLocator):  # type: ignore[misc]
    def __init__(self, line: int, file: str) -> None:
        self._line = line
        self._folder = Path(file).parent.name

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return source_stamp()

    def get_disambiguator(self) -> str:
        return f"{self._folder}-{self._line}"

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func.__code__.co_firstlineno, py_file)


class _CacheImplementation(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]


class _InnerCacheImplementation(_CacheImplementation):
    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return f"{super().get_filename_base(fullname, abiflags)}-inner"


class _Cache(FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheImplementation

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None:
            _announce()
        return found


class _InnerCache(_Cache):
    _impl_class = _InnerCacheImplementation


def quiet_compilation() -> None:
    """Do not announce compilation in this process (``warmup`` has a line of its own)."""
    global _announced
    _announced = True


def _announce() -> None:
    global _announced
    if not _announced:
        _announced = True
        print(
            f"pageann: compiling kernels, once for this machine (up to {_EXPECTED_SECONDS} s); "
            "`pageann warmup` does it beforehand",
            file=sys.stderr,
            flush=True,
        )


class _LazyCache:
    """Stands in for Numba's cache until the first call, so that importing a kernel reads no files."""

    def __init__(self, kind: type[_Cache], function: Any) -> None:
        self._kind = kind
        self._function = function
        self._cache: _Cache | None = None

    def _real(self) -> _Cache:
        if self._cache is None:
            self._cache = self._kind(self._function)
        return self._cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)


def kernel(function: Function | None = None, *, allocates: bool = False, **options: Any) -> Any:
    """Compile ``function`` without the GIL on first use, and keep the machine code on disk.

    A kernel that makes arrays says that it ``allocates``. No other counts references to the arrays that it
    is given: whoever called it holds them, and a view of a row, which kernels take everywhere, would cost
    two atomic operations on a number that all threads share. Other options are Numba's. Functions passed as
    arguments and ctypes pointers defeat the cache: use neither in a kernel.

    A kernel called by another is compiled by a dispatcher of its own, without the wrapper that takes
    Python's arguments: LLVM would optimise each with the whole kernel inlined into it, which takes a
    quarter of a cold start.
    """

    def decorate(target: Function) -> Any:
        if options.get("fastmath"):
            options["fastmath"] = set(options["fastmath"])
        settings = {
            "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": allocates, **options
        }  # fmt: skip
        dispatcher = numba.njit(**settings)(target)
        dispatcher._cache = _LazyCache(_Cache, target)

        @functools.cache
        def inner() -> Any:
            found = numba.njit(no_cpython_wrapper=True, **settings)(target)
            found._cache = _LazyCache(_InnerCache, target)
            return found

        dispatcher.get_call_template = lambda arguments, keywords: inner().get_call_template(
            arguments, keywords
        )
        dispatcher.get_overload = lambda signature: inner().get_overload(signature)
        return dispatcher

    return decorate if function is None else decorate(function)
