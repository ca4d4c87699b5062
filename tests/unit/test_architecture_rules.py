"""Each rule of tests/test_architecture.py can fail: a small tree that breaks it is caught."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import test_architecture as rules

LONG = "def f() -> None:\n    '''Long.'''\n" + "    f()\n" * 41
BROKEN = {
    "test_every_core_module_has_its_place_in_the_order": {"src/strongroom/novelty.py": ""},
    "test_imports_point_one_way": {"src/strongroom/errors.py": "from .store import SecretStore"},
    "test_a_backend_sees_only_what_backend_authors_read": {
        "src/strongroom/store.py": "",
        "backends/strongroom_aws/a.py": "def f():\n    from strongroom import store",
    },
    "test_the_core_imports_the_standard_library_alone": {
        "src/strongroom/envelope/cipher.py": "from cryptography import x509"
    },
    "test_package_inits_are_empty_but_for_the_first": {"src/strongroom/cli/__init__.py": "VERSION = 1"},
    "test_every_package_has_an_init": {"src/strongroom/cli/main.py": ""},
    "test_files_stay_under_400_lines": {"src/strongroom/store.py": "\n" * 400},
    "test_functions_fit_a_screen": {"src/strongroom/store.py": LONG},
    "test_public_names_say_what_they_mean": {"src/strongroom/store.py": "class A:\n    def f(self): ..."},
    "test_every_reveal_is_reviewed": {"src/strongroom/store.py": "print(value.reveal())"},
    "test_no_forbidden_words": {"docs/guide.md": "requests.get(url, verify=" + "False)"},
}
FINE = {
    "src/strongroom/__init__.py": "",
    "src/strongroom/errors.py": '"""Errors."""',
    "src/strongroom/keys.py": "def f():\n    '''Lazy.'''\n    from cryptography import x509",
    "src/strongroom/backend.py": "from .errors import A\nif TYPE_CHECKING:\n    from .keys import B",
    "backends/strongroom_aws/__init__.py": "",
    "backends/strongroom_aws/a.py": "import boto3\nfrom strongroom.backend import Backend",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A product that keeps every rule, for a test to break."""
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    monkeypatch.setattr(rules, "REVEALS", tmp_path / "reveals.txt")
    _write(tmp_path, {**FINE, "reveals.txt": "# none"})
    rules.modules.cache_clear()
    yield tmp_path
    rules.modules.cache_clear()


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_caught(tree: Path, rule: str) -> None:
    """The rule passes on the good tree, and fails once its breach is there."""
    getattr(rules, rule)()
    _write(tree, BROKEN[rule])
    rules.modules.cache_clear()
    with pytest.raises(AssertionError):
        getattr(rules, rule)()
