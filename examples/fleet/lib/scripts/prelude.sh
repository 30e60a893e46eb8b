#!/bin/sh
# How each script of a system begins; names between at signs are filled in by toplevel.nix.
set -eu
PATH=@path@
export PATH
system=@system@

# An example must never be mistaken for the system of the machine it is tried on.
refuse() {
  echo "$0: this is an example system: set NPC_ROOT to an absolute path other than / to try it" >&2
  exit 1
}
case ${NPC_ROOT:-} in
  /*) ;;
  *) refuse ;;
esac
if [ "$NPC_ROOT" -ef / ]; then refuse; fi

# One append per line, so that lines of concurrent runs do not mix.
record() {
  mkdir -p "$NPC_ROOT/var/log"
  echo "$1 $system" >>"$NPC_ROOT/var/log/activations"
}

