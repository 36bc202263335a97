"""Credentials of registries, as ~/.docker/config.json has them; programs it names never run."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mopt_optimizer.errors import RegistryAccessDenied

_DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Login:
    """A user of a registry."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Login(...)"


def read_config(path: Path) -> Mapping[str, object]:
    """Return a file's auths; none where there is no file.

    Raises:
        RegistryAccessDenied: It is no such file; its content is not quoted.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        message = f"the registry's credentials at {path} cannot be read"
        raise RegistryAccessDenied(message) from error
    try:
        auths = json.loads(text).get("auths", {})
    except (ValueError, AttributeError):
        auths = None
    if not isinstance(auths, dict):
        # Not chained: the parser's error holds the text.
        raise RegistryAccessDenied(
            "the registry's Secret is not of type kubernetes.io/dockerconfigjson: its "
            ".dockerconfigjson has no auths"
        ) from None
    return auths


def login_for(auths: Mapping[str, object], repository: str) -> Login | None:
    """Return the login for a repository, of the longest name that it begins with. Pure.

    Args:
        auths: By HOST[:PORT][/PATH], as Docker, Podman and the kubelet have them.

    Returns:
        None where there is none.

    Raises:
        RegistryAccessDenied: The entry has no user and password.
    """
    wanted = _named(repository)
    fitting = {
        place: entry
        for name, entry in auths.items()
        if wanted == (place := _named(name)) or wanted.startswith(f"{place}/")
    }
    if not fitting:
        return None
    place = max(fitting, key=len)
    login = _login(fitting[place])
    if login is None:
        raise RegistryAccessDenied(
            f"the credentials of {place} in the registry's Secret hold no user and password "
            "(identity tokens and credential helpers are not used)"
        )
    return login


def _named(name: str) -> str:
    """Return a registry or repository without scheme, API version and slash at the end."""
    place = name.partition("://")[2] or name
    place = place.removesuffix("/").removesuffix("/v1").removesuffix("/v2")
    host, slash, path = place.partition("/")
    return f"{_DOCKER_HUB if host in _DOCKER_HUB_NAMES else host}{slash}{path}"


def _login(entry: object) -> Login | None:
    if not isinstance(entry, dict):
        return None
    user, password = entry.get("username"), entry.get("password")
    if isinstance(joined := entry.get("auth"), str) and joined:
        try:
            user, _, password = base64.b64decode(joined).decode().partition(":")
        except ValueError:
            return None
    if not (isinstance(user, str) and isinstance(password, str) and user and password):
        return None
    return Login(user, password)
