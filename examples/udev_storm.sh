#!/bin/sh
# The storm of a boot by udev itself: all processors ask for the same modules, because each is a
# device with the same modalias, and systemd-udevd's workers race to load them.
#
#   examples/udev_storm.sh [PROCESSORS [OPTION...]]
#
# The modalias is that of this machine's first processor, or MODALIAS. Options are those of
# `modfs run`: --kernel 6.4, --modules TREE, --environment FILE. Prints the statistics. No root is
# needed; nothing of the machine changes. It takes Debian's package udev.
set -eu

processors=${1:-255}
[ $# = 0 ] || shift
modalias=${MODALIAS:-$(sed -n 's/^MODALIAS=//p' /sys/devices/system/cpu/cpu0/uevent)}
[ -n "$modalias" ] || { echo "this machine's processors have no modalias: set MODALIAS" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for number in $(seq 0 $((processors - 1))); do
    printf 'P: /devices/system/cpu/cpu%s\nE: SUBSYSTEM=cpu\nE: MODALIAS=%s\n\n' "$number" "$modalias"
done >"$folder/processors.umockdev"

# shellcheck disable=SC2016 # it is for the shell inside
modfs run --devices "$folder/processors.umockdev" "$@" -- sh -ec '
    for udevd in /usr/lib/systemd/systemd-udevd /lib/systemd/systemd-udevd; do
        [ ! -x "$udevd" ] || break
    done
    [ -x "$udevd" ] || { echo "systemd-udevd is missing: it is in the package udev" >&2; exit 1; }
    export SYSTEMD_IGNORE_CHROOT=1 # inside a chroot, udevadm does nothing
    "$udevd" --daemon --children-max="$1" 2>/dev/null
    udevadm trigger --type=devices --action=add --settle
    udevadm control --exit
    cat /sys/kernel/debug/modules/stats
' sh "$processors"
