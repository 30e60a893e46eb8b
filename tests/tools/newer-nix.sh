#!/bin/sh
# newer-nix.sh DEST [SUITE]: puts the Nix of a newer Debian SUITE (default:
# trixie) into DEST, beside the system's own and without installing anything;
# DEST/bin/nix, nix-env, nix-store and nix-instantiate run it. Needs apt and
# dpkg, not root. DEST is complete or absent; one run per DEST at a time.
set -eu

fail() { echo "newer-nix.sh: $*" >&2; exit 1; }

case $#${1:+y} in 1y | 2y) ;; *) fail 'usage: newer-nix.sh DEST [SUITE]' ;; esac
dest=${1%/} suite=${2:-trixie}
case $dest in /*) ;; *) dest=$PWD/$dest ;; esac
# The wrappers hold DEST in single quotes, and the loader splits a library path
# at : and ; and expands $.
case $dest in *[\':\;\$]*) fail "DEST must not contain any of ' : ; \$" ;; esac
case $suite in *[!a-z0-9-]*) fail "not a suite's name: $suite" ;; esac

if "$dest/bin/nix" --version 2>/dev/null; then exit 0; fi
# A folder that is not ours is not ours to delete; an empty one may be replaced.
[ ! -e "$dest" ] || rmdir "$dest" 2>/dev/null || fail "$dest is in the way: it holds no working Nix"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "no $keyring (package debian-archive-keyring)"
# The machine's own mirror carries the other suites too. Label tells it from
# the security and backports archives, which have the same Origin.
# shellcheck disable=SC2016 # apt expands $(REPO_URI)
mirror=$(apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
[ -n "$mirror" ] || fail "apt knows no Debian mirror here (none configured, or 'apt-get update' never ran)"

part=$dest.partial
tmp=$(mktemp -d)
trap 'rm -rf "$tmp" "$part"' EXIT
trap 'exit 1' HUP INT TERM

# Everything apt writes goes below $tmp. The machine's configuration (proxies,
# certificates, logins) still applies, except for what would act outside $tmp or
# change the result: its hooks, pins and default release, and any leave to take
# unsigned packages. An empty status file makes apt resolve the whole closure.
mkdir -p "$tmp/state/lists/partial" "$tmp/cache/archives/partial" "$tmp/debs"
: >"$tmp/state/status"
echo "deb [signed-by=$keyring arch=$(dpkg --print-architecture) target=Packages] $mirror $suite main" >"$tmp/sources.list"
cat >"$tmp/apt.conf" <<-CONF
	#clear APT::Update;
	APT::Update::Error-Mode "any";
	APT::Default-Release "";
	APT::Install-Recommends "false";
	APT::Get::AllowUnauthenticated "false";
	Acquire::AllowInsecureRepositories "false";
	Acquire::AllowWeakRepositories "false";
	Dir::Etc::sourcelist "$tmp/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Dir::Etc::preferences "/dev/null";
	Dir::Etc::preferencesparts "/dev/null";
	Dir::State "$tmp/state";
	Dir::State::status "$tmp/state/status";
	Dir::Cache "$tmp/cache";
CONF
# As root, apt drops to the user _apt for downloads, who must get at the folder.
chmod 755 "$tmp"
chown _apt "$tmp/debs" 2>/dev/null || :

apt-get -c "$tmp/apt.conf" -qq update || fail "cannot read the suite $suite from the machine's mirror"
# Only libraries are needed to run Nix: nix-bin's other dependencies (Perl, curl,
# a static shell for sandboxes, what they pull in) double the size, and PAM's
# would bring a setgid program.
apt-get -c "$tmp/apt.conf" -qq -y --print-uris install nix-bin >"$tmp/uris" || fail "cannot resolve nix-bin in $suite"
names=$(awk '{ sub(/_.*/, "", $2); print $2 }' "$tmp/uris" |
	grep -E '^(lib.*|zlib1g|nix-bin)$' | grep -Ev 'perl|^libpam')
# shellcheck disable=SC2086 # one word per package
(cd "$tmp/debs" && apt-get -c "$tmp/apt.conf" -qq download $names) || fail 'the download failed'

rm -rf "$part"
mkdir -p "$part/bin"
for deb in "$tmp"/debs/*.deb; do dpkg -x "$deb" "$part"; done

# The new libraries need their own loader; it gets their folder as an argument,
# since a variable would reach the programs which Nix starts.
loader=$(cd "$part" && find usr/lib -name 'ld-linux*.so.*' -type f)
libs=${loader%/*}
# A library left out above would be taken from the system, or be missing.
stray=$("$part/$loader" --library-path "$part/$libs" --list "$part/usr/bin/nix" |
	grep -F ' => ' | grep -vF " => $part/" || :)
[ -z "$stray" ] || fail "libraries not from $suite: $stray"
"$part/$loader" --library-path "$part/$libs" "$part/usr/bin/nix" --version >/dev/null || fail "the unpacked Nix does not run"

for name in nix nix-env nix-store nix-instantiate; do
	# Nix acts by its argv[0]. It finds itself by /proc/self/exe, which is the
	# loader here, so NIX_BIN_DIR tells it what to start as its helper.
	cat >"$part/bin/$name" <<-WRAPPER
		#!/bin/sh
		export NIX_BIN_DIR='$dest/bin'
		exec '$dest/$loader' --argv0 "\$0" --library-path '$dest/$libs' '$dest/usr/bin/nix' "\$@"
	WRAPPER
	chmod 755 "$part/bin/$name"
done
mv -T "$part" "$dest"
"$dest/bin/nix" --version
