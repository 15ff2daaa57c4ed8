#!/bin/sh
# Fails a CI job when loading modules wasted more memory than it may.
#
#   examples/waste_limit.sh BYTES [STATS]
#
# STATS is a report: of a modfs mount, of 'modfs run --stats FILE', or (the default) of the running
# kernel. Exit status: 0 within the limit, 1 above it, 2 where there is no such report.
set -eu

limit=${1:?usage: waste_limit.sh BYTES [STATS]}
stats=${2:-/sys/kernel/debug/modules/stats}

exec awk -F'\t' -v limit="$limit" '
    /Virtual mem wasted bytes/ {
        found = 1
        over = $2 + 0 > limit + 0 # awk counts beyond 63 bits, the shell does not
        print "wasted " $2 " bytes, " limit " allowed"
    }
    /^Duplicate failed modules/ { duplicates = 1 }
    over && duplicates # who it was
    END {
        if (!found) { print "waste_limit: no report of module statistics" > "/dev/stderr"; exit 2 }
        exit over
    }
' "$stats"
