"""Two spellings of one address are one Label Studio, and two addresses are two."""

import socket

import pytest

from backend.label_studio.identity import ALONE, studio_address, studio_identity

ONE = [
    ["http://studio.org", "http://STUDIO.org/", "http://studio.org:80", "http://studio.org.:80/"],
    ["http://localhost:8080", "http://127.0.0.1:8080/", "http://[::1]:8080", "http://host.docker.internal:8080"],
    ["https://studio.org/ls", "https://studio.org:443/ls/"],
    ["http://[2001:DB8::1]:8080", "http://[2001:db8:0:0::1]:8080"],
    ["http://bücher.example", "http://xn--bcher-kva.example"],
]


@pytest.mark.parametrize("spellings", ONE)
def test_spellings_of_one_address_are_one(configure, spellings):
    assert len({studio_identity(configure(LABEL_STUDIO_URL=url)) for url in spellings}) == 1


def test_addresses_are_told_apart(configure):
    urls = [spellings[0] for spellings in ONE]
    urls += ["https://studio.org", "http://studio.org:8080", "https://studio.org/other", "http://localhost:8081"]
    found = {studio_identity(configure(LABEL_STUDIO_URL=url)) for url in urls}
    assert len(found) == len(urls)
    assert all(identity.isalnum() and len(identity) == 10 for identity in found)


def test_without_a_label_studio_a_backend_is_its_own(settings):
    assert (studio_identity(settings), studio_address(settings)) == (ALONE, "")


def test_a_loopback_address_means_another_label_studio_on_each_machine(configure, monkeypatch):
    found = set()
    for machine in ("one", "two"):
        monkeypatch.setattr(socket, "gethostname", lambda machine=machine: machine)
        settings = configure(LABEL_STUDIO_URL="http://localhost:8080", REDIS_URL="redis://redis.org")
        assert studio_address(settings) == f"http://localhost:8080 on {machine}"
        found.add(studio_identity(settings))
        found.add(studio_identity(configure(REDIS_URL="redis://127.0.0.1")))  # all that share it are on this machine
    assert len(found) == 3
