"""The shape of the code: what may import what, how big things may be, and what `import strongroom` loads."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

Function = ast.FunctionDef | ast.AsyncFunctionDef

ROOT = Path(__file__).parents[1]
ORDER = """
errors
value names telemetry passwords quiet clock patterns redaction
observing cardinality
lease settings
backend keys declared native notices
localkey retry stamp sqlitefile postgres
coordinator pgcoordinator wrapcount
guarded gate companion
memory envelope stages replication.record webhooks
pairs
replication.page replication.sheet
replication.standing
replication.order
audit
layers
registry
pins cachepolicy cached
cache watching operations opened hinting
reads
store
aio references forgetting notify
replication
reencryption
rotation
toml
auditing coordinating layering revokedlist
config
loading resolving rotatoroptions rotationchecks carrying
rotations revoking
replicas
integrations testing rotation.functions
cli
"""
LINES = enumerate(ORDER.split("\n"))
LEVELS = {f"strongroom.{name}": level for level, line in LINES for name in line.split()}
# The package itself stands on top: it hands out the public names lazily.
LEVELS["strongroom"] = max(LEVELS.values()) + 1

BACKEND_MAY_IMPORT = {
    f"strongroom.{name}"
    for name in (
        *(
            "backend",
            "keys",
            "lease",
            "native",
            "notices",
            "guarded",
            "retry",
            "stamp",
            "value",
            "errors",
            "names",
        ),
        *("rotation.rotator", "rotation.fields", "rotation.slots", "quiet"),
    )
}
# The embedded store brings its own key: its KEKs and keysets are the envelope's local ones.
# Vault's database engine is told of a password that is rotated as PostgreSQL's are.
BACKEND_EXCEPTIONS = {
    "strongroom_local": {"strongroom.localkey", "strongroom.wrapcount"},
    "strongroom_vault": {"strongroom.rotation.generating", "strongroom.rotation.rotators.postgresql"},
}
# Who in the core may use what beyond the standard library; a star: at import time too.
THIRD_PARTY = {
    "strongroom.localkey": {"cryptography"},
    "strongroom.postgres": {"psycopg"},
    "strongroom.keys": {"cryptography"},
    "strongroom.envelope": {"cryptography"},
    "strongroom.webhooks": {"cryptography"},
    "strongroom.audit": {"cryptography", "orjson", "opentelemetry", "yaml"},
    "strongroom.rotation": {"cronsim", "psycopg", "pymysql"},
    "strongroom.cli": {"click*", "rich", "dotenv", "yaml", "jinja2"},
    "strongroom.integrations": {
        *("pydantic*", "pydantic_settings*", "sqlalchemy*", "psycopg*", "httpx*", "celery*", "airflow*"),
        *("starlette*", "fastapi*", "django*", "jinja2*", "redis*", "asyncpg*", "keyring*"),
        *("aws_lambda_powertools*", "opentelemetry*", "cryptography"),
    },
    "strongroom.rotation.functions": {"azure"},
    "strongroom.testing": {"cryptography", "pytest*"},
}
IMPORT_LOADS_AT_MOST = {"__future__", "strongroom", "importlib"}
REVEALS = ROOT / "tests" / "reveals.txt"
FORBIDDEN = {
    r"\b(TODO|FIXME|XXX)\b": "an unfinished thought belongs in an issue",
    r"(?<![\w.:>}$-])/(home|root|work|Users)/\w": "a path of somebody's machine",
    r"verify\s*=\s*False|CERT_NONE|check_hostname\s*=\s*False": "no option turns TLS verification off",
    r"(?i)\b(sub-session|helper session|as an ai)\b": "not about the product",
}


@dataclass(frozen=True)
class Module:
    """One file of the product, parsed."""

    name: str
    path: Path
    source: str
    tree: ast.Module

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))


@functools.cache
def modules() -> list[Module]:
    """All modules of the core, of the backends and of Terraform's provider."""
    found = []
    for base in (ROOT / "src", ROOT / "backends", ROOT / "terraform" / "provider"):
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            source = path.read_text()
            found.append(Module(name, path, source, ast.parse(source)))
    return found


@pytest.fixture(scope="module", autouse=True)
def _forgotten_at_the_end() -> Iterator[None]:
    """A million nodes, through which every full collection of the run would go from then on."""
    yield
    modules.cache_clear()


def core() -> list[Module]:
    return [module for module in modules() if _within(module.name, "strongroom")]


def provider() -> list[Module]:
    return [module for module in modules() if _within(module.name, "strongroom_terraform")]


