#!/bin/sh
# A storm of writers: many processes ask for one module at the same moment, as udev's workers do
# for a device that every processor has.
#
#   examples/storm.sh MOUNTPOINT MODULE.ko [WRITERS]
#
# Prints how the requests ended and what the storm cost. While the first of them is loading, a kernel
# since 6.5 has the others share its result; an older one reads the file for each, and refuses it.
set -eu

mount=${1:?usage: storm.sh MOUNTPOINT MODULE.ko [WRITERS]}
module=$(realpath "${2:?which module?}")
writers=${3:-50}

outcomes=$(mktemp)
trap 'rm -f "$outcomes"' EXIT

ask() {
    # cat, unlike echo, says in every shell what the write's errno was.
    said=$(echo "insmod $module" | cat 2>&1 >"$mount/control") || echo "${said##*: }" >>"$outcomes"
}

for _ in $(seq "$writers"); do
    ask &
done
wait

echo "$writers writers, $(wc -l <"$outcomes") refused:"
sort "$outcomes" | uniq -c
grep -E 'ever loaded|failed on becoming|failed on load|wasted' "$mount/stats"
