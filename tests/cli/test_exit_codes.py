"""Every failure has the exit code that scripts were promised, and is one line.

Guarded: an exception that reaches the user as a traceback, or with another code than the one that
``docs/cli.md`` gives it.
"""

from __future__ import annotations

import errno

import pytest

from pageann import errors
from tests.reference.exact_index import ExactLibrary
from tests.reference.program import Program

MISTAKE, DAMAGED, ENVIRONMENT, INTERRUPTED = 2, 3, 4, 130

FAILURES = [
    (errors.InvalidArgument("memory='x' is not a size"), MISTAKE),
    (errors.InvalidData("row 3 holds NaN"), MISTAKE),
    (errors.UnknownId("id 9 is not in the index"), MISTAKE),
    (errors.BudgetTooSmall("give at least 3 MiB", 3 << 20), MISTAKE),
    (errors.IndexNotFound("no index at some.pageann"), MISTAKE),
    (errors.IndexExists("some.pageann is not an index"), MISTAKE),
    (errors.FormatTooNew("written by a newer version"), MISTAKE),
    (errors.IndexClosed("the index was closed"), MISTAKE),
    (errors.DeadlineUnserved("no answer by then"), MISTAKE),
    (errors.DamagedIndex("pages.bin: page 7 is damaged", "pages.bin", 7), DAMAGED),
    (errors.IndexLocked("another builder, process 17", 17), ENVIRONMENT),
    (errors.Overloaded("the queue is full", 0.5), ENVIRONMENT),
    (errors.ServiceUnavailable("host:1: nobody answers"), ENVIRONMENT),
    (errors.ServiceError("host:1: nonsense"), ENVIRONMENT),
    (errors.Unauthenticated("give a key"), MISTAKE),
    (errors.PermissionRefused("needs a key of an admin"), MISTAKE),
    (errors.StorageError("disk full", errno.ENOSPC), ENVIRONMENT),
    (errors.MissingDependency("pip install pageann[hdf5]"), ENVIRONMENT),
    (OSError(errno.ENOSPC, "No space left on device", "out.npy"), ENVIRONMENT),
    (PermissionError(errno.EACCES, "Permission denied", "out.npy"), ENVIRONMENT),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "out.npy"), MISTAKE),
    (MemoryError(), ENVIRONMENT),
]


@pytest.mark.parametrize(("failure", "code"), FAILURES, ids=lambda each: type(each).__name__)
def test_failure(program: Program, library: ExactLibrary, failure: Exception, code: int) -> None:
    library.failure = failure
    outcome = program("inspect", "some.pageann")
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.startswith("pageann: error: ")
    assert outcome.err.count("\n") == 1
    words = failure.filename if type(failure).__module__ == "builtins" and str(failure) else str(failure)
    assert words in outcome.err


def test_every_error_of_the_tree_has_a_code_here() -> None:
    tested = {type(failure) for failure, _ in FAILURES}
    tree = {getattr(errors, name) for name in errors.__all__} - {errors.PageANNError, errors.BuildCancelled}
    assert tree <= tested


def test_interrupt(program: Program, library: ExactLibrary) -> None:
    library.failure = KeyboardInterrupt()
    outcome = program("inspect", "some.pageann")
    assert (outcome.code, outcome.err) == (INTERRUPTED, "pageann: interrupted\n")


def test_a_fault_of_the_program_is_not_hidden(program: Program, library: ExactLibrary) -> None:
    library.failure = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        program("inspect", "some.pageann")


def test_a_message_of_several_lines_becomes_one(program: Program, library: ExactLibrary) -> None:
    library.failure = errors.InvalidData("first\n  second")
    assert program("inspect", "some.pageann").err == "pageann: error: first second\n"
