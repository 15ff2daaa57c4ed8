#!/bin/sh
# The guest's only program: a coldplug as an initramfs of Debian's does it, watched; then all that
# was seen goes to the console. What it does meanwhile is done by the shell itself wherever that is
# possible, so that no process of its own stands in the trace.
export PATH=/bin:/sbin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /run
trace=/sys/kernel/tracing

section() { echo "@$1"; cat "$2"; echo "@END"; }

modaliases() { # of all devices, as udevd gets them
    find /sys/devices /sys/bus /sys/module -name uevent > /tmp/uevents
    while read -r path; do
        while read -r line; do
            case $line in MODALIAS=*) echo "${path%/uevent} ${line#MODALIAS=}" ;; esac
        done < "$path"
    done < /tmp/uevents
} 2>/dev/null

processes() { # of udevd: number, name, nanoseconds that it ran, and waited to run, times that it ran
    for path in /proc/[0-9]*; do
        read -r name < "$path/comm" || continue
        case $name in *udev*) read -r line < "$path/schedstat" && echo "${path#/proc/} $name $line" ;; esac
    done
} 2>/dev/null

processors() { # nanoseconds, by the kernel's own count
    while read -r line; do
        case $line in cpu*) echo "$line" ;; *) break ;; esac
    done < /proc/stat
}

modaliases > /tmp/before
sh /hook.sh
. /more.sh
echo 4096 > $trace/saved_cmdlines_size
cd $trace/instances/modfs_boot || reboot -f
echo 1 > options/record-cmd
processors > /tmp/processors-start
cat /proc/modules > /tmp/modules-before
read -r seqnum < /sys/kernel/uevent_seqnum
echo moment start > trace_marker
SYSTEMD_LOG_LEVEL=notice /lib/systemd/systemd-udevd --daemon --resolve-names=never
udevadm trigger --type=subsystems --action=add
udevadm trigger --type=devices --action=add
udevadm settle --timeout=@TIMEOUT@
settled=$?
echo moment settled > trace_marker
processes > /tmp/processes
processors > /tmp/processors-settled
sleep 2
udevadm settle --timeout=30
echo moment end > trace_marker
echo 0 > tracing_on
modaliases > /tmp/after

echo "@""BEGIN"
while read -r definition; do echo "OK   $definition"; done < $trace/dynamic_events
echo @MACHINE
nproc
uname -a
head -n 1 /proc/meminfo
echo @END
section BEFORE /tmp/before
section AFTER /tmp/after
section PROCBEFORE /tmp/modules-before
section TRACE trace
echo @LOST
for path in per_cpu/cpu*/stats; do grep -E 'overrun|dropped' $path; done
echo @END
section LOCKS /tmp/locks
section PROBES $trace/kprobe_profile
section PROCMODULES /proc/modules
section UDEVD /tmp/processes
section STAT /tmp/processors-start
section STATSETTLED /tmp/processors-settled
echo @SEQNUM
echo $seqnum
echo @END
echo @SETTLE
echo $settled
echo @END
echo "@""OVER"
reboot -f
