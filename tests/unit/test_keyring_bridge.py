"""The keyring package over a store: its own tests, and what tools that use it would meet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.core
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.errors import KeyringError, PasswordDeleteError, PasswordSetError
from keyring.testing.backend import BackendBasicTests

import strongroom
from strongroom.backend import Capability
from strongroom.errors import PermissionDeniedError, UnavailableError
from strongroom.integrations.keyring_bridge import StrongroomKeyring, read, spelled
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.faults import FaultyBackend
from tests.canary import CANARY, assert_no_canary_in
from tests.pages import ROOT

PYPI = "https://upload.pypi.org/legacy/"
AZURE = "https://pkgs.dev.azure.com/an-organisation/a-project/_packaging/a-feed/pypi/upload/"
CLASS = "strongroom.integrations.keyring_bridge.StrongroomKeyring"


class TestKeyringsOwn(BackendBasicTests):
    """What keyring demands of any backend: names of any characters, each with its own password."""

    def init_keyring(self) -> StrongroomKeyring:
        return StrongroomKeyring(SecretStore(MemoryBackend()))


@pytest.fixture
def backend() -> FaultyBackend:
    return FaultyBackend(MemoryBackend())


@pytest.fixture
def store(backend: FaultyBackend) -> Iterator[SecretStore]:
    with SecretStore(backend) as store:
        yield store


@pytest.fixture
def ring(store: SecretStore) -> StrongroomKeyring:
    return StrongroomKeyring(store)


class TestNames:
    """How a service and a user become a portable name."""

    @pytest.mark.parametrize(
        ("text", "segment"),
        [
            ("__token__", "ququtokenququ"),
            (PYPI, "httpsqcqsqsupload.pypi.orgqslegacyqs"),
            ("alice@example.com", "aliceqaexample.com"),
            ("a-b", "a-b"),
            ("a--b", "aqdqdb"),
            ("Queue", "qx51zueue"),
            ("", "qz"),
        ],
    )
    def test_what_they_look_like(self, text: str, segment: str) -> None:
        """Readable where the characters allow it."""
        assert spelled(text) == segment

    @given(st.text(max_size=12))
    def test_any_text_is_read_back(self, text: str) -> None:
        """From a segment that is legal by its form."""
        assert read(spelled(text)) == text
        assert Name.parse(spelled(text[:5])).text == spelled(text[:5])

    @pytest.mark.parametrize("segment", ["q", "qk", "qx41", "qx110000z", "qx61z", "qo1q", "a.qob"])
    def test_what_no_text_is_spelled_as_is_not_read(self, segment: str) -> None:
        """So that no two names are one text."""
        assert read(segment) is None

    def test_what_is_too_long_goes_by_its_digest(self, store: SecretStore, ring: StrongroomKeyring) -> None:
        """It is found by service and user; which users a service has is not told then."""
        ring.set_password(AZURE, "build", CANARY)
        [name] = store.list_names()
        assert name.startswith("keyring/sha256-")
        assert ring.get_password(AZURE, "build") == CANARY
        with pytest.raises(KeyringError, match=r"too long .*name the user"):
            ring.get_credential(AZURE, None)

    def test_a_secret_may_have_a_name_of_its_own(self, store: SecretStore) -> None:
        """One that is rotated, and that others read too."""
        store.put("pypi/token", CANARY)
        ring = StrongroomKeyring(store, names={(PYPI, "__token__"): "pypi/token"})
        found = ring.get_credential(PYPI, None)
        assert found
        assert (found.username, found.password) == ("__token__", CANARY)


class TestErrors:
    """Tools catch keyring's errors, and take None for "there is none"."""

    def test_denied_is_not_missing(self, backend: FaultyBackend, ring: StrongroomKeyring) -> None:
        """A tool that hears None asks for a password, or sends its default one."""
        assert ring.get_password(PYPI, "__token__") is None
        backend.deny()
        with pytest.raises(KeyringError, match="PermissionDeniedError") as caught:
            ring.get_password(PYPI, "someone")
        assert isinstance(caught.value.__cause__, PermissionDeniedError)

    def test_errors_are_keyrings_and_hold_no_password(
        self, backend: FaultyBackend, ring: StrongroomKeyring
    ) -> None:
        """Each operation has its own."""
        ring.set_password(PYPI, "a", CANARY)
        ring.get_password(PYPI, "a")
        backend.unreachable()
        with pytest.raises(PasswordSetError) as setting:
            ring.set_password(PYPI, "a", CANARY)
        with pytest.raises(PasswordDeleteError) as deleting:
            ring.delete_password(PYPI, "a")
        assert setting.value.__cause__
        assert_no_canary_in(setting.value.__cause__)  # keyring's own frame around every backend has it
        assert_no_canary_in(deleting.value)
        with pytest.raises(PasswordSetError, match="UTF-8") as setting:
            ring.set_password(PYPI, "a", f"{CANARY}\ud800")
        assert isinstance(deleting.value.__cause__, UnavailableError)

    def test_several_users_are_not_guessed(self, ring: StrongroomKeyring) -> None:
        """A tool that names no user gets none of them."""
        ring.set_password(PYPI, "one", CANARY)
        assert ring.get_credential(PYPI, None)
        ring.set_password(PYPI, "two", CANARY)
        assert ring.get_credential(PYPI, None) is None

    def test_a_stores_own_key_is_not_kept_in_a_store(self, ring: StrongroomKeyring) -> None:
        """It would have to be open before it can be opened."""
        with pytest.raises(KeyringError, match="own key is not kept in a store"):
            ring.get_password("strongroom", "laptop")
        with pytest.raises(PasswordSetError):
            ring.set_password("strongroom", "laptop", CANARY)


