"""``pageann verify`` reports damage with code 1, and never any other way.

Guarded: damage so early (``CURRENT``, the manifest) that verifying itself fails, reported as a failure of
the program; a sound index reported in words that a script takes for damage.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

from pageann.errors import DamagedIndex, IndexNotFound
from tests.reference.exact_index import ExactLibrary
from tests.reference.program import Program


def test_sound(program: Program, library: ExactLibrary) -> None:
    outcome = program("verify", "some.pageann")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "pageann: some.pageann: sound\n")


def test_damage(program: Program, library: ExactLibrary) -> None:
    library.damage = [
        SimpleNamespace(file="seg-000001/pages.bin", page=7, what="checksum"),
        SimpleNamespace(file="seg-000001/codes.bin", page=-1, what="array 'codes': checksum"),
    ]
    outcome = program("verify", "some.pageann")
    assert outcome.code == 1
    assert outcome.out.splitlines() == [
        "seg-000001/pages.bin\t7\tchecksum",
        "seg-000001/codes.bin\t-\tarray 'codes': checksum",
    ]
    assert "2 damaged places" in outcome.err
    found = json.loads(program("verify", "some.pageann", "--json").out)
    assert found[0] == {"file": "seg-000001/pages.bin", "page": 7, "what": "checksum"}


def test_damage_that_ends_the_verification_is_damage(program: Program, library: ExactLibrary) -> None:
    library.failure = DamagedIndex("CURRENT does not match its checksum", "CURRENT")
    outcome = program("verify", "some.pageann")
    assert outcome.code == 1
    assert outcome.out == "CURRENT\t-\tCURRENT does not match its checksum\n"


def test_no_index_is_a_mistake(program: Program, library: ExactLibrary) -> None:
    library.failure = IndexNotFound("some.pageann: no index here")
    assert program("verify", "some.pageann").code == 2
