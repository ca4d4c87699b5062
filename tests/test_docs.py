"""What the documents say is true: their examples run, their tables and links are what they stand for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import strongroom
from strongroom import errors
from strongroom.backend import Settings
from strongroom.cli import failure
from strongroom.cli.table import keys_markdown, markdown
from strongroom.config import Config
from strongroom.envelope.keyring import Keyring, StorePlace
from strongroom.errors import PermissionDeniedError, SecretStoreError
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing import override
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.integration import transit_support
from tests.integration.vault_support import policy_token, token_auth
from tests.pages import PAGES, ROOT, Block, blocks, marked
from tests.servers.openbao import OpenBao
from tests.session import note
from tests.unit.envelope_support import local_key

if TYPE_CHECKING:
    from tests.servers import postgres

BIN = str(Path(sys.executable).parent)


def _ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_no_example_goes_untested(page: Path) -> None:
    """Python and the command line always carry the mark that has them run."""
    silent = [
        f"{_ids(page)}:{block.line}"
        for block in blocks(page)
        if not block.test and (block.language in ("python", "toml", "hcl") or "$ strongroom" in block.text)
    ]
    assert not silent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes a new private folder, and goes there; HOME is private too, with a checkout in it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "strongroom").symlink_to(ROOT)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "STRONGROOM_CONFIG", "SOFTHSM2_CONF"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")

    def make() -> Path:
        new = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
        new.mkdir(mode=0o700)
        monkeypatch.chdir(new)
        return new

    return make


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_examples_run(page: Path, folder: Callable[[], Path]) -> None:
    """Down the page: a shell example or a configuration begins in a new folder, and others go on there."""
    here, names = folder(), dict[str, Any]()
    for block in blocks(page):
        if block.test in ("shell", "configuration"):
            here = folder()
        if block.test == "configuration":
            (here / "strongroom.toml").write_text(block.text.replace("/srv/app", str(here)))
        elif block.test.startswith("module "):  # a file of the reader's own, beside the configuration
            (here / f"{block.test.split()[1]}.py").write_text(block.text)
        elif block.test in ("shell", "shell here"):
            _run_shell(block)
        elif block.test == "python":
            names = _run_python(block, here, names)
        elif block.test == "python process":  # a PKCS#11 module reads its configuration once per process
            subprocess.run([sys.executable, "-c", block.text], check=True)


def _run_python(block: Block, here: Path, names: dict[str, Any]) -> dict[str, Any]:
    """Run a block, and give the names it leaves; one without an import goes on with those before it."""
    text = block.text
    if "local:///var/lib/app/secrets.db" in text:
        with strongroom.open(f"local://{here}/app.db?create=keyset") as store:
            store.put("db/password", "DEMO")
        text = text.replace("/var/lib/app/secrets.db", f"{here}/app.db")
    code = compile("\n" * (block.line - 1) + text, str(block.page), "exec", dont_inherit=True)
    if "import strongroom\n" in text:
        names = {"__name__": "example", "connect": lambda **_: None}
    exec(code, names)
    return names


def test_the_tests_in_the_guide_to_testing_pass(pytester: pytest.Pytester) -> None:
    """Both files of the example, in a run of their own."""
    [block] = marked("pytest", ROOT / "docs" / "testing.md")
    conftest, tests = block.text.removeprefix("# conftest.py").split("# test_application.py")
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)
    outcome = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=tests.count("def test_"))


def _run_shell(block: Block) -> None:
    if "softhsm2-util" in block.text:
        note("servers", name="SoftHSM 2")
    for command in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        typed, _, shown = command.partition("\n")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", typed], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{typed}: {done.stderr}"
        if shown:
            assert done.stdout.strip() == shown.strip(), typed


def test_the_configuration_in_the_guide_is_valid(tmp_path: Path) -> None:
    """Every key and alias of it."""
    (tmp_path / "vault_id").write_text("DEMO")
    [block] = [block for block in blocks(ROOT / "docs" / "guide.md") if block.test == "toml"]
    file = tmp_path / "strongroom.toml"
    file.write_text(block.text.replace("/run/secrets/vault_id", str(tmp_path / "vault_id")))
    config = Config.load(file)
    assert config.default == "prod"
    assert set(config.stores) == {"laptop", "prod", "prod-eu", "prod-dr"}


_PROVIDERS, _ENVELOPE, _FAILOVER, _REPLICATION = (
    ROOT / "docs" / f"{page}.md" for page in ("providers", "envelope", "failover", "replication")
)


_JOBS = sorted((ROOT / "docs" / "jobs").glob("*.md"))

# A test run in the background has Ctrl-C ignored, and its children inherit that.
_INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


def _line(block: Block) -> str:
    return f"{block.page.stem}, line {block.line}"


@pytest.mark.parametrize(
    "block", marked("toml", _PROVIDERS, _ENVELOPE, _FAILOVER, _REPLICATION, *_JOBS), ids=_line
)
def test_each_configuration_is_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And every store and key of it opens, which says that options and credentials are known."""
    for variable in re.findall(r"env://(\w+)", block.text):
        monkeypatch.setenv(variable, "DEMO")
    (tmp_path / "gcp.json").write_text("{}")
    text = block.text.replace("/run/secrets", str(tmp_path)).replace("/var/lib/app", str(tmp_path))
    (tmp_path / "strongroom.toml").write_text(text)
    config = Config.load(tmp_path / "strongroom.toml")
    for alias in config.stores:
        strongroom.open(alias, config=config).close()
    for alias in config.keys:
        strongroom.key(alias, config=config).close()


