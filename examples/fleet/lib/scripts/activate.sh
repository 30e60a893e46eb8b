# activate: makes this system the running one.

# A rename, because ln -sf would leave a moment without any link.
repoint() {
  ln -sfn "$1" "$2.$$"
  mv -fT "$2.$$" "$2"
}

mkdir -p "$NPC_ROOT/etc" "$NPC_ROOT/run"
repoint "$system/etc" "$NPC_ROOT/etc/static"
repoint "$system" "$NPC_ROOT/run/current-system"
record test
