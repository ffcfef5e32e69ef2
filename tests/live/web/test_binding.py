"""Ports of a viewer."""

import socket

import pytest

from nrc_tracer.errors import NrcError
from nrc_tracer.live.web.binding import bound_socket


def test_port_0_takes_a_free_one():
    with bound_socket("127.0.0.1", 0) as first, bound_socket("127.0.0.1", 0) as second:
        assert 0 < first.getsockname()[1] != second.getsockname()[1]


def test_a_port_in_use_is_one_clear_line_with_a_free_one():
    with bound_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NrcError) as caught:
            bound_socket("127.0.0.1", port)
    message = str(caught.value)
    assert message.startswith(f"port {port} is in use by another program; ")
    assert message.endswith("--port 0 takes any free one")
    assert "\n" not in message


def test_a_port_is_free_again_after_its_server():
    with bound_socket("127.0.0.1", 0) as bound:
        address = bound.getsockname()
        with socket.create_connection(address):
            pass
    bound_socket(*address).close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_hosts_of_other_machines_are_refused(host):
    with pytest.raises(NrcError, match=f'--host "{host}" is not'):
        bound_socket(host, 0)
