#!/bin/sh
# host-power.sh: what is mounted and started for a test host, in namespaces of its own that `unshare` has made, so that it is all
# gone with this process.
#
#   host-power.sh on FOLDER BASE NAME CGROUP…    boots the host, from its firmware on
#   host-power.sh off FOLDER BASE PROGRAM…       runs a program in the file system of a host that is off
#
# FOLDER holds the host's own files: `upper` and `work` for overlayfs, `root` to mount it at, `programs` for /opt/npc, and
# `flake` for /mnt.
set -eu
mode=$1 folder=$2 base=$3
root=$folder/root
shift 3

mount -t overlay overlay -o "lowerdir=$base,upperdir=$folder/upper,workdir=$folder/work" "$root"

if [ "$mode" = off ]; then
	mount --bind "$folder/programs" "$root/opt/npc"
	mount --bind "$folder/flake" "$root/mnt"
	mount --rbind /proc "$root/proc"
	mount --rbind /dev "$root/dev"
	exec chroot "$root" "$@"
fi

name=$1
shift
# nspawn keeps itself and the host below the group that it is started in, under names that are always the same.
for group in "$@"; do
	mkdir -p "$group"
	echo 0 >"$group/cgroup.procs"
done

# The test listens inside this network, which is the host's as well, before it tells us to go on.
ip link set lo up
: >"$folder/network"
read -r _ || exit 1
exec </dev/null

# Without `--boot`, it starts what it is told to; the signal is systemd's for a clean end, as `--boot` would have it.
exec systemd-nspawn --quiet --directory "$root" --machine "$name" --register=no --keep-unit --console=pipe \
	--capability=CAP_NET_ADMIN --kill-signal=SIGRTMIN+3 --bind-ro "$folder/programs:/opt/npc" \
	--bind-ro "$folder/flake:/mnt" /firmware
