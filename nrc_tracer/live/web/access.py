"""Which requests a viewer answers: those that name its own host, come from its own page, and carry its token.

Any web page that a browser shows, and any user of the machine, can send requests to a port on the loopback interface. The token
shuts out other users. The check of the origin shuts out other pages. The check of the host name shuts out pages whose name an
attacker lets resolve to this machine (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import http.cookies
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers

TOKEN_BYTES = 24
"""Entropy of a token [bytes]."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine that only its own users can reach it by."""

EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})
"""Hosts of a server that listens on all of the machine's addresses."""


class Refusal(NamedTuple):
    """Why a request is not answered.

    Attributes:
        status: Status of the response.
        reason: Plain text for the person who sees it in a browser.
    """

    status: HTTPStatus
    reason: str


class Access:
    """The rules by which a server answers.

    Args:
        host: The host that the server listens at, as the user gave it.
        token: The secret that requests must carry; a random one if none is given.
    """

    def __init__(self, host: str, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(TOKEN_BYTES)
        self.cookie_name = f"nrc_tracer_{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"
        self._any_address = host in EVERY_ADDRESS
        self._names = {*LOOPBACK_NAMES, host.lower(), *(() if is_loopback(host) else own_names())}

    @property
    def cookie(self) -> str:
        """The value of the `Set-Cookie` header that lets a browser in from now on."""
        return f"{self.cookie_name}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def refusal(self, target: str, headers: Headers) -> Refusal | None:
        """Return why a request is refused, or None if it may be answered.

        Args:
            target: The target of the request, such as `/?token=...`.
            headers: Its headers.
        """
        host = _only(headers.get_all("Host"))
        if host is None or not self._is_own_name(host_name(host)):
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, "This viewer is not known by the host name of the request.")
        origins = headers.get_all("Origin")
        if origins and _only(origins) not in (f"http://{host}", f"https://{host}"):
            return Refusal(HTTPStatus.FORBIDDEN, "This viewer answers requests of its own page only.")
        if not any(self._is_token(candidate) for candidate in self._candidates(target, headers)):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "This viewer needs its token. Open the whole link that the program printed, with ?token=... at its end.",
            )
        return None

    def page_path(self, target: str) -> str:
        """The path of a request's target, without the token if that is its first part."""
        path = target.partition("?")[0]
        prefix = f"/{self.token}"
        return path[len(prefix) :] or "/" if path == prefix or path.startswith(f"{prefix}/") else path

    def _is_own_name(self, name: str | None) -> bool:
        if name is None:
            return False
        # An attacker's name can resolve to this machine, but an address in a URL is what it is
        return name in self._names or (self._any_address and _is_address(name))

    def _candidates(self, target: str, headers: Headers) -> Iterable[str]:
        """All words of a request that stand where a token may stand."""
        path, _, query = target.partition("?")
        yield path.lstrip("/").partition("/")[0]  # frames in notebooks, whose browser sends no cookies
        yield from parse_qs(query, max_num_fields=64).get("token", []) if len(query) < 8192 else []
        for header in headers.get_all("Cookie"):
            try:
                jar = http.cookies.SimpleCookie(header)
            except http.cookies.CookieError:
                continue
            if self.cookie_name in jar:
                yield jar[self.cookie_name].value

    def _is_token(self, candidate: str) -> bool:
        return secrets.compare_digest(candidate.encode("utf-8", "replace"), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether a server at this host can be reached from its own machine only."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def own_names() -> set[str]:
    """Names by which other machines may know this one."""
    return {socket.gethostname().lower(), socket.getfqdn().lower()} - {""}


def host_name(host: str) -> str | None:
    """The lower-case name or address in a `Host` header, without its port; None if the header is malformed."""
    if not host or any(sign in host for sign in "/\\@?# \t,"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises if it is no number
        return parts.hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _only(values: list[str]) -> str | None:
    """The value of a header that occurs once; None otherwise."""
    return values[0] if len(values) == 1 else None