class TestWrites:
    """What tools write is a secret like any other."""

    def test_a_deleted_password_can_be_set_again(self, store: SecretStore, ring: StrongroomKeyring) -> None:
        """It lay in the bin, with its versions."""
        ring.set_password("svc", "me", f"{CANARY} 1")
        ring.delete_password("svc", "me")
        assert ring.get_password("svc", "me") is None
        ring.set_password("svc", "me", f"{CANARY} 2")
        assert ring.get_password("svc", "me") == f"{CANARY} 2"
        assert len(store.versions("keyring/svc/me")) == 2

    def test_where_there_is_no_bin_it_is_destroyed(self) -> None:
        """As keyring means it."""
        ring = StrongroomKeyring(SecretStore(MemoryBackend(ALL & ~Capability.DELETE)))
        ring.set_password("svc", "me", CANARY)
        ring.delete_password("svc", "me")
        assert ring.get_password("svc", "me") is None
        with pytest.raises(PasswordDeleteError):
            ring.delete_password("svc", "me")


class TestChoosing:
    """It serves where somebody named it, and nowhere else."""

    def test_it_is_never_chosen_by_itself(self, store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Installed and imported, keyring still takes another, or none."""
        monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
        monkeypatch.setattr(keyring.core, "_keyring_backend", None)
        assert not isinstance(keyring.get_keyring(), StrongroomKeyring)
        monkeypatch.setattr(keyring.core, "_keyring_backend", None)
        keyring.set_keyring(StrongroomKeyring(store))
        keyring.set_password("svc", "me", CANARY)
        assert keyring.get_password("svc", "me") == CANARY

    def test_the_environment_names_it_and_its_store(self, tmp_path: Path) -> None:
        """As for a tool that knows nothing of Strongroom: keyring's own command line."""
        url = f"local://{tmp_path}/app.db"
        with strongroom.open(f"{url}?create=keyset") as store:
            store.put("keyring/svc/me", "DEMO")
        said = _command(url, "get", "svc", "me")
        assert (said.returncode, said.stdout.strip()) == (0, "DEMO")
        assert _command(url, "get", "svc", "nobody").returncode == 1


def _command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment: dict[str, Any] = {
        **os.environ, "PYTHON_KEYRING_BACKEND": CLASS, "KEYRING_PROPERTY_STORE": url,
        "PYTHONPATH": str(ROOT / "src"),
    }  # fmt: skip
    argv = [sys.executable, "-m", "keyring", *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
