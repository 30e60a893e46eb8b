#!/bin/sh
# host-base.sh DEST: makes the root file system that test hosts have in common: this machine's own Debian, so that programs
# built here run there, with systemd and Nix. Needs debootstrap and root. DEST is complete or absent.
set -eu

fail() { echo "host-base.sh: $*" >&2; exit 1; }

case $#${1:+y} in 1y) ;; *) fail 'usage: host-base.sh DEST' ;; esac
dest=${1%/}
[ ! -e "$dest" ] || fail "$dest is there already"
[ "$(id -u)" = 0 ] || fail 'debootstrap needs root'

# shellcheck source=/dev/null
suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || fail 'this machine does not run Debian'
# The machine's own mirror. Label tells it from the security and backports archives, which have the same Origin.
# shellcheck disable=SC2016 # apt expands $(REPO_URI)
mirror=$(apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
[ -n "$mirror" ] || fail "apt knows no Debian mirror here (none configured, or 'apt-get update' never ran)"

part=$dest.partial
trap 'rm -rf --one-file-system "$part"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf --one-file-system "$part"

# debootstrap follows no virtual packages: libdbi-perl is what nix-bin needs of Perl's.
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,libdbi-perl,nix-bin,iproute2,procps,ca-certificates,curl \
	"$suite" "$part" "$mirror" || fail 'debootstrap failed'

cd "$part"
rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* var/log/bootstrap.log usr/share/doc usr/share/man usr/share/locale
# The systems bring a link to their own units in its place, as NixOS does; Debian's lie elsewhere.
rm -rf etc/systemd/system etc/hostname
mkdir -p nix var/log/journal
echo 'Systems for test hosts act here, and nowhere else.' >etc/npc-test-host
cd /
mv -T "$part" "$dest"
