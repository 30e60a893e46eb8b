# switch-to-configuration: the actions of its NixOS namesake.
fail=@fail@
entry=$NPC_ROOT/boot/loader/entries/default

boot() {
  mkdir -p "${entry%/*}"
  # Read beforehand: inside the text below, a failure would go unnoticed.
  version=$(cat "$system/nixos-version")
  kernel=$(readlink "$system/kernel")
  initrd=$(readlink "$system/initrd")
  params=$(cat "$system/kernel-params")
  cat >"$entry.$$" <<EOF
title NixOS $version
linux $kernel
initrd $initrd
options init=$system/init $params
EOF
  mv -fT "$entry.$$" "$entry"
  record boot
}

# Fails only once activated, as a service that does not start would: there is then something to undo.
try() {
  "$system/activate"
  if "$fail"; then
    echo "activation failed, as activation.fail asks for: $system" >&2
    exit 1
  fi
}

case ${1:-} in
  # As on NixOS, the boot entry comes first.
  switch) boot; try ;;
  boot) boot ;;
  test) try ;;
  dry-activate)
    now=$(readlink "$NPC_ROOT/run/current-system") || now=nothing
    echo "would point $NPC_ROOT/run/current-system at $system (now $now)"
    echo "would point $NPC_ROOT/etc/static at $system/etc"
    ;;
  *)
    echo "usage: $0 switch|boot|test|dry-activate" >&2
    exit 1
    ;;
esac
