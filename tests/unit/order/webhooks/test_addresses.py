"""Server-side request forgery: the known ways to name an address inside the service's network."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order.webhooks.addresses import BadUrl, Forbidden, Resolver, Target, is_allowed, parse

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "::fffe:127.0.0.1",
    "fe80::5efe:127.0.0.1",
    "2001::7f00:1",
    "2001:0:5db8:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "100::1",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "64:ff9b::168.63.129.16",
    "192.0.0.192",
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "100.100.100.200",
    "100:0:0:1::1",
    "2001:1::1",
    "2001:2::1",
    "2001:3::1",
    "2001:4:112::1",
    "2001:10::1",
    "2001:20::1",
    "2001:30::1",
    "2620:4f:8000::1",
    "3fff::1",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    "5f00::1",
    "4000::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "151.101.1.69", "2606:4700:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_forbidden(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), ())


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), ())


@given(st.ip_addresses(v=4))
def test_a_mapped_or_translated_address_is_allowed_if_its_ipv4_address_is(address: ipaddress.IPv4Address) -> None:
    allowed = is_allowed(address, ())
    assert is_allowed(ipaddress.ip_address(f"::ffff:{address}"), ()) == allowed
    assert is_allowed(ipaddress.ip_address(f"64:ff9b::{address}"), ()) == allowed
    assert not is_allowed(ipaddress.ip_address(f"::{address}"), ())


def test_allowing_a_network_allows_no_other() -> None:
    networks = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/64"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5", "8.8.8.8"):
        assert is_allowed(ipaddress.ip_address(address), networks)
    for address in ("10.2.0.1", "127.0.0.1", "fd00:2::5", "::1"):
        assert not is_allowed(ipaddress.ip_address(address), networks)


# Spellings that inet_aton accepts, and some that look like a host name.
SPELLINGS = [
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "127.0.1",
    "127.0x000001",
    "0x7F.0.0.0x1",
    "00000177.0.0.1",
    "4294967295",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[0000:0000:0000:0000:0000:FFFF:A9FE:A9FE]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "a.localhost",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[fe80::1]",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "localhost",
    "LOCALHOST",
    "localhost.",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_private_address_is_allowed(host: str) -> None:
    target = parse(f"https://{host}/", allow_http=False)
    with pytest.raises((Forbidden, OSError)):  # OSError: the name is unknown
        Resolver((), 1).resolve(target, 10)


@pytest.mark.parametrize(
    "answer",
    [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "::1"], ["::ffff:192.168.0.1"], []],
)
def test_a_name_is_forbidden_unless_all_of_its_addresses_are_public(
    monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Forbidden):
        Resolver((), 1).resolve(parse("https://merchant.example/", allow_http=False), 10)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "merchant.example/hook",
        "//merchant.example/hook",
        "http://merchant.example/",
        "ftp://merchant.example/",
        "file:///etc/passwd",
        "gopher://merchant.example/",
        "javascript:alert(1)",
        "https://",
        "https:///hook",
        "https://:443/",
        "https://user@merchant.example/",
        "https://user:password@merchant.example/",
        "https://@merchant.example/",
        "https://8.8.8.8@127.0.0.1/",
        "https://merchant.example#@127.0.0.1/",
        "https://merchant.example/#part",
        "https://merchant.example\\@127.0.0.1/",
        "https://merchant.example:0/",
        "https://merchant.example:22/",
        "https://merchant.example:80/",
        "https://merchant.example:1023/",
        "https://merchant.example:65536/",
        "https://merchant.example:x/",
        "https://merchant.example:-1/",
        "https://merchant.example:44３/",
        "https://mer chant.example/",
        "https://merchant.example/a b",
        "https://merchant.example/\r\nX: y",
        "https://mérchant.example/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://ⓛocalhost/",
        "https://local\u00adhost/",
        "https://local\u200bhost/",
        "https://merchant.example../",
        "https://127.0.0.1\u3002/",
        "https://[::ffff:127.0.0.1%250]/",
        "https:///127.0.0.1/",
        "https:\\\\127.0.0.1/",
        "https:127.0.0.1/",
        "https://merchant.example:443:22/",
        "https://merchant.example:+443/",
        "https://merchant.example: 443/",
        "https://merchant.example:4_4_3/",
        " https://merchant.example/",
        "ht\ttps://merchant.example/",
        "https://mer\nchant.example/",
        "https://%31%32%37.0.0.1/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[::1%25eth0]/",
        "https://[v1.x]/",
        "https://-merchant.example/",
        "https://merchant_example/",
        f"https://{'a.' * 127}example/",
        "https://shop..example/",
        f"https://{'a' * 64}.example/",
    ],
)
def test_a_url_outside_the_allowed_form_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        parse(url, allow_http=False)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://merchant.example", Target("https", "merchant.example", 443, "/")),
        ("https://merchant.example./a?b=c&d", Target("https", "merchant.example", 443, "/a?b=c&d")),
        ("https://merchant.example:8443?x", Target("https", "merchant.example", 8443, "/?x")),
        ("HTTPS://1.1.1.1/", Target("https", "1.1.1.1", 443, "/")),
        ("https://[2606:4700::1]:1024/", Target("https", "2606:4700::1", 1024, "/")),
    ],
)
def test_an_allowed_url_is_split_into_its_parts(url: str, target: Target) -> None:
    assert parse(url, allow_http=False) == target


def test_http_urls_are_allowed_by_a_setting() -> None:
    assert parse("http://merchant.example/", allow_http=True) == Target("http", "merchant.example", 80, "/")
    with pytest.raises(BadUrl):
        parse("http://merchant.example:443/", allow_http=True)
