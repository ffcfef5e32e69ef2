"""Tokens that survive a restart of the viewer, and secrets that others can read, which are not used."""

import os
import time

import pytest

from nrc_tracer.live.web.tokens import LONGEST_AGE, token_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="tokens are kept on POSIX systems only")


def test_a_token_is_kept_for_its_host_and_port(tmp_path):
    file = tmp_path / "secret"
    token = token_of("127.0.0.1", 8080, file)
    assert len(token) == 32
    assert token_of("127.0.0.1", 8080, file) == token
    assert token_of("127.0.0.1", 8081, file) != token
    assert token_of("0.0.0.0", 8080, file) != token
    assert file.stat().st_mode & 0o777 == 0o600
    assert token.encode() not in file.read_bytes()
    assert token_of("127.0.0.1", 8080, tmp_path / "other") != token


def test_an_old_secret_is_replaced(tmp_path):
    file = tmp_path / "secret"
    token = token_of("127.0.0.1", 8080, file)
    assert token_of("127.0.0.1", 8080, file, time.time() + LONGEST_AGE / 2) == token
    assert token_of("127.0.0.1", 8080, file, time.time() + LONGEST_AGE * 2) != token


def test_a_secret_that_others_can_read_is_not_used(tmp_path):
    file = tmp_path / "secret"
    token_of("127.0.0.1", 8080, file)
    file.chmod(0o644)
    assert token_of("127.0.0.1", 8080, file) != token_of("127.0.0.1", 8080, file)
    link = tmp_path / "link"
    file.chmod(0o600)
    link.symlink_to(file)
    assert token_of("127.0.0.1", 8080, link) != token_of("127.0.0.1", 8080, link)
    missing = tmp_path / "no folder" / "secret"
    assert token_of("127.0.0.1", 8080, missing) != token_of("127.0.0.1", 8080, missing)
