"""The zip that `rotation package` makes, and the function in it under Lambda's own runtime client."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from functions_framework import create_app

from strongroom.config import Config
from strongroom.config import open as open_store
from strongroom.errors import InvalidRequestError
from strongroom.rotation.functions import contents, packaging, wheels
from strongroom.rotation.functions.packaging import Request, package
from strongroom.rotation.functions.wheels import MACHINES, PYTHONS
from strongroom.rotation.rotators.names import ROTATORS
from strongroom.testing.aws import StrictSecretsManager, StrictServer
from tests.canary import CANARY, assert_no_canary
from tests.function_support import token
from tests.scale import NIGHTLY
from tests.servers.runtime_api import BOTO, running
from tests.unit.cli_support import Cli

ROTATOR = """
from strongroom.rotation.rotator import Rotator


class Plain(Rotator):
    probes = False

    def create_secret(self, r):
        assert r.current
        return r.current.reveal_text().partition(" ")[0] + " " + r.id

    def test_secret(self, r, value):
        if value.matches(b"refused"):
            raise RuntimeError("the target says " + value.reveal_text())
"""
CONFIG = """
[store.prod]
url = "aws-sm://eu-west-1/prod?endpoint={endpoint}"
[store.books]
url = "memory://books"
[ledger]
url = "strongroom://books"
[rotation.db]
names = ["db/password"]
store = "prod"
rotator = "acme.rotators:Plain"
"""
TABLES = '[ledger]\nurl = "strongroom://main"\n[rotation.x]\nnames = ["a"]\nrotator = "random"\n'


def _wheel(folder: Path, name: str, tag: str, files: dict[str, bytes]) -> None:
    """A wheel that says in each file which one it is."""
    info = f"{name}-1000.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1000.0\n"
    held = files | {
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},,\n" for path in (*held, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1000.0-{tag}.whl", "w") as archive:
        for path, data in (held | {f"{info}/RECORD": record.encode()}).items():
            archive.writestr(path, data)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a rotator, and an index with one wheel for each Python and machine."""
    index = tmp_path / "index"
    index.mkdir()
    for machine in MACHINES.values():
        for number in ("311", "312", "313", "314"):
            tag = f"cp{number}-cp{number}-manylinux_2_17_{machine}"
            _wheel(index, "native", tag, {"native/part.so": tag.encode()})
        too_new = f"cp39-abi3-manylinux_2_39_{machine}"
        _wheel(index, "cryptography", too_new, {"cryptography/__init__.py": too_new.encode()})
        _wheel(
            index, "cryptography", f"cp39-abi3-manylinux_2_26_{machine}", {"cryptography/__init__.py": b""}
        )
    for variable, text in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(variable, text)
    folder = tmp_path / "project"
    (folder / "acme").mkdir(parents=True)
    (folder / "acme" / "__init__.py").touch()
    (folder / "acme" / "rotators.py").write_text(ROTATOR)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def bare(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without pip, which takes seconds."""
    monkeypatch.setattr(wheels, "fetch", lambda *_: {"fetched.py": b""})
    return project


@pytest.fixture
def small(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Also with a library of one file: packing all of it takes a second."""
    monkeypatch.setattr(contents, "library", _small)
    return bare


def _small(packages: Any) -> dict[str, bytes]:
    return {f"{name}/__init__.py": b"# nothing" for name in ("strongroom", *packages)}


def _read(data: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(data))


GRID = [(python, machine) for python in PYTHONS for machine in MACHINES]


@pytest.mark.parametrize(("python", "machine"), GRID if NIGHTLY else [("3.13", "arm64")])
def test_wheels_are_those_of_the_runtime_and_nothing_of_this_machine_gets_in(
    project: Path, python: str, machine: str
) -> None:
    """Python and machine choose them, and glibc bounds them: 2.26 under Python 3.11, 2.34 above."""
    fetched = wheels.fetch(["native", "cryptography"], python, machine)
    number = python.replace(".", "")
    assert fetched["native/part.so"] == f"cp{number}-cp{number}-manylinux_2_17_{MACHINES[machine]}".encode()
    assert fetched["cryptography/__init__.py"] == b""
    assert not {path.rpartition("/")[2] for path in fetched} & {"RECORD", "INSTALLER", "direct_url.json"}
    assert not any(str(project).encode() in data for data in fetched.values())
    if NIGHTLY:  # a minute of pip and zip: the whole of it, twice
        asked = Request("aws-lambda", "acme.rotators:Plain", None, python, machine, ("native",))
        assert package(asked).data == package(asked).data


def test_a_package_is_the_same_bytes_twice(small: Path) -> None:
    """Whatever the dates and modes of the files, and the order they are found in."""
    asked = Request("aws-lambda", "acme.rotators:Plain")
    first = package(asked)
    os.utime(small / "acme" / "rotators.py", (1, 1))
    (small / "acme" / "rotators.py").chmod(0o600)
    (small / "acme" / "__pycache__").mkdir()
    (small / "acme" / "__pycache__" / "rotators.cpython-311.pyc").touch()
    assert package(asked).data == first.data
    with _read(first.data) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_package_holds_what_it_needs_and_no_other_backend(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 is in Lambda's own image; the command line and the test helpers stay at home."""
    asked: list[str] = []

    def noted(required: list[str], *_: object) -> dict[str, bytes]:
        asked.extend(required)
        return {}

    monkeypatch.setattr(wheels, "fetch", noted)
    monkeypatch.setattr(packaging, "_zipped", lambda files: b"".join(files.values()))
    made = package(Request("aws-lambda", "acme.rotators:Plain"))
    tops = {path.partition("/")[0] for path in made.files}
    assert tops == {"acme", "strongroom", "strongroom_aws", "strongroom_rotation.py"}
    assert not any(path.startswith(("strongroom/cli/", "strongroom/testing/")) for path in made.files)
    assert [required.partition(">")[0] for required in asked] == ["cryptography"]
    package(Request("aws-lambda", "acme.rotators:Plain", with_sdk=True))
    assert any(required.startswith("boto3") for required in asked)


def test_a_package_over_the_limit_is_refused_and_its_largest_part_named(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is uploaded."""
    (small / "acme" / "big.bin").write_bytes(bytes(1 << 20))
    monkeypatch.setitem(packaging.LIMITS, "aws-lambda", (50 << 20, 1 << 20))
    with pytest.raises(InvalidRequestError, match="over the limit of 1 MiB") as refused:
        package(Request("aws-lambda", "acme.rotators:Plain"))
    assert refused.value.hint == "the largest part is acme with 1.0 MiB"


def test_pips_own_words_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may hold the address of an index, with its password; what has no wheel is named."""
    said = f"Looking in indexes: https://user:{CANARY}@index\nNo matching distribution found for nowhere>=2"
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        InvalidRequestError, match=r"no wheel of nowhere for Python 3\.13 on x86-64"
    ) as refused:
        wheels.fetch(["nowhere>=2"], "3.13", "x86-64")
    assert_no_canary(str(refused.value), str(refused.value.hint))


@pytest.mark.parametrize(
    ("rotator", "problem"),
    [
        ("acme.rotators:Missing", "has no class Missing"),
        ("acme.other:Plain", "no module acme.other"),
        ("acme.rotators", "not a rotator"),
        ("../acme:Plain", "not a rotator"),
        ("nothing.at.all:Plain", "no module nothing.at.all"),
    ],
)
def test_a_rotator_that_is_not_there_is_refused(small: Path, rotator: str, problem: str) -> None:
    """When it is packed, not when it is first called."""
    with pytest.raises(InvalidRequestError, match=problem):
        package(Request("aws-lambda", rotator))


REFUSED: list[tuple[Any, str, str]] = [
    ({"platform": "google"}, "", "hints: a schedule decides"),
    ({"platform": "google", "rotator": "acme.rotators:Plain"}, TABLES, "--rotator is for aws-lambda"),
    ({"platform": "aws-lambda"}, "", "nothing to rotate with"),
    ({"platform": "aws-lambda"}, '[store.main]\nurl = "memory://m"\n', "has no rotation"),
    (
        {"platform": "azure"},
        TABLES.replace("strongroom://main", "sqlite:///tmp/l.db"),
        "no disk that outlives it",
    ),
]


@pytest.mark.parametrize(("given", "config", "problem"), REFUSED)
def test_what_could_not_run_as_a_function_is_not_packed(
    small: Path, given: dict[str, Any], config: str, problem: str
) -> None:
    """A ledger on a disk that is gone with the call would begin every rotation anew."""
    file = small / "strongroom.toml"
    if config:
        file.write_text(("" if "[store" in config else '[store.main]\nurl = "memory://m"\n') + config)
    with pytest.raises(InvalidRequestError, match=problem):
        package(Request(**given, config=file if config else None))


@pytest.mark.parametrize("platform", ["google", "azure"])
def test_google_and_azure_build_their_packages_from_requirements(small: Path, platform: Any) -> None:
    """The entry is what their frameworks look for; the schedule's package is required too."""
    file = small / "strongroom.toml"
    url = {"google": "gcp-sm://p", "azure": "azure-kv://v"}[platform]
    schedule = 'schedule = { every = "rate(30 days)" }\n'
    file.write_text(f'[store.main]\nurl = "{url}"\n{TABLES}{schedule}')
    made = package(Request(platform, config=file))
    backend = {"google": "strongroom_gcp", "azure": "strongroom_azure"}[platform]
    assert {path.partition("/")[0] for path in made.files} >= {backend, "strongroom.toml", "requirements.txt"}
    assert "strongroom_aws" not in {path.partition("/")[0] for path in made.files}
    with _read(made.data) as archive:
        required = archive.read("requirements.txt").decode()
        entry = "main.py" if platform == "google" else "function_app.py"
        compile(archive.read(entry), entry, "exec")
    assert "cronsim" in required
    assert "functions" in required


SCHEDULED = """
[store.main]
url = "memory://packed-{name}"
cache = false
[ledger]
url = "strongroom://main"
[rotation.x]
names = ["a"]
store = "main"
rotator = "random"
schedule = {{ every = "rate(30 days)" }}
"""


REPLICATED = """
[store.copy]
url = "memory://copied-{name}"
cache = false
[replica.copy]
source = "main"
"""
ENTRIES = {"google": "main.py", "azure": "function_app.py", "aws-lambda": "strongroom_rotation.py"}


def _unpacked(folder: Path, platform: Any, more: str = "") -> Path:
    """The entry of a packed function, with a store that has one secret, beside its strongroom.toml."""
    file = folder / "strongroom.toml"
    file.write_text((SCHEDULED + more).format(name=f"{platform}{len(more)}"))
    task = folder / "task"
    with _read(package(Request(platform, config=file)).data) as archive:
        for name in ("strongroom.toml", ENTRIES[platform]):
            archive.extract(name, task)
    with open_store("main", config=Config.load(file)) as store:
        store.put("a", CANARY)
    return task


def test_the_packed_entry_serves_google_by_event_and_by_timer(small: Path) -> None:
    """Under Google's own framework, from a folder that is not the current one."""
    task = _unpacked(small, "google")
    by_timer = create_app("tick", str(task / "main.py"), "http").test_client().post("/")
    assert (by_timer.status_code, by_timer.json) == (200, {})
    other = {"message": {"attributes": {"eventType": "SECRET_UPDATE"}, "messageId": "1"}}
    kinds = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "//x", "ce-type": "t"}
    by_event = create_app("rotate", str(task / "main.py"), "cloudevent").test_client()
    assert by_event.post("/", headers=kinds, json=other).status_code == 200


def _module(task: Path, platform: str) -> Any:
    spec = importlib.util.spec_from_file_location("entry", task / ENTRIES[platform])
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _copied(task: Path) -> bool:
    with open_store("copy", config=Config.load(task / "strongroom.toml")) as store:
        return store.get("a").value.matches(CANARY)


def test_the_packed_entries_bring_replicas_up_where_there_are_some(small: Path) -> None:
    """By an event of the cloud, and by a timer for what no event told of."""
    task = _unpacked(small, "google", REPLICATED)
    by_timer = create_app("sync", str(task / "main.py"), "http").test_client().post("/")
    assert (by_timer.status_code, by_timer.json, _copied(task)) == (200, {"copy": 1}, True)
    told = {"message": {"attributes": {"secretId": "projects/p/secrets/other"}, "messageId": "1"}}
    kinds = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "//x", "ce-type": "t"}
    by_event = create_app("replicate", str(task / "main.py"), "cloudevent").test_client()
    assert by_event.post("/", headers=kinds, json=told).status_code == 200
    task = _unpacked(small, "azure", REPLICATED)
    module = _module(task, "azure")
    found = {one.get_function_name(): one.get_trigger().type for one in module.app.get_functions()}
    assert (found["replicate"], found["sync"], len(found)) == ("eventGridTrigger", "timerTrigger", 5)
    module.sync(None)
    assert _copied(task)
    task = _unpacked(small, "aws-lambda", REPLICATED)
    assert _module(task, "aws-lambda").replicate({"source": "aws.events"}, None) == {"copy": 1}
    assert _copied(task)


