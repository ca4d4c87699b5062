"""The provider as a process: who may talk to it, how it begins and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from strongroom_terraform.messages import SERVING, message, new
from strongroom_terraform.plugin import private_folder
from terraform.tests.plugin_client import (
    EMPTY,
    Identity,
    Started,
    call,
    environment,
    lets_in,
    started,
    tls,
    unparsed,
)
from tests.canary import CANARY, assert_no_canary


@pytest.fixture(scope="module")
def terraform_identity() -> Identity:
    """Who the provider is told that Terraform is."""
    return Identity.new()


@contextmanager
def _toy(folder: Path, identity: Identity) -> Iterator[Started]:
    with tempfile.TemporaryDirectory(prefix="tf") as short:
        settings = {
            "PLUGIN_CLIENT_CERT": identity.certificate,
            "PLUGIN_UNIX_SOCKET_DIR": short,
            "STRONGROOM_TOY": str(folder),
        }
        with started(settings) as process:
            yield process


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, terraform_identity: Identity) -> Iterator[Started]:
    """The toy provider, for tests that leave it as it is."""
    with _toy(tmp_path_factory.mktemp("toy"), terraform_identity) as process:
        yield process


@pytest.fixture
def own_toy(tmp_path: Path, terraform_identity: Identity) -> Iterator[Started]:
    """One that a test may end."""
    with _toy(tmp_path, terraform_identity) as process:
        yield process


@pytest.fixture
def trusted(toy: Started, tmp_path: Path, terraform_identity: Identity) -> ssl.SSLContext:
    """The TLS of the client whose certificate the provider was given."""
    return tls(terraform_identity, toy.fields[5], tmp_path)


@pytest.fixture
def own_trusted(own_toy: Started, tmp_path: Path, terraform_identity: Identity) -> ssl.SSLContext:
    """The same, of a provider that the test may end."""
    return tls(terraform_identity, own_toy.fields[5], tmp_path)


def test_the_handshake_is_one_line_of_six_fields(toy: Started) -> None:
    """go-plugin's core protocol 1, plugin protocol 6, a unix socket, gRPC, and our certificate."""
    assert toy.fields[:3] == ["1", "6", "unix"]
    assert toy.fields[4] == "grpc"
    assert len(toy.fields) == 6


def test_the_client_whose_certificate_was_given_is_served(toy: Started, trusted: ssl.SSLContext) -> None:
    """A schema, and health, come back."""
    assert lets_in(toy.address, trusted)
    schema, health = call(toy.address, trusted, ("GetProviderSchema", EMPTY), ("Check", new("HealthRequest")))
    assert set(schema.resource_schemas) == {"toy_thing"}
    assert health.status == SERVING


def test_a_client_with_another_certificate_is_refused(toy: Started, tmp_path: Path) -> None:
    """Another key of the same names and the same shape does not get one answer."""
    other = tls(Identity.new(), toy.fields[5], tmp_path)
    assert not lets_in(toy.address, other)


def test_a_client_without_a_certificate_is_refused(toy: Started, tmp_path: Path) -> None:
    """TLS alone is not enough."""
    assert not lets_in(toy.address, tls(None, toy.fields[5], tmp_path))


def test_a_client_in_clear_is_refused(toy: Started) -> None:
    """There is no way in without TLS."""
    assert not lets_in(toy.address, None)


def test_nothing_older_than_tls_1_3_is_spoken(toy: Started, trusted: ssl.SSLContext) -> None:
    """TLS 1.2 is turned away."""
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    assert not lets_in(toy.address, trusted)


