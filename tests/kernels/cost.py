"""What it costs to be watched: storms of duplicates on one of Debian's kernels, in one boot.

python -m tests.kernels.cost 6.12 [CALLS [ROUNDS]]

Without anybody, with a recorder, and with its events but nobody who reads them; several times, the
median of each. Time there is instructions (Guest.run, counted): neither this machine's other work
nor the emulator's own ways come in. Of one module, with its signature and without: to check it
takes most of a load's time.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
from pathlib import Path

from tests.kernels.guest import Guest
from tools.record.debian import fetch

_MODULE = "loop"
_MARK = b"~Module signature appended~\n"
_STATES = ("nobody", "recorder", "events")
_SCRIPT = r"""
insmod /m/@MODULE.ko; insmod /m/unsigned.ko
measure() { for f in @MODULE unsigned; do echo "@""$1 $f $(storm /m/$f.ko @CALLS 4)"; done; }
measure warm
for round in $(seq @ROUNDS); do
    measure nobody
    python3 -m modfs record -o /tmp/r.jsonl & recorder=$!
    while ! [ -s /tmp/r.jsonl ]; do sleep 1; done
    sleep 2
    measure recorder
    echo "@""seen $(head -n 99999 /tmp/r.jsonl | wc -l)"
    kill $recorder; wait $recorder; echo "@""status $?"
    tail -n 1 /tmp/r.jsonl
    sh /hook.sh
    measure events
    cd /sys/kernel/tracing; cat instances/modfs_boot/per_cpu/cpu*/stats | grep -E "overrun|dropped"
    echo 0 > instances/modfs_boot/events/enable; rmdir instances/modfs_boot
    echo "-:modfs_boot/" >> dynamic_events; cd /
done
"""


def main(version: str, calls: int = 1000, rounds: int = 3) -> None:
    """Boot, measure, print."""
    from modfs.tracing.hook import hook

    with tempfile.TemporaryDirectory(prefix="modfs-cost-") as folder:
        guest = Guest(fetch(version), (_MODULE,), Path(folder))
        signed = guest.modules[_MODULE].read_bytes()
        (guest.root / "m/unsigned.ko").write_bytes(without_signature(signed))
        (guest.root / "hook.sh").write_text(hook())
        guest.compile(Path(__file__).with_name("storm.c"), "storm")
        script = _SCRIPT.replace("@MODULE", _MODULE)
        script = script.replace("@CALLS", str(calls)).replace("@ROUNDS", str(rounds))
        printed = guest.run(script, processors=1, counted=True)
    print(printed)
    found = re.findall(r"@(\w+) (\w+) ([\d.]+)", printed)
    for module in (_MODULE, "unsigned"):
        times = {
            state: statistics.median(float(t) for s, m, t in found if (s, m) == (state, module))
            for state in _STATES
        }
        for state, seconds in times.items():
            each = seconds / calls * 1e9
            ratio = seconds / times["nobody"]
            print(f"{version} {module} {state}: {each:,.0f} instructions a load, {ratio:.3f}")


def without_signature(data: bytes) -> bytes:
    """A module's file without what was appended (struct module_signature: its length, big-endian,
    is the last word before the mark)."""
    assert data.endswith(_MARK)
    end = len(data) - len(_MARK)
    return data[: end - 12 - int.from_bytes(data[end - 4 : end], "big")]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