def backends() -> list[Module]:
    named = {module.name.split(".")[0] for module in modules()} - {"strongroom", "strongroom_terraform"}
    return [module for module in modules() if module.name.split(".")[0] in named]


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _owner(name: str) -> str | None:
    """The entry of ORDER that a module belongs to: the longest that is a prefix of it."""
    entries = [entry for entry in LEVELS if entry != "strongroom" and _within(name, entry)]
    return max(entries, key=len, default=None)


def _imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, at any depth, for type checking too."""
    known = {known.name for known in modules()}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in known else base


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".") if module.path.name == "__init__.py" else module.name.split(".")[:-1]
    above = package[: len(package) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when the module is imported: outside functions and `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda):
            continue
        if _is_for_types(child):
            continue
        yield child
        yield from _at_import_time(child)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _check(violations: list[str], rule: str) -> None:
    assert not violations, "\n".join([rule, *violations])


def test_every_core_module_has_its_place_in_the_order() -> None:
    """A new module is placed before anything may import it."""
    homeless = [m.where for m in core() if m.name != "strongroom" and _owner(m.name) is None]
    _check(homeless, "add these to ORDER:")


def test_imports_point_one_way() -> None:
    """A module imports only from lower lines of ORDER, or from its own package.

    Neighbours on one line may name each other's types, under `if TYPE_CHECKING`.
    """
    wrong = []
    for module in core():
        mine = _owner(module.name) or "strongroom"
        typing = {line for node in ast.walk(module.tree) if _is_for_types(node) for line in _lines(node)}
        for line, name in _imports(module):
            if not _within(name, "strongroom"):
                continue
            theirs = _owner(name) or "strongroom"
            if theirs != mine and LEVELS[theirs] >= LEVELS[mine] + (line in typing):
                wrong.append(f"{module.where}:{line} imports {name}")
    _check(wrong, "these imports point the wrong way:")


def _lines(node: ast.AST) -> range:
    assert isinstance(node, ast.stmt)
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def test_a_backend_sees_only_what_backend_authors_read() -> None:
    """A backend is written against the small interface; a third party's could be too."""
    wrong = []
    for module in backends():
        package = module.name.split(".")[0]
        allowed = {package} | BACKEND_MAY_IMPORT | BACKEND_EXCEPTIONS.get(package, set())
        for line, name in _imports(module):
            ours = name.split(".")[0].startswith("strongroom")
            if ours and not any(_within(name, entry) for entry in allowed):
                wrong.append(f"{module.where}:{line} imports {name}")
    _check(wrong, f"backends import only {', '.join(sorted(BACKEND_MAY_IMPORT))}:")


def test_the_provider_knows_no_backend_and_the_core_no_provider() -> None:
    """Terraform's provider is a user of Strongroom: it opens stores by name, whatever holds them."""
    own = {module.name.split(".")[0] for module in backends()}
    wrong = [
        f"{m.where}:{at} {name}" for m in provider() for at, name in _imports(m) if name.split(".")[0] in own
    ]
    for module in [*core(), *backends()]:
        seen = [(at, name) for at, name in _imports(module) if _within(name, "strongroom_terraform")]
        wrong += [f"{module.where}:{at} {name}" for at, name in seen]
    _check(wrong, "these imports are of the wrong side:")


def test_the_core_imports_the_standard_library_alone() -> None:
    """No SDK anywhere in the core; `cryptography` only in its place, and only when it is first needed."""
    wrong = []
    for module in core():
        allowed = THIRD_PARTY.get(_owner(module.name) or "", set())
        early = {name for node in _at_import_time(module.tree) for name in _names(node)}
        for line, full in _imports(module):
            name = full.split(".")[0]
            if name in sys.stdlib_module_names or name == "strongroom" or f"{name}*" in allowed:
                continue
            if name not in allowed or name in early:
                wrong.append(f"{module.where}:{line} imports {name}{' at import time' * (name in early)}")
    _check(wrong, "the core stands on the standard library:")


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [(node.module or "").split(".")[0]] if isinstance(node, ast.ImportFrom) else []


def test_package_inits_are_empty_but_for_the_first() -> None:
    """A package's `__init__` may say what the package is, and nothing more.

    But for the first, and for `strongroom.testing` and `.webhooks`, whose public names are lazy too.
    """
    lazy = ("strongroom", "strongroom.testing", "strongroom.webhooks")
    inits = [m for m in modules() if m.path.name == "__init__.py" and m.name not in lazy]
    full = [m.where for m in inits if len(m.tree.body) > (ast.get_docstring(m.tree) is not None)]
    _check(full, "these __init__ files hold code:")


def test_every_package_has_an_init() -> None:
    """Or it would be missing from some installations, and hide shadowing in others."""
    bare = {m.path.parent for m in modules() if not (m.path.parent / "__init__.py").exists()}
    _check(sorted(str(path.relative_to(ROOT)) for path in bare), "these packages have no __init__.py:")


