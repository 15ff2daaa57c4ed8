"""Which calls of which programs are caught: the filter run by a small interpreter of BPF.

Instructions are those of filter.rst (Documentation/networking); that the kernel takes the filter
and sends the calls is in tests/run.
"""

from __future__ import annotations
