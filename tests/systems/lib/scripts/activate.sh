# activate: makes this system the current one, as NixOS's script of that name does: installs /etc, runs the configuration's own
# snippet and points /run/current-system at itself, even if the snippet failed, which its exit code tells. Knows no units:
# starting and stopping them is left to systemd at boot, and to switch-to-configuration later.
status=0

echo "setting up /etc..."
repoint "$system/etc" /etc/static
repoint /etc/static/systemd/system /etc/systemd/system
# Every file is a link by way of /etc/static; the units' directory is a single one.
(cd "$system/etc" && find . \( -type f -o -type l \) ! -path './systemd/system/*') | while IFS= read -r file; do
  file=${file#./}
  [ "$(readlink "/etc/$file")" = "/etc/static/$file" ] || repoint "/etc/static/$file" "/etc/$file"
done
# What only the system before had.
find /etc -lname '/etc/static/*' -xtype l -delete

"$system/activation-snippet" || {
  echo "Activation script snippet failed ($?)" >&2
  status=1
}

repoint "$system" /run/current-system
exit "$status"
