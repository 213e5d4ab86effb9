"""Who sent a request, as log lines tell it."""

import pytest
from aiohttp.test_utils import make_mocked_request

from switchboard.settings import SettingsError
from webhook.peers import Peers


class _Transport:
    def __init__(self, address: str) -> None:
        self._address = address

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._address, 1) if name == "peername" else default


@pytest.mark.parametrize(
    ("peer", "forwarded", "said"),
    [
        ("10.0.0.2", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.2", "evil, 203.0.113.7, 10.0.0.3", "203.0.113.7"),
        ("10.0.0.2", "203.0.113.7, nonsense", "10.0.0.2"),
        ("10.0.0.2", "", "10.0.0.2"),
        ("192.0.2.1", "203.0.113.7", "192.0.2.1"),
    ],
)
def test_a_forwarded_address_is_believed_from_trusted_proxies_alone(peer: str, forwarded: str, said: str) -> None:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = make_mocked_request("GET", "/", headers=headers, transport=_Transport(peer))
    assert Peers(["10.0.0.0/24"]).of(request) == said


def test_a_proxy_that_is_no_address_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
        Peers(["proxy.internal"])
