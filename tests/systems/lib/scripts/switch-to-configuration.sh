# switch-to-configuration switch|boot|test|dry-activate: follows NixOS's switch-to-configuration-ng as closely as an agent can
# tell. In this order:
#
#   lock     an exclusive lock on /run/nixos/switch-to-configuration.lock, not waited for; exits 11 (EAGAIN) if it is held
#   checks   the system's pre-switch-checks, unless NIXOS_NO_CHECK=1; exits 1 if they fail
#   boot     for switch and boot: the boot loader; exits 1 if that fails, and `boot` ends here
#   init     exits 100 if the running system has another init-interface-version
#   stop     active units that the new system lacks (unless X-StopOnRemoval=false) or has in another form
#   activate the activate script, which also points /run/current-system here; a failure gives exit code 2, in the end
#   reload   forgets failures, has systemd read its units; a failure gives exit code 3, in the end
#   start    what was stopped for being changed, and the targets, with whatever they want
#   judge    exits 4 if any unit is now failed, or about to be restarted after having failed
#
# X-RestartIfChanged=false leaves a changed unit as it is. X-StopIfChanged=false restarts it after activation instead of
# stopping it before. Reloading, sockets, mounts and users' own units are left out.
action=${1:-}
case $action in
  switch | boot | test | dry-activate) ;;
  *)
    echo "usage: $0 switch|boot|test|dry-activate" >&2
    exit 1
    ;;
esac

# For whatever is started below, as on NixOS.
export NIXOS_ACTION="$action"

# Closed for everything started here, as NixOS's opens it: only this process holds the lock.
mkdir -p /run/nixos
exec 9>/run/nixos/switch-to-configuration.lock
if ! flock --nonblock 9; then
  echo "Could not acquire lock" >&2
  exit 11
fi

echo "$action $system" >>/var/log/activations

if [ "${NIXOS_NO_CHECK:-}" != 1 ] && ! "$system/pre-switch-checks" "$system" "$action" 9>&-; then
  echo "Pre-switch checks failed" >&2
  exit 1
fi

case $action in
  switch | boot)
    if ! "$system/install-boot-loader" 9>&-; then
      echo "Failed to install bootloader" >&2
      exit 1
    fi
    ;;
esac
[ "$action" != boot ] || exit 0

if ! cmp -s /run/current-system/init-interface-version "$system/init-interface-version"; then
  echo "Warning: the new NixOS configuration has an 'init' that is incompatible with the current configuration." >&2
  echo "The new configuration won't take effect until you reboot the system." >&2
  exit 100
fi

old=/etc/systemd/system
new=$system/etc/systemd/system

# A setting that only NixOS knows: FILE NAME DEFAULT.
setting() {
  value=$(sed -n "s/^$2=//p" "$1" | tail -n 1)
  echo "${value:-$3}"
}

# The file of a unit; instances share their template's.
file_of() {
  case $1 in
    *@?*.*) echo "${1%%@*}@.${1##*.}" ;;
    *) echo "$1" ;;
  esac
}

active() {
  systemctl list-units --full --plain --no-legend --state=active,activating,reloading | cut -d ' ' -f 1
}

stop='' start='' restart='' skip='' targets=''
for unit in $(active); do
  file=$(file_of "$unit")
  # Units of Debian's own are nobody's to change.
  [ -f "$old/$file" ] || continue
  if [ ! -f "$new/$file" ]; then
    [ "$(setting "$old/$file" X-StopOnRemoval true)" = false ] || stop="$stop $unit"
    continue
  fi
  case $unit in *.target) targets="$targets $unit" && continue ;; esac
  if cmp -s "$old/$file" "$new/$file"; then
    continue
  elif [ "$(setting "$new/$file" X-RestartIfChanged true)" = false ]; then
    skip="$skip $unit"
  elif [ "$(setting "$new/$file" X-StopIfChanged true)" = false ]; then
    restart="$restart $unit"
  else
    stop="$stop $unit"
    start="$start $unit"
  fi
done
start="$start$targets multi-user.target"

# WORDS UNIT…: says what happens to which units, if there are any.
say() {
  words=$1
  shift
  [ $# = 0 ] || echo "$words: $*" >&2
}

# The lists are split into words on purpose from here on: no unit's name has a space.
# shellcheck disable=SC2086
if [ "$action" = dry-activate ]; then
  say "would stop the following units" $stop
  say "would NOT restart the following changed units" $skip
  say "would restart the following units" $restart
  say "would start the following units" $start
  exit 0
fi

code=0
# shellcheck disable=SC2086
if [ -n "$stop" ]; then
  say "stopping the following units" $stop
  systemctl stop $stop 9>&- || true
fi
# shellcheck disable=SC2086
say "NOT restarting the following changed units" $skip

echo "activating the configuration..." >&2
if ! "$system/activate" 9>&-; then
  echo "Failed to run activate script" >&2
  code=2
fi

# Of all units, as NixOS does: what still fails fails again when it is started below.
systemctl reset-failed 9>&- || true
systemctl daemon-reload 9>&- || code=3

# shellcheck disable=SC2086
if [ -n "$restart" ]; then
  say "restarting the following units" $restart
  systemctl restart $restart 9>&- || true
fi
before=$(active)
# shellcheck disable=SC2086
say "starting the following units" $start
# shellcheck disable=SC2086
systemctl start $start 9>&- || true

failed=$(systemctl list-units --full --plain --no-legend --state=failed | cut -d ' ' -f 1)
for unit in $(systemctl list-units --full --plain --no-legend --state=auto-restart | cut -d ' ' -f 1); do
  [ "$(systemctl show --property ExecMainStatus --value "$unit")" = 0 ] || failed="$failed $unit"
done
fresh=''
for unit in $(active); do
  echo "$before" | grep -qxF -- "$unit" || fresh="$fresh $unit"
done
# shellcheck disable=SC2086
say "the following new units were started" $fresh
# shellcheck disable=SC2086
if [ -n "$failed" ]; then
  say "warning: the following units failed" $failed
  systemctl status --no-pager --full $failed >&2 || true
  code=4
fi
exit "$code"
