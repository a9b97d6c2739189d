#!/bin/bash
# Becomes systemd, in namespaces of its own and over a copy-on-write view of this machine's files: nothing that it
# writes outlives it, and it runs no service but its journal and what it is told to.
# $1: an empty folder. $2, $3, $4: what is seen as /opt/python, /opt/packages, /opt/source.
set -eu
top=$1 python=$2 packages=$3 source=$4

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$top/root"
cd "$top/root"

mkdir -p opt/python opt/packages opt/source etc/systemd/system
mount --bind "$python" opt/python
mount --bind "$packages" opt/packages
mount --bind "$source" opt/source
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
mount -t devpts devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for each in run tmp dev/shm; do
    mount -t tmpfs -o mode=1777 tmpfs "$each"
done
chmod 755 run

# What a machine starts besides would change this one's kernel (sysctl, modules, clock): all of it is left out.
find etc/systemd/system lib/systemd/system -path '*.wants/*' ! -name '*journald*' -delete
for unit in systemd-remount-fs systemd-sysctl systemd-modules-load systemd-udevd systemd-timesyncd; do
    ln -sfn /dev/null "etc/systemd/system/$unit.service"
done
: >etc/fstab

# A Python that may stand in a home, which the units can't see, is found below /opt.
echo /opt/python/lib >etc/ld.so.conf.d/of-the-tests.conf
chroot . ldconfig
chroot . /opt/python/bin/python3 -m venv --without-pip /opt/sealstream

mkdir .old
pivot_root . .old
umount -l /.old
exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no
