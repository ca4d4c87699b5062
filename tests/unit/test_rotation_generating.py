"""A new password takes the old one's place, and nothing else of a value changes."""

from __future__ import annotations

import shlex
from urllib.parse import quote, unquote, urlsplit

import psycopg.conninfo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from strongroom.errors import InvalidRequestError
from strongroom.rotation.generating import login, new_password, password_policy, renewed
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in

RDS = {
    "engine": "postgres",
    "host": "DB.example.net",
    "port": 5432,
    "username": "app",
    "password": CANARY,
    "dbname": "shop",
    "dbInstanceIdentifier": "shop-1",
}
texts = st.text(min_size=1, max_size=30)


class TestPasswords:
    """What is generated."""

    @pytest.mark.parametrize("symbols", [False, True])
    def test_nothing_that_reads_it_breaks_on_it(self, symbols: bool) -> None:
        """It is the same in a URL without encoding, to a shell without quotes, and is never an option."""
        policy = password_policy(symbols=symbols)
        for _ in range(50):
            password = new_password(policy)
            assert policy.allows(password)
            assert quote(password, safe="") == password == shlex.quote(password).strip("'")
            assert password[0].isalnum()
            assert not set(password) & set("/@\"'\\ %:#?&=;$`")

    def test_a_target_that_wants_a_symbol_gets_one(self) -> None:
        """As MySQL's validate_password does at its middle level."""
        assert all(set(new_password(password_policy(symbols=True))) & set("-._~") for _ in range(20))

    def test_a_length_that_can_be_guessed_is_refused(self) -> None:
        """64 bits at least."""
        with pytest.raises(InvalidRequestError, match="entropy"):
            password_policy(8)


class TestForms:
    """A password alone, a URL, JSON."""

    def test_a_value_that_is_no_other_form_is_all_password(self) -> None:
        """Even one that begins with a brace."""
        for text in (CANARY, f"{{{CANARY}", f"a b {CANARY}\n"):
            assert login(SecretValue(text)).password.matches(text)
            assert renewed(SecretValue(text), "new").reveal_text() == "new"

    def test_json_keeps_its_other_fields_in_their_order(self) -> None:
        """As AWS writes it for its databases."""
        value = SecretValue.of(RDS)
        found = login(value)
        assert (found.user, found.hosts, found.database) == ("app", (("db.example.net", 5432),), "shop")
        assert found.password.matches(CANARY)
        after = renewed(value, "new").reveal_json()
        assert list(after.items()) == list({**RDS, "password": "new"}.items())
        assert renewed(value, "new", user="app2").reveal_json("/username") == "app2"

    def test_a_url_keeps_its_other_parts_to_the_letter(self) -> None:
        """Host names in capitals, several hosts, options."""
        url = "postgresql+psycopg://app:{}@DB1:5432,db2/shop?sslmode=verify-full#x"
        value = SecretValue(url.format(CANARY))
        found = login(value)
        assert found.hosts == (("db1", 5432), ("db2", None))
        assert renewed(value, "new").reveal_text() == url.format("new")
        other = renewed(value, "n", user="a b").reveal_text()
        assert other == "postgresql+psycopg://a%20b:n@DB1:5432,db2/shop?sslmode=verify-full#x"

    @given(texts.filter(lambda text: text[0] != "{"), texts, texts)
    def test_any_user_and_password_come_out_of_a_url_as_they_went_in(
        self, user: str, old: str, new: str
    ) -> None:
        """For this code, the standard library, SQLAlchemy and libpq alike."""
        value = SecretValue(f"postgresql://{quote(user, safe='')}:{quote(old, safe='')}@h:1/d")
        assert login(value).password.matches(old)
        text = renewed(value, new).reveal_text()
        split = urlsplit(text)
        assert (unquote(split.username or ""), unquote(split.password or "")) == (user, new)
        assert make_url(text).password == new
        if "\0" not in user + new:
            assert psycopg.conninfo.conninfo_to_dict(text)["password"] == new

    @given(texts)
    def test_any_password_comes_out_of_json_as_it_went_in(self, new: str) -> None:
        """Whatever JSON has to escape."""
        assert login(renewed(SecretValue.of(RDS), new)).password.matches(new)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('{"username": "app", "secret": "%s"}', "no password"),
            ('{"password": "%s", "port": "x"}', "no number"),
            ('{"password": "%s", "url": "postgresql://app:%s@h/d"}', "second time"),
            ("postgresql://app@h/%s", "no user and password"),
            ("postgresql://app:@h/%s", "no password"),
            ("postgresql://app:p/%s@h/d", "no user and password"),
            ("host=h user=app password=%s", "connection string"),
            ("Server=h;Pwd=%s", "connection string"),
        ],
    )
    def test_what_is_not_understood_is_refused_without_showing_it(self, text: str, problem: str) -> None:
        """Rather than to lose what else it holds."""
        value = SecretValue(text.replace("%s", CANARY))
        for call in (lambda: login(value), lambda: renewed(value, CANARY)):
            with pytest.raises(InvalidRequestError, match=problem) as caught:
                call()
            assert_no_canary_in(caught.value)

    def test_binary_is_no_login(self) -> None:
        """Nor is nothing."""
        for value in (SecretValue(b"\xff\xfe"), SecretValue("")):
            with pytest.raises(InvalidRequestError, match=r"binary|empty"):
                login(value)

    def test_another_user_needs_a_form_that_says_one(self) -> None:
        """A password alone cannot alternate users."""
        with pytest.raises(InvalidRequestError, match="does not say a user"):
            renewed(SecretValue(CANARY), "new", user="app2")
