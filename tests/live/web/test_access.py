"""Which requests a viewer answers, without a server."""

from http import HTTPStatus

import pytest
from websockets.datastructures import Headers

from nrc_tracer.live.web.access import Access, host_name, is_loopback

TOKEN = "a-token-of-this-test"


def _headers(host="127.0.0.1:8080", **others):
    return Headers([("Host", host), *((name.replace("_", "-"), value) for name, value in others.items())])


@pytest.fixture
def local():
    return Access("127.0.0.1", TOKEN)


def test_tokens_are_random_and_long():
    tokens = {Access("127.0.0.1").token for _ in range(8)}
    assert len(tokens) == 8
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize("target", [f"/?token={TOKEN}", f"/?darkMode&token={TOKEN}", f"/{TOKEN}", f"/{TOKEN}/"])
def test_links_with_the_token_are_answered(local, target):
    assert local.refusal(target, _headers()) is None
    assert local.page_path(target) == "/"


def test_the_cookie_is_answered_and_hidden_from_scripts_and_other_sites(local):
    assert local.cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    cookie = local.cookie.partition(";")[0]
    assert local.refusal("/", _headers(Cookie=cookie)) is None
    assert local.refusal("/", _headers(Cookie=f"other=1; {cookie}; more=2")) is None
    assert Access("127.0.0.1").refusal("/", _headers(Cookie=cookie)).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    "target",
    ["/", "/?token=", "/?token=wrong", f"/?token={TOKEN}x", f"/?other={TOKEN}", f"/a/{TOKEN}", "/?token=\xff", "//"],
)
def test_requests_without_the_token_are_refused(local, target):
    assert local.refusal(target, _headers()).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost:8080", "localhost:9999", "localhost", "[::1]:8080", "LOCALHOST"]
)
def test_a_local_server_has_the_names_of_the_loopback(local, host):
    """The port may be another one, through a tunnel."""
    assert local.refusal(f"/?token={TOKEN}", _headers(host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "10.0.0.7:8080",
        "",
        "localhost:80@evil.example",
        "a b",
        "[::1",
        "localhost:x",
    ],
)
def test_foreign_hosts_are_refused(local, host):
    assert local.refusal(f"/?token={TOKEN}", _headers(host)).status == HTTPStatus.MISDIRECTED_REQUEST


def test_a_request_has_one_host(local):
    headers = Headers([("Host", "localhost"), ("Host", "localhost")])
    assert local.refusal(f"/?token={TOKEN}", headers).status == HTTPStatus.MISDIRECTED_REQUEST
    assert local.refusal(f"/?token={TOKEN}", Headers()).status == HTTPStatus.MISDIRECTED_REQUEST


def test_an_open_server_answers_to_addresses_but_not_to_foreign_names():
    access = Access("0.0.0.0", TOKEN)
    target = f"/?token={TOKEN}"
    assert access.refusal(target, _headers("192.168.1.5:8080")) is None
    assert access.refusal(target, _headers("[2001:db8::1]:8080")) is None
    assert access.refusal(target, _headers("evil.example")).status == HTTPStatus.MISDIRECTED_REQUEST


def test_origins_must_be_the_page_itself(local):
    target = f"/?token={TOKEN}"
    for good in ("http://localhost:8080", "https://localhost:8080"):
        assert local.refusal(target, _headers("localhost:8080", Origin=good)) is None
    for bad in ("http://evil.example", "http://localhost:3000", "null", "http://localhost", "localhost:8080", ""):
        assert local.refusal(target, _headers("localhost:8080", Origin=bad)).status == HTTPStatus.FORBIDDEN, bad


def test_loopback_hosts_are_recognized():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.0.0.2", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "", "192.168.1.5", "render-server")))


def test_host_names_have_no_port():
    assert host_name("Render-Server:8080") == "render-server"
    assert host_name("[2001:db8::1]:80") == "2001:db8::1"
    assert host_name("user@host") is None
