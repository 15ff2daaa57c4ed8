#!/bin/sh
# `make demo`: a mounted modfs at work. Needs modfs in PATH and nothing else; leaves nothing behind,
# also after Ctrl-C or a failure.
set -eu

shells=4
work=$(mktemp -d "${TMPDIR:-/tmp}/modfs-demo-XXXXXX")
tree=$work/modules
mount=$work/mount
writers=

finish() {
    status=$?
    trap '' INT TERM HUP # a second Ctrl-C shall not stop the cleaning
    trap - EXIT
    # shellcheck disable=SC2086 # one word a process
    [ -z "$writers" ] || kill $writers 2>/dev/null || true
    modfs umount "$mount" 2>/dev/null || fusermount -uz "$mount" 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

say() {
    if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

# The files of a module tree, each after those it depends on.
in_order() {
    awk -F'[: ]+' '{ for (i = NF; i > 0; i--) if ($i != "" && !seen[$i]++) print $i }' \
        "$tree/modules.dep"
}

# What udev's workers do: each asks for every module, whether or not another has asked before.
writer() {
    cd "$tree" # a request's path is taken from the folder of whoever writes it
    in_order | while read -r module; do
        echo "insmod $module" >"$mount/control" || true
    done 2>/dev/null
}

mkdir "$mount"
modfs mkmod --demo "$tree" >/dev/null
modfs mount --modules "$tree" "$mount"

say "A new kernel: $(in_order | wc -l) modules at hand, none loaded.  cat stats"
cat "$mount/stats"

say "$shells shells race to load them all:  echo 'insmod …' > control"
for _ in $(seq "$shells"); do
    writer &
    writers="$writers $!"
done
wait
tail -n 5 "$mount/control"

say "What that cost.  cat stats"
cat "$mount/stats"
