#!/bin/sh
# Makes .venv and installs what modfs needs from Debian's or Ubuntu's packages.
#
#   tools/setup.sh run      what modfs itself needs
#   tools/setup.sh test     also the programs the tests run
#   tools/setup.sh packages also what builds and tries packages
#   tools/setup.sh kernels  also QEMU, to boot kernels with
#   tools/setup.sh pictures also a browser, and what checks texts for Prometheus
#   tools/setup.sh kernel-sources  also what builds kernels
#   tools/setup.sh docs     what builds the documentation's site
#   tools/setup.sh bench    also the library the benchmark's C file system is built with
#
# Quick when there is nothing to do. As root, or where sudo asks for no password, it installs
# packages by itself; otherwise it prints the one command to type and stops.
# PYTHON=/path/to/python chooses the Python to use (3.11 or later).
set -eu

level=${1:?usage: tools/setup.sh run|test|docs|bench|packages|kernels|kernel-sources|pictures}
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # depmod and ldconfig are not in every user's PATH

die() {
    printf 'modfs set-up: %s\n' "$*" >&2
    exit 1
}

is_new_enough() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

# The package PACKAGE is wanted if there is no program PROGRAM: wants PROGRAM PACKAGE
wants() {
    command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}

# The same for a shared library. The packages of libfuse 2 have two names: the releases that made
# 64-bit time the rule (Debian 13, Ubuntu 24.04) call it libfuse2t64, and its old name is taken as
# another name for it by apt-get.
wants_library() {
    ldconfig -p | grep -q "$1" || packages="$packages $2"
}

missing_packages() {
    packages=
    python=$(find_python)
    if [ -z "$python" ]; then
        packages="python3 python3-venv"
    elif ! is_new_enough .venv/bin/python && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        packages=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
    fi

    # fuse3 has a fusermount that serves libfuse 2 too, and brings a libfuse 3. The older package,
    # fuse, cannot stand beside fuse3, which much else on a desktop depends on.
    command -v fusermount >/dev/null 2>&1 || wants fusermount3 fuse3
    wants_library 'libfuse3*\.so\.[234]' fuse3
    wants depmod kmod

    [ "$level" != packages ] || wants mmdebstrap mmdebstrap

    case $level in test | bench | packages | kernels | kernel-sources | pictures)
        wants_library 'libfuse\.so\.2' libfuse2 # the tests run with both
        wants_library 'libfuse3\.so' fuse3
        wants busybox busybox-static
        wants unshare util-linux
        wants mount mount
        wants readelf binutils
        wants gcc 'gcc libc6-dev'
        wants ps procps
        wants less less
        wants xz xz-utils
        wants zstd zstd
        wants mandoc mandoc
        wants udevadm udev
        wants umockdev-run umockdev
        [ -d /usr/share/initramfs-tools/scripts ] || packages="$packages initramfs-tools-core"
        [ -d /usr/lib/dracut/modules.d ] || packages="$packages dracut-core"
        [ -x /usr/lib/systemd/systemd-modules-load ] ||
            [ -x /lib/systemd/systemd-modules-load ] || packages="$packages systemd"
        ;;
    esac
    case $level in kernels | kernel-sources)
        wants qemu-system-x86_64 qemu-system-x86
        wants cpio cpio
        wants gzip gzip
        ;;
    esac
    if [ "$level" = kernel-sources ]; then
        wants make make
        wants flex flex
        wants bison bison
        wants bc bc
        [ -e /usr/include/libelf.h ] || packages="$packages libelf-dev"
        [ -e /usr/include/openssl/ssl.h ] || packages="$packages libssl-dev"
    fi
    if [ "$level" = pictures ]; then
        wants chromium chromium
        wants chromedriver chromium-driver
        wants promtool prometheus
    fi
    if [ "$level" = bench ]; then
        wants pkg-config pkg-config
        [ -e /usr/include/fuse/fuse.h ] || packages="$packages libfuse-dev"
    fi
    printf '%s' "$packages"
}

# How to become root without a question: prints nothing for root, sudo where that works, else fails.
as_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null && echo sudo
}

install_packages() {
    command -v apt-get >/dev/null 2>&1 || die "needs what these Debian packages hold: $*"
    command="apt-get update && apt-get install -y --no-install-recommends $*"
    if ! sudo=$(as_root); then
        if command -v sudo >/dev/null 2>&1; then become='sudo sh -c'; else become='su -c'; fi
        die "some packages are missing. Type this, then try again:
    $become '$command'"
    fi
    echo "modfs set-up: installing $*"
    # shellcheck disable=SC2086 # $sudo is empty or one word
    $sudo env DEBIAN_FRONTEND=noninteractive sh -c "$command" >.setup.log 2>&1 || {
        tail -n 15 .setup.log >&2
        die "apt-get failed: the whole of what it said is in $PWD/.setup.log"
    }
    rm -f .setup.log
}

make_venv() {
    extra=dev
    [ "$level" = run ] && extra=export,plot,sign
    [ "$level" = pictures ] && extra=dev,browser
    installed=.venv/installed-$extra # a copy of the pyproject.toml that was installed
    if is_new_enough .venv/bin/python && cmp -s pyproject.toml "$installed"; then
        return
    fi
    echo "modfs set-up: installing the Python packages into $PWD/.venv"
    is_new_enough .venv/bin/python || "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 \
        --editable ".[$extra]"
    cp pyproject.toml "$installed"
}

packages=$(missing_packages)
# shellcheck disable=SC2086 # one word a package
[ -z "$packages" ] || install_packages $packages
python=$(find_python)
[ -n "$python" ] || die "needs Python 3.11 or later: make PYTHON=/path/to/python3.11 …"
make_venv
[ -c /dev/fuse ] || die "there is no /dev/fuse here: 'modprobe fuse' as root makes it; a \
container must be given it (docker run --device /dev/fuse --cap-add SYS_ADMIN)"