def test_files_stay_under_400_lines() -> None:
    """A longer file hides a second subject."""
    counts = {m.where: m.source.count("\n") for m in modules()}
    too_long = [f"{where}: {count}" for where, count in counts.items() if count >= 400]
    _check(too_long, "these files are too long:")


def test_functions_fit_a_screen() -> None:
    """At most 40 lines, the docstring not counted."""
    functions = [(m, node) for m in modules() for node in ast.walk(m.tree) if isinstance(node, Function)]
    too_long = [f"{m.where}:{node.lineno} {node.name}" for m, node in functions if _length(node) > 40]
    _check(too_long, "these functions are too long:")


def _length(node: Function) -> int:
    assert node.end_lineno
    first = node.body[0]
    documented = ast.get_docstring(node) is not None and first.end_lineno
    return node.end_lineno - node.lineno + 1 - (documented - first.lineno + 1 if documented else 0)


def test_public_names_say_what_they_mean() -> None:
    """Every public class, function and method has a docstring; an override may inherit its base's."""
    silent = [f"{m.where}:{node.lineno} {node.name}" for m in modules() for node in _undocumented(m.tree)]
    _check(silent, "these have no docstring:")


def _undocumented(parent: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    inherited = isinstance(parent, ast.ClassDef) and _may_inherit(parent)
    for node in parent.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node)
        elif inherited or "overload" in map(ast.unparse, node.decorator_list):
            continue
        if ast.get_docstring(node) is None:
            yield node


def _may_inherit(node: ast.ClassDef) -> bool:
    """Whether a base could hand down a docstring."""
    bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
    return bool(bases - {"ABC", "Protocol", "Enum", "StrEnum", "IntEnum", "Flag", "NamedTuple", "Exception"})


def test_every_reveal_is_reviewed() -> None:
    """The ways out of SecretValue are few, counted, and each has its reason in tests/reveals.txt."""
    found = Counter(m.where for m in modules() for node in ast.walk(m.tree) if _reveals(node))
    lines = [line for line in REVEALS.read_text().splitlines() if not line.startswith("#")]
    reviewed = {path: int(count) for count, path, _reason in (line.split(maxsplit=2) for line in lines)}
    changed = [path for path in sorted(found.keys() | reviewed.keys()) if found[path] != reviewed.get(path)]
    report = [f"{path}: {found[path]} uses, {reviewed.get(path, 0)} reviewed" for path in changed]
    _check(report, "review each use of reveal, then write it down in tests/reveals.txt:")


def _reveals(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"reveal", "reveal_text", "reveal_json"}


def test_no_forbidden_words() -> None:
    """Unfinished thoughts, a machine's own paths and switched-off TLS do not get in."""
    wrong = []
    for path in _texts():
        text = path.read_text(errors="replace")
        if not any(re.search(word, text) for word in FORBIDDEN):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            reasons = [why for word, why in FORBIDDEN.items() if re.search(word, line)]
            wrong += [f"{path.relative_to(ROOT)}:{number} {why}" for why in reasons]
    _check(wrong, "forbidden words:")


def _texts() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in ("src", "backends", "tests", "docs", "terraform", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path != Path(__file__) and _is_text(path):
                yield path


def _is_text(path: Path) -> bool:
    """Whether people write this file: no caches, no foreign packages or test vectors, nothing binary."""
    foreign = {"__pycache__", "node_modules", "vectors"} & set(path.parts)
    return not foreign and b"\0" not in path.read_bytes()[:4096]


def _loaded_by(statement: str) -> set[str]:
    """The modules that `statement` adds to a bare interpreter."""
    dump = "; import json, sys; print(json.dumps(sorted(sys.modules)))"

    def loaded(code: str) -> set[str]:
        argv = [sys.executable, "-c", code + dump]
        run = subprocess.run(argv, capture_output=True, check=True, text=True)
        return set(json.loads(run.stdout))

    return loaded(statement) - loaded("pass")


def test_importing_strongroom_loads_next_to_nothing() -> None:
    """No SDK, no `cryptography`, nothing slow: only what is named here."""
    roots = {name.split(".")[0] for name in _loaded_by("import strongroom")}
    _check(sorted(roots - IMPORT_LOADS_AT_MOST), "`import strongroom` also loads:")


def test_public_names_are_the_names_of_all() -> None:
    """`__all__`, what `dir` shows and what can be had are the same; anything else is an AttributeError."""
    package = importlib.import_module("strongroom")
    public = set(package.__all__)
    submodules = {m.name.split(".")[1] for m in core() if "." in m.name}
    shown = {name for name in dir(package) if not name.startswith("_")} - {"annotations", "TYPE_CHECKING"}
    assert shown - submodules == public - submodules
    assert all(hasattr(package, name) for name in public)
    assert not hasattr(package, "no_such_name")