def test_the_packed_entry_has_azures_three_functions(small: Path) -> None:
    """As the host indexes them."""
    module = _module(_unpacked(small, "azure"), "azure")
    found = {one.get_function_name(): one.get_trigger().type for one in module.app.get_functions()}
    assert found == {"rotate": "eventGridTrigger", "webhook": "httpTrigger", "tick": "timerTrigger"}
    module.tick(None)


def test_every_built_in_rotator_is_known_to_need_a_package_or_not() -> None:
    """One whose module imports an SDK and that stands in no table would fail where it is deployed."""
    files = contents.library(
        {place.partition(".")[0] for place in ROTATORS.values() if "strongroom_" in place}
    )
    for name, place in ROTATORS.items():
        module = place.partition(":")[0]
        path = f"{module.replace('.', '/')}.py"
        source = files.get(path) or files[f"strongroom/rotation/rotators/{module}.py"]
        _, extras = contents.needs({path: source}, None)
        assert extras <= {contents.BUILT_IN.get(name, ("", ""))[1]}, name


def test_the_command_writes_the_package_and_says_what_to_deploy(small: Path) -> None:
    """At once, as a whole; --dry-run writes nothing."""
    out = small / "rotate.zip"
    argv = ("rotation", "package", "aws-lambda", "--rotator", "acme.rotators:Plain", "-o", str(out))
    done = Cli()(*argv, "--dry-run")
    assert (done.code, out.exists()) == (0, False)
    done = Cli()("--json", *argv)
    assert done.code == 0, done.err
    assert done.json["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert done.json["handler"] == "strongroom_rotation.handler"
    assert [path.name for path in small.iterdir() if path.name.startswith(".")] == []


def test_the_packed_function_rotates_under_lambdas_own_runtime_client(bare: Path, tmp_path: Path) -> None:
    """awslambdaric runs the zip with what AWS's image brings, and with nothing else of this installation."""
    manager = StrictSecretsManager()
    with StrictServer(manager) as server:
        (bare / "strongroom.toml").write_text(CONFIG.format(endpoint=server.url))
        made = package(Request("aws-lambda", config=bare / "strongroom.toml"))
        unpacked, scratch = tmp_path / "task", tmp_path / "scratch"
        scratch.mkdir()
        with _read(made.data) as archive:
            archive.extractall(unpacked)
        first = {"Name": "prod/db/password", "SecretString": CANARY, "ClientRequestToken": token()}
        secret = manager.call("eu-west-1", "CreateSecret", first)
        arn, pending = secret["ARN"], token()
        manager.add_empty_version("eu-west-1", arn, pending, "AWSPENDING")
        with running(unpacked, made.handler, scratch, BOTO) as api:
            event = {"SecretId": arn, "ClientRequestToken": pending, "RotationToken": f"x-{CANARY}-{pending}"}
            steps = ("createSecret", "setSecret", "testSecret", "finishSecret")
            answers = [api.invoke({**event, "Step": step}) for step in steps]
            refused = api.invoke({**event, "Step": "dropSecret"})
    assert [answer.body for answer in answers] == [
        {pending: state} for state in ("created", "set", "tested", "grace")
    ]
    assert (refused.ok, refused.body["errorType"]) == (False, "InvalidRequestError")
    current = manager.call("eu-west-1", "GetSecretValue", {"SecretId": arn})
    assert (current["VersionId"], current["SecretString"]) == (pending, f"{CANARY} {pending}")
    assert_no_canary((scratch / "log").read_bytes(), *(str(answer) for answer in (*answers, refused)))
