"""The recordings, unpacked once for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.engine.init_routines import InitRoutines
from loader.engine.init_routines_file import read_init_routines
from loader.keyring import Keyring
from modfs.verify.corpus import Corpus, corpus

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def recorded() -> Iterator[Corpus]:
    with corpus(DATA / "files.tar.zst", DATA / "modules.tar.zst") as found:
        yield found


@pytest.fixture(scope="session")
def init_routines() -> InitRoutines:
    return read_init_routines(DATA / "environment.json")


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    return Keyring.load(DATA / "signing_key.x509")
