"""How fast a processor of this machine is: what it checks of signatures."""

from __future__ import annotations

import hashlib
import time

_BYTES = bytes(1 << 20)
_LONG = 0.1  # seconds of the processor's time


def speed() -> float:
    """Billions of bytes a second that SHA-512 takes, by OpenSSL: 1 for a server's processor."""
    count, began = 0, time.process_time()
    while (took := time.process_time() - began) < _LONG:
        hashlib.sha512(_BYTES).digest()
        count += 1
    return count * len(_BYTES) / took / 1e9
