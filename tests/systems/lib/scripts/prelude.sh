#!/bin/sh
# How each script of a system begins; names between at signs are filled in by toplevel.nix.
set -eu
PATH=@path@
export PATH
system=@system@

if [ ! -e /etc/npc-test-host ]; then
  echo "$0: this system is for test hosts alone, and /etc/npc-test-host is missing" >&2
  exit 1
fi

# A rename, because ln -sf would leave a moment without any link.
repoint() {
  mkdir -p "${2%/*}"
  ln -sfn "$1" "$2.$$"
  mv -fT "$2.$$" "$2"
}

