"""Literal tables of address ranges with a fixed meaning, each with what it is and where that is written.

Sources: RFC 6890 and the registries that it founded, iana-ipv4-special-registry and iana-ipv6-special-registry, plus
the multicast blocks (RFC 5771, RFC 4291). Split by use: private and documentation ranges stand apart from the rest, as
an operator may have reason to list them (a private network's own spam source, a laboratory). Resolvers: the service
addresses that each operator publishes for anybody's use; their documentation is named.

IPv4-mapped IPv6 (::ffff:0:0/96) is absent on purpose: every parser turns it into IPv4.
"""

Table = tuple[tuple[str, str], ...]

SPECIAL: Table = (
    ("0.0.0.0/8", "this network, RFC 791"),
    ("100.64.0.0/10", "shared address space, RFC 6598"),
    ("127.0.0.0/8", "loopback, RFC 1122"),
    ("169.254.0.0/16", "link local, RFC 3927"),
    ("192.0.0.0/24", "IETF protocol assignments, RFC 6890"),
    ("192.31.196.0/24", "AS112, RFC 7535"),
    ("192.52.193.0/24", "AMT, RFC 7450"),
    ("192.88.99.0/24", "6to4 relay anycast, RFC 7526"),
    ("192.175.48.0/24", "AS112, RFC 7534"),
    ("198.18.0.0/15", "benchmarking, RFC 2544"),
    ("224.0.0.0/4", "multicast, RFC 5771"),
    ("240.0.0.0/4", "reserved and limited broadcast, RFC 1112"),
    ("::/128", "unspecified, RFC 4291"),
    ("::1/128", "loopback, RFC 4291"),
    ("64:ff9b::/96", "IPv4-IPv6 translation, RFC 6052"),
    ("64:ff9b:1::/48", "local-use translation, RFC 8215"),
    ("100::/64", "discard only, RFC 6666"),
    ("100:0:0:1::/64", "dummy prefix, RFC 9780"),
    ("2001::/23", "IETF protocol assignments with Teredo and ORCHID, RFC 2928"),
    ("2002::/16", "6to4, RFC 3056"),
    ("2620:4f:8000::/48", "AS112, RFC 7534"),
    ("5f00::/16", "segment routing, RFC 9602"),
    ("fe80::/10", "link local, RFC 4291"),
    ("fec0::/10", "site local, deprecated by RFC 3879"),
    ("ff00::/8", "multicast, RFC 4291"),
)

PRIVATE: Table = (
    ("10.0.0.0/8", "private, RFC 1918"),
    ("172.16.0.0/12", "private, RFC 1918"),
    ("192.168.0.0/16", "private, RFC 1918"),
    ("fc00::/7", "unique local, RFC 4193"),
)

DOCUMENTATION: Table = (
    ("192.0.2.0/24", "TEST-NET-1, RFC 5737"),
    ("198.51.100.0/24", "TEST-NET-2, RFC 5737"),
    ("203.0.113.0/24", "TEST-NET-3, RFC 5737"),
    ("2001:db8::/32", "documentation, RFC 3849"),
    ("3fff::/20", "documentation, RFC 9637"),
)

RESOLVERS: Table = (
    # developers.google.com/speed/public-dns/docs/using, .../docs/dns64
    ("8.8.8.8", "Google Public DNS"),
    ("8.8.4.4", "Google Public DNS"),
    ("2001:4860:4860::8888", "Google Public DNS"),
    ("2001:4860:4860::8844", "Google Public DNS"),
    ("2001:4860:4860::6464", "Google Public DNS64"),
    ("2001:4860:4860::64", "Google Public DNS64"),
    # developers.cloudflare.com/1.1.1.1/ip-addresses
    ("1.1.1.0/29", "Cloudflare 1.1.1.1"),
    ("1.0.0.0/29", "Cloudflare 1.1.1.1"),
    ("2606:4700:4700::/64", "Cloudflare 1.1.1.1"),
    # quad9.net/service/service-addresses-and-features
    ("9.9.9.8/29", "Quad9"),
    ("149.112.112.8/29", "Quad9"),
    ("149.112.112.112", "Quad9"),
    ("2620:fe::/64", "Quad9"),
    # opendns.com/setupguide
    ("208.67.222.222", "OpenDNS"),
    ("208.67.222.220", "OpenDNS"),
    ("208.67.222.123", "OpenDNS FamilyShield"),
    ("208.67.220.220", "OpenDNS"),
    ("208.67.220.222", "OpenDNS"),
    ("208.67.220.123", "OpenDNS FamilyShield"),
    ("2620:119:35::35", "OpenDNS"),
    ("2620:119:53::53", "OpenDNS"),
    # adguard-dns.io/en/public-dns.html
    ("94.140.14.14/31", "AdGuard DNS"),
    ("94.140.14.140/31", "AdGuard DNS"),
    ("94.140.15.15", "AdGuard DNS"),
    ("94.140.15.16", "AdGuard DNS"),
    ("2a10:50c0::/64", "AdGuard DNS"),
    # cleanbrowsing.org/filters
    ("185.228.168.9", "CleanBrowsing"),
    ("185.228.168.10", "CleanBrowsing"),
    ("185.228.168.168", "CleanBrowsing"),
    ("185.228.169.9", "CleanBrowsing"),
    ("185.228.169.11", "CleanBrowsing"),
    ("185.228.169.168", "CleanBrowsing"),
    # the resolvers that Level 3, now Lumen, never restricted
    ("4.2.2.0/29", "Level 3"),
    # dns.yandex.com
    ("77.88.8.0/29", "Yandex DNS"),
    ("77.88.8.8", "Yandex DNS"),
    ("77.88.8.88", "Yandex DNS"),
    ("2a02:6b8::feed:0/112", "Yandex DNS"),
    # dns.watch
    ("84.200.69.80", "DNS.WATCH"),
    ("84.200.70.40", "DNS.WATCH"),
    # dns.he.net
    ("74.82.42.42", "Hurricane Electric"),
    ("2001:470:20::2", "Hurricane Electric"),
    # alidns.com, dnspod.com, 114dns.com
    ("223.5.5.5", "AliDNS"),
    ("223.6.6.6", "AliDNS"),
    ("2400:3200::1", "AliDNS"),
    ("2400:3200:baba::1", "AliDNS"),
    ("119.29.29.29", "DNSPod"),
    ("114.114.114.114", "114DNS"),
    ("114.114.115.115", "114DNS"),
)
