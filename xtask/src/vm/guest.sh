#!/bin/busybox sh
# The first process of a virtual machine: brings up the disk and the usual file systems, then does
# what the plan says and tells it on the second serial port.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

if [ "${1:-}" != inside ]; then
    # In the initramfs: modules in the order in which they need each other, then the disk.
    busybox mount -t devtmpfs dev /dev
    for module in /modules/*; do
        busybox insmod "$module" || echo "cannot load $module"
    done
    tries=0
    while [ ! -b /dev/vda ] && [ $tries -lt 500 ]; do
        busybox usleep 10000
        tries=$((tries + 1))
    done
    busybox mount -t ext4 /dev/vda /root || exec busybox poweroff -f
    busybox cp /plan /root/plan
    busybox umount /dev
    exec busybox switch_root /root /guest inside
fi

# Who built the disk need not have been root.
chown -R -h 0:0 /
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
mount -t tracefs tracing /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs run /run
ln -s /proc/self/fd /dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${name%:*}" "/dev/${name#*:}"; done
ip link set lo up
hostname guest
# As many open files as a host's service manager allows: the kernel's own limit is lower than some tests need.
ulimit -n 524288
stty -F /dev/ttyS1 raw -echo
exec 3>/dev/ttyS1

# Mounts cgroups of that version only.
cgroups() {
    if [ "$1" = 2 ]; then
        mount -t cgroup2 cgroup /sys/fs/cgroup
        return
    fi
    mount -t tmpfs cgroup /sys/fs/cgroup
    for controller in cpu memory pids; do
        mkdir /sys/fs/cgroup/$controller
        mount -t cgroup -o $controller cgroup /sys/fs/cgroup/$controller
    done
}

# Runs a program of tests and tells what it said: `run NAME SECONDS WORD...`.
run() {
    name=$1 seconds=$2
    shift 2
    echo "@begin $name $*" >&3
    start=$(date +%s)
    timeout -s KILL "$seconds" "/tests/$name" --show-output "$@" >/run/said 2>&1 </dev/null
    status=$?
    cat /run/said >&3
    echo >&3
    echo "@end $name $status $(($(date +%s) - start))" >&3
}

cd /
. /plan
echo "@done" >&3
poweroff -f