def test_a_refused_client_does_not_disturb_the_right_one(
    toy: Started, trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    """After strangers and noise Terraform is served as before."""
    assert not lets_in(toy.address, tls(Identity.new(), toy.fields[5], tmp_path))
    with socket.socket(socket.AF_UNIX) as noise:
        noise.connect(toy.address)
        noise.sendall(b"\x16\x03\x01" + os.urandom(512))
    assert call(toy.address, trusted, ("GetFunctions", EMPTY))[0].functions["half"].summary


def test_the_socket_stands_in_a_folder_of_this_user_only(toy: Started) -> None:
    """Mode 0700, and no key file is left in it."""
    folder = Path(toy.address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["plugin"]


def test_each_start_has_a_key_of_its_own(toy: Started, terraform_identity: Identity) -> None:
    """Two starts, two certificates."""
    with started({"PLUGIN_CLIENT_CERT": terraform_identity.certificate}) as other:
        assert other.fields[5] != toy.fields[5]


def test_shutdown_ends_the_process_and_removes_the_folder(
    own_toy: Started, own_trusted: ssl.SSLContext
) -> None:
    """go-plugin kills what is not gone two seconds after it asked."""
    call(own_toy.address, own_trusted, ("Shutdown", EMPTY))
    assert own_toy.process.wait(timeout=10) == 0
    assert not Path(own_toy.address).parent.exists()


def test_sigterm_ends_it_in_order(own_toy: Started) -> None:
    """As Shutdown does."""
    own_toy.process.terminate()
    assert own_toy.process.wait(timeout=10) == 0
    assert not Path(own_toy.address).parent.exists()


def test_an_interrupt_is_left_to_terraform(toy: Started, trusted: ssl.SSLContext) -> None:
    """Ctrl-C reaches the whole process group; the provider goes on until Terraform says otherwise."""
    toy.process.send_signal(signal.SIGINT)
    assert call(toy.address, trusted, ("StopProvider", EMPTY), ("GetFunctions", EMPTY))


def test_a_provider_whose_terraform_is_gone_ends(
    tmp_path: Path, short_folder: Path, terraform_identity: Identity
) -> None:
    """A killed Terraform tells nobody anything; no provider with open stores may be left behind."""
    middle = "import subprocess, sys, time\np = subprocess.Popen(sys.argv[1:])\ntime.sleep(60)\n"
    command = (sys.executable, "-c", middle, sys.executable, "-m", "terraform.tests.toy")
    settings = {
        "PLUGIN_CLIENT_CERT": terraform_identity.certificate,
        "PLUGIN_UNIX_SOCKET_DIR": str(short_folder),
        "STRONGROOM_TOY": str(tmp_path),
    }
    with started(settings, *command) as parent:
        assert Path(parent.address).exists()
        parent.process.kill()
        assert parent.process.stderr is not None
        parent.process.stderr.read()  # ends when the provider, too, has let go of it
        assert not Path(parent.address).parent.exists()


def test_bytes_that_are_no_message_end_one_call_only(toy: Started, trusted: ssl.SSLContext) -> None:
    """What cannot be parsed is an error of that call; the next is answered."""
    broken = new("Config", type_name="toy_thing")
    broken.config.msgpack = b"\xc1" + CANARY.encode()
    asked, functions = call(toy.address, trusted, ("ValidateResourceConfig", broken), ("GetFunctions", EMPTY))
    assert "neither MessagePack nor JSON" in asked.diagnostics[0].summary
    assert functions.functions


def test_a_crash_would_leave_no_core_file(toy: Started) -> None:
    """It would hold every value that was in use."""
    assert psutil.Process(toy.process.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_noise_from_the_right_client_ends_nothing_but_itself(
    own_toy: Started, own_trusted: ssl.SSLContext
) -> None:
    """Be it no protobuf, no HTTP/2, or a length that lies; and of what was sent nothing is logged."""
    noise = CANARY.encode() * 50
    assert unparsed(own_toy.address, own_trusted, b"\xff" + noise) == "Internal Server Error"
    lets_in(own_toy.address, own_trusted, noise)
    lets_in(own_toy.address, own_trusted, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\0\0" + noise)
    assert call(own_toy.address, own_trusted, ("GetFunctions", EMPTY), ("Shutdown", EMPTY))[0].functions
    out, err = own_toy.process.communicate(timeout=10)
    assert out == ""
    assert_no_canary(err)


def test_what_a_provider_prints_never_leaves_it(
    own_toy: Started, own_trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    """Terraform copies standard error into its log: a print, a warning, an SDK's message do not get there."""
    thing = new("ApplyRequest", type_name="toy_thing")
    thing.config.json = thing.planned_state.json = b'{"name": "noisy"}'
    thing.prior_state.json = b"null"
    call(own_toy.address, own_trusted, ("ApplyResourceChange", thing), ("Shutdown", EMPTY))
    out, err = own_toy.process.communicate(timeout=10)
    assert "noisy" in (tmp_path / "calls").read_text()
    assert out == ""
    assert "the toy is noisy" in err
    assert_no_canary(err)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"TF_PLUGIN_MAGIC_COOKIE": "by hand"}, "Terraform starts it"),
        ({"PLUGIN_PROTOCOL_VERSIONS": "4,5"}, "plugin protocol 6"),
        ({"PLUGIN_CLIENT_CERT": ""}, "TF_DISABLE_PLUGIN_TLS"),
        ({"PLUGIN_CLIENT_CERT": "not a certificate"}, "cannot be read"),
    ],
)
def test_a_start_that_is_not_terraforms_is_refused(change: dict[str, str], told: str) -> None:
    """One line says what to do, and nothing listens."""
    done = subprocess.run(
        [sys.executable, "-m", "terraform.tests.toy"],
        env=environment({"PLUGIN_CLIENT_CERT": Identity.new().certificate, **change}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_long_temporary_folder_is_not_used_for_the_socket(tmp_path: Path) -> None:
    """A unix socket's path has 104 bytes on some systems: a deep TMPDIR must not make the provider fail."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with private_folder({"PLUGIN_UNIX_SOCKET_DIR": str(deep)}) as folder:
        assert len(folder) < 60
    with private_folder({"PLUGIN_UNIX_SOCKET_DIR": "/tmp"}) as folder:
        assert folder.startswith("/tmp/strongroom-")


def test_every_message_of_the_table_can_be_made() -> None:
    """A typing error in the table would show at the first use only."""
    make: Callable[[str], object] = new
    assert all(make(name) is not None for name in ("SchemaResponse", "OpenResponse", "ConnInfo"))
    assert message("Step")(element_key_int=0).HasField("element_key_int")
