# install-boot-loader: makes this system the one that boots next: copies kernel and initrd, writes an entry in the form of
# systemd-boot, and makes that the default last. A /boot without room, which the file /boot/full plays, leaves the default alone.
name=nixos-${system##*/}
images=/boot/EFI/nixos
entries=/boot/loader/entries

"$system/boot-loader-check"
if [ -e /boot/full ]; then
  echo "OSError: [Errno 28] No space left on device: '$images/$name-kernel.efi'" >&2
  exit 1
fi

mkdir -p "$images" "$entries"
cp "$system/kernel" "$images/$name-kernel.efi"
cp "$system/initrd" "$images/$name-initrd.efi"
# Read beforehand: inside the text below, a failure would go unnoticed.
version=$(cat "$system/nixos-version")
params=$(cat "$system/kernel-params")
cat >"$entries/$name.conf.$$" <<EOF
title NixOS $version
linux /EFI/nixos/$name-kernel.efi
initrd /EFI/nixos/$name-initrd.efi
options init=$system/init $params
EOF
mv -fT "$entries/$name.conf.$$" "$entries/$name.conf"
echo "default $name.conf" >"/boot/loader/loader.conf.$$"
mv -fT "/boot/loader/loader.conf.$$" /boot/loader/loader.conf
