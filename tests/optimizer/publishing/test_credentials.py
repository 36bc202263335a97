"""Which login is taken from a file of credentials; none of it is ever shown."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mopt_optimizer.errors import RegistryAccessDenied
from mopt_optimizer.publishing.credentials import Login, login_for, read_config


def entry(login: str) -> dict[str, str]:
    return {"auth": base64.b64encode(login.encode()).decode()}


AUTHS: dict[str, object] = {
    "registry.test:5000": entry("host:secret"),
    "registry.test:5000/team": entry("team:secret"),
    "https://index.docker.io/v1/": entry("hub:secret"),
    "https://secure.test/v2/": {"username": "plain", "password": "with:colon"},
    "colon.test": entry("user:with:colon"),
}


@pytest.mark.parametrize(
    ("repository", "login"),
    [
        ("registry.test:5000/models/a", Login("host", "secret")),
        ("registry.test:5000/team/a", Login("team", "secret")),
        ("registry.test:5000/teams/a", Login("host", "secret")),
        ("registry.test/models/a", None),
        ("other.test/a", None),
        ("docker.io/user/a", Login("hub", "secret")),
        ("secure.test/a", Login("plain", "with:colon")),
        ("colon.test/a", Login("user", "with:colon")),
    ],
    ids=[
        "the host's",
        "the longest path's",
        "a path that only begins alike is another",
        "another port is another registry",
        "none for a host that is not named",
        "Docker Hub under its old name",
        "a url, user and password apart",
        "a password with a colon",
    ],
)
def test_the_login_for_a_repository(repository: str, login: Login | None) -> None:
    assert login_for(AUTHS, repository) == login


@pytest.mark.parametrize(
    "value",
    [
        {"identitytoken": "secret"},
        {"auth": "not base64 secret"},
        {"auth": base64.b64encode(b"only-user:").decode()},
        {},
        "secret",
        None,
    ],
    ids=["an identity token", "no base64", "no password", "empty", "a text", "null"],
)
def test_an_entry_without_user_and_password_is_denied_and_not_shown(value: object) -> None:
    with pytest.raises(RegistryAccessDenied, match=r"credentials of a\.test") as raised:
        login_for({"a.test": value}, "a.test/b")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["secret", "[]", '{"auths": "secret"}'], ids=["no JSON", "a list", "no auths"]
)
def test_a_file_that_is_none_is_denied_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RegistryAccessDenied, match="dockerconfigjson") as raised:
        read_config(tmp_path / "config.json")
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_no_file_is_no_login(tmp_path: Path) -> None:
    assert read_config(tmp_path / "config.json") == {}


def test_the_auths_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": AUTHS, "credsStore": "desktop"}))
    assert read_config(tmp_path / "config.json") == AUTHS


def test_a_login_does_not_show_itself() -> None:
    assert "secret" not in repr(Login("user", "secret"))
