import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from backend.images.addresses import is_public

PRIVATE = [
    *("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    *("224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/8"),
]
private_v4 = st.sampled_from(PRIVATE).flatmap(lambda network: st.ip_addresses(network=network))


@given(private_v4)
def test_no_spelling_of_a_private_address_is_public(address):
    number = int(address)
    prefixes = ("::ffff:0:0", "64:ff9b::", "::")
    spellings = [ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + number) for prefix in prefixes]
    spellings.append(ipaddress.IPv6Address((0x2002 << 112) + (number << 80)))  # 6to4
    assert not any(is_public(str(spelling)) for spelling in (address, *spellings))


@given(st.ip_addresses(v=6).filter(lambda address: address not in ipaddress.ip_network("2000::/3")))
def test_ipv6_outside_the_global_range_is_public_by_its_ipv4_alone(address):
    carried = address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96")
    assert bool(carried) or not is_public(str(address))
