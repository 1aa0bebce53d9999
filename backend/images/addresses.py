"""Which addresses belong to the public Internet."""

import ipaddress

__all__ = ["is_public"]

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
PLATFORM = ipaddress.ip_address("168.63.129.16")  # Azure's metadata and agent service, at an address that looks public


def is_public(address: str) -> bool:
    """Whether an address leads to a public host: not into this machine, its network, or its cloud's own services.

    IPv6 addresses that carry an IPv4 address are judged by that one, where the network translates them (mapped, NAT64),
    and refused where it would tunnel (6to4, Teredo).
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip not in GLOBAL_UNICAST or ip.sixtofour or ip.teredo:
            return False
    return ip.is_global and not ip.is_multicast and ip != PLATFORM