@pytest.mark.parametrize("block", marked("double", _PROVIDERS), ids=_line)
def test_a_double_prints_what_works_with_it(block: Block, folder: Callable[[], Path]) -> None:
    """The configuration that it prints, written to a file; then the command."""
    here = folder()
    module = block.text.strip().removeprefix("$ python -m ")
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTIBLE, module],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as double:
        try:
            assert double.stdout
            lines = list(iter(double.stdout.readline, "# then:\n"))
            (here / "strongroom.toml").write_text("".join(lines))
            use = double.stdout.readline()
            done = subprocess.run(["bash", "-c", use], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.endswith("\ndb/password\n")
        finally:
            double.send_signal(signal.SIGINT)
            double.communicate()


def test_the_policy_for_a_transit_key_wraps_and_no_more(openbao_server: OpenBao) -> None:
    """The least privilege of the page is enough for an encrypted store, and refuses to sign."""
    key = transit_support.made(openbao_server, type="aes256-gcm96")
    text = _policy(_PROVIDERS, "transit").replace("/app", f"/{key.name}")
    auth = token_auth(policy_token(openbao_server, text))
    with key.opened(auth=auth) as kek:
        assert kek.unwrap(kek.wrap(bytes(32), {}), {}) == bytes(32)
    with key.signing(auth=auth, options={"algorithm": "HS256"}) as signer, pytest.raises(SecretStoreError):
        signer.sign(b"a message")


_RECIPES = ROOT / "docs" / "recipes.md"


def test_the_database_recipes_run(postgres_server: postgres.Postgres) -> None:
    """Down the page, on a PostgreSQL that has the role; the last one rotates, and the others still log in."""
    role = postgres_server.new_role("DEMO")
    names: dict[str, Any] = {
        "__name__": "example",
        "alter_role": lambda _, password: postgres_server.set_password(role, password),
    }
    places = {
        "app@db.example.net/app": f"{role}@127.0.0.1:{postgres_server.port}/postgres",
        "//db.example.net/app": f"//127.0.0.1:{postgres_server.port}/postgres",
        "host=db.example.net user=app dbname=app": f"{postgres_server.where} user={role}",
    }
    with strongroom.open("memory://") as store, override(prod=store):
        store.put("db/password", "DEMO")
        store.put("db/login", {"username": role, "password": "DEMO"})
        *recipes, rotation = marked("python postgres", _RECIPES)
        for block in (*recipes, rotation):
            exec(_replaced(block.text, places), names)
            names["engine"].dispose()
        store.put("db/login", {"username": role, "password": "DEMO-new"})
        for block in recipes:
            exec(_replaced(block.text, places), names)
            names["engine"].dispose()


def _replaced(text: str, places: Mapping[str, str]) -> str:
    for example, real in places.items():
        text = text.replace(example, real)
    return text


def _policy(page: Path, role: str) -> str:
    [policy] = [block.text for block in blocks(page) if block.test == f"policy {role}"]
    return policy


class Vault:
    """A mount of OpenBao under the guide's policies."""

    def __init__(self, server: OpenBao, mount: str):
        self.server, self.mount = server, mount

    def store(self, role: str | None = None) -> SecretStore:
        """The store below ``prod``, as one of the guide's roles; as root without."""
        token = self._token(role) if role else self.server.token
        url = f"vault:///{self.mount}/prod?endpoint={self.server.address}"
        return SecretStore(open_backend(url, Settings(auth={"token": SecretValue(token)})), cache=None)

    def keyring(self, role: str | None = None) -> StorePlace:
        """Where the keyring ``main`` of that store is, as a role of the page on encryption."""
        token = self._token(role, _ENVELOPE) if role else self.server.token
        url = f"vault:///{self.mount}/prod?endpoint={self.server.address}"
        return StorePlace(open_backend(url, Settings(auth={"token": SecretValue(token)})), "main")

    def _token(self, role: str, page: Path = ROOT / "docs" / "guide.md") -> str:
        policy = _policy(page, role)
        client = self.server.client()
        client.sys.create_or_update_policy(
            f"{self.mount}-{role}", policy.replace('"secret/', f'"{self.mount}/')
        )
        answer = client.auth.token.create(policies=[f"{self.mount}-{role}"], no_default_policy=False)
        token: str = answer["auth"]["client_token"]
        return token


@pytest.fixture
def vault(openbao_server: OpenBao, kv2_mount: str) -> Vault:
    """A fresh mount with one secret of two versions."""
    vault = Vault(openbao_server, kv2_mount)
    with vault.store() as store:
        store.put("db/password", "one")
        store.put("db/password", f"two {CANARY}")
    return vault


def test_the_readers_policy_reads_and_no_more(vault: Vault) -> None:
    """The least privilege of the guide is enough to read, and refuses all else."""
    with vault.store("reader") as store:
        assert store.get("db/password").value.matches(f"two {CANARY}")
        assert list(store.list_names()) == ["db/password"]
        assert len(store.versions("db/password")) == 2
        store.describe("db/password")
        forbidden: list[Callable[[], Any]] = [
            lambda: store.put("db/password", CANARY),
            lambda: store.pending("db/password", ROTATION).get(),
            lambda: store.delete("db/password"),
            lambda: store.purge("db/password"),
            lambda: store.set_tags("db/password", {"a": "b"}),
        ]
        for call in forbidden:
            with pytest.raises(PermissionDeniedError):
                call()


def test_the_policy_for_a_keyring_encrypts_and_does_not_rotate(vault: Vault) -> None:
    """The least privilege of the page is enough to wrap and unwrap, and no more."""
    Keyring.create(vault.keyring(), [local_key()], name="main").close()
    keyring = Keyring.open(vault.keyring("keyring"), [local_key()], name="main")
    assert keyring.unwrap(keyring.wrap(bytes(32), {}), {}) == bytes(32)
    with pytest.raises(PermissionDeniedError):
        keyring.rotate()
    keyring.close()


ROTATION, OTHER_ROTATION = "0c6f1d0a-2f3c-4b57-9d3c-0f2c7b1f7a10", "7d1c2f5e-8a47-4c0b-bb0e-3f6f1a9a52d4"


def test_the_writers_policy_rotates_and_rolls_back(vault: Vault) -> None:
    """Pending values too; deleting is not part of it."""
    with vault.store("writer") as store:
        pending = store.pending("db/password", ROTATION)
        pending.put(f"three {CANARY}", base_version=store.get("db/password").version)
        promoted = pending.promote()
        assert store.get("db/password").value.matches(f"three {CANARY}")
        store.rollback("db/password", if_version=promoted.id)
        assert store.get("db/password").value.matches(f"two {CANARY}")
        other = store.pending("db/password", OTHER_ROTATION)
        other.put(CANARY, base_version=store.get("db/password").version)
        other.discard()
        with pytest.raises(PermissionDeniedError):
            store.purge("db/password")


def test_the_administrators_policy_does_the_rest(vault: Vault) -> None:
    """Tags, delete, restore, purge."""
    with vault.store("administrator") as store:
        store.set_tags("db/password", {"owner": "ledger"})
        store.delete("db/password")
        store.restore("db/password")
        assert store.get("db/password").value.matches(f"two {CANARY}")
        store.purge("db/password")
        assert list(store.list_names()) == []


@pytest.mark.parametrize(("command", "generate"), [("table", markdown), ("table keys", keys_markdown)])
def test_the_readme_shows_stores_and_keys_as_they_are(command: str, generate: Callable[[], str]) -> None:
    """`python -m strongroom.cli.table` prints what belongs there."""
    begin = f"<!-- generated: python -m strongroom.cli.{command} -->\n"
    shown = (ROOT / "README.md").read_text().split(begin)[1]
    assert shown.split("<!-- end -->")[0] == generate()


def test_the_guide_lists_every_error_with_its_exit_code() -> None:
    """The table is the program's own."""
    text = (ROOT / "docs" / "guide.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+Error)` \|.*\| (\d+) \|$", text, re.MULTILINE))
    codes = {
        kind.__name__: str(code)
        for kind, code in failure.EXIT_CODES.items()
        if issubclass(kind, errors.SecretStoreError)
    }
    assert listed == codes


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files, and anchors name headings."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_decision_is_in_the_index() -> None:
    """And the index names no page that is not there."""
    folder = ROOT / "docs" / "decisions"
    indexed = set(re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text()))
    assert indexed == {path.name for path in folder.glob("[0-9]*.md")}


def test_the_demo_shows_what_it_says_and_no_whole_value() -> None:
    """In a pipe: exit 0, every fact true, plain text."""
    demo = ROOT / "docs" / "examples" / "demo.py"
    done = subprocess.run([sys.executable, demo], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") > 15
    assert "✗" not in done.stdout
    assert "\x1b" not in done.stdout
    values = re.findall(r"DEMO[^\s'\"]{8,}", demo.with_name("exchange.env").read_text())
    assert len(values) >= 9
    assert not [value for value in values if value in done.stdout + done.stderr]


def test_a_fact_that_is_not_true_ends_the_demo() -> None:
    """With exit code 1."""
    code = "import demo; demo.fact('the moon is a cheese', False)"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "docs" / "examples")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout) == (1, "✗ the moon is a cheese\n")
