# init: stage 2, which the boot loader's entry names. Activates this system before systemd reads a unit, as NixOS does, and
# boots on if that fails.
echo "booting system configuration $system"
repoint "$system" /run/booted-system
"$system/activate" || echo "activation ended with $?" >&2
exec /lib/systemd/systemd
