"""Which ioctls of a socket look for a network interface by its name, and so may ask for one.

include/uapi/linux/sockios.h; who calls dev_load in net/core/dev_ioctl.c, net/ipv4/devinet.c and
net/wireless/wext-core.c of 6.12.117.
"""

from __future__ import annotations

from collections.abc import Callable

_BY_ALL = frozenset(
    (
        *(0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D),  # SIOCGIF FLAGS ADDR DST BRD MASK METRIC
        *(0x8914, 0x8916, 0x8918, 0x891A, 0x891C),  # SIOCSIF FLAGS ADDR DSTADDR BRDADDR NETMASK
        *(0x8921, 0x8927, 0x8929, 0x8933, 0x8942, 0x8970),  # SIOCGIF MTU HWADDR SLAVE INDEX TXQ MAP
        *(0x8935, 0x8934),  # SIOCGIFPFLAGS, SIOCSIFPFLAGS
        *(0x8946, 0x8947, 0x8948, 0x8923),  # SIOCETHTOOL, SIOCGMIIPHY, SIOCGMIIREG, SIOCSIFNAME
        *(0x8993, 0x8994, 0x89B1, 0x894A),  # SIOCBOND INFOS, SIOCGHWTSTAMP, SIOCWANDEV
        *range(0x89F0, 0x8A00),  # SIOCDEVPRIVATE
        *range(0x8B00, 0x8C00),  # wireless extensions
    )
)
_BY_ADMINISTRATORS = frozenset(
    (
        *(0x891E, 0x8922, 0x8924, 0x8930, 0x8937),  # SIOCSIF METRIC MTU HWADDR SLAVE HWBROADCAST
        *(0x8931, 0x8932, 0x8943, 0x8971),  # SIOCADDMULTI, SIOCDELMULTI, SIOCSIFTXQLEN, SIOCSIFMAP
        *(0x8949, 0x8990, 0x8991, 0x8992, 0x8995),  # SIOCSMIIREG, SIOCBOND ENSLAVE RELEASE …
        *(0x89B0,),  # SIOCSHWTSTAMP
    )
)


def needs_interface(command: int, net_admin: Callable[[], bool]) -> bool:
    """Does the kernel look for the interface? ``net_admin``: has the caller CAP_NET_ADMIN?"""
    return command in _BY_ALL or (command in _BY_ADMINISTRATORS and net_admin())
