# The module behind the host: defaults, and the system built from the merged configuration.
{ config, lib, ... }:
let
  inherit (builtins) attrNames concatMap concatStringsSep listToAttrs map placeholder readFile replaceStrings toString;

  version = config.boot.kernelVersion;

  kernel = lib.tree "linux-${version}" {
    bzImage.text = "stands in for Linux ${version}\n";
  };
  modules = lib.tree "linux-${version}-modules" {
    "lib/modules/${version}/modules.order".text = "kernel/drivers/net/virtio_net.ko\n";
  };
  initrd = lib.tree "initrd-linux-${version}" {
    initrd.text = "stands in for an initrd with ${toString config.boot.initrd.kernelModules}\n";
  };

  # A unit is a file, and a link in each target that wants it.
  unit = name:
    let inherit (config.systemd.units.${name}) text wantedBy;
    in
    [ { name = "systemd/system/${name}"; value = { inherit text; }; } ]
    ++ map (target: { name = "systemd/system/${target}.wants/${name}"; value.source = "../${name}"; }) wantedBy;
  units = listToAttrs (concatMap unit (attrNames config.systemd.units));

  # The placeholder becomes the system's own path at build time, wherever the store is.
  script = file: {
    executable = true;
    text = replaceStrings [ "@system@" "@path@" ] [ (placeholder "out") lib.path ]
      (readFile ./scripts/prelude.sh + readFile file);
  };
  # The first of the checks, which are given the system and the action.
  inhibited = ''
    case $2 in
      switch | test)
        if ! cmp -s /run/current-system/switch-inhibitors "$1/switch-inhibitors"; then
          echo "The switch inhibitors differ" >&2
          exit 1
        fi
        ;;
    esac
  '';
  snippet = text: { executable = true; text = "#!/bin/sh\nset -eu\n${text}\n"; };
in
{
  # Shell that activation runs; if it fails, activation goes on and fails in the end.
  activation.snippet = "";
  # Shell that must work before a switch begins; is given the system and the action.
  system.preSwitchChecks = "";
  # What cannot be changed while the host runs: a system with others refuses to be switched to.
  system.switch.inhibitors = [ ];
  # Shell that must work before the boot loader is changed.
  boot.loader.check = "";
  # A running system takes over another one only if both have the same.
  system.initInterfaceVersion = 3;
  boot.kernelParams = [ ];
  boot.initrd.kernelModules = [ ];
  environment.etc = { };
  # By name: { text, wantedBy }.
  systemd.units = { };

  system.build.toplevel =
    lib.tree "nixos-system-${config.networking.hostName}-${config.system.nixos.version}" {
      activate = script ./scripts/activate.sh;
      activation-snippet = snippet config.activation.snippet;
      "bin/switch-to-configuration" = script ./scripts/switch-to-configuration.sh;
      boot-loader-check = snippet config.boot.loader.check;
      etc.source = lib.tree "etc" (config.environment.etc // units);
      init = script ./scripts/init.sh;
      init-interface-version.text = toString config.system.initInterfaceVersion;
      initrd.source = "${initrd}/initrd";
      install-boot-loader = script ./scripts/install-boot-loader.sh;
      kernel.source = "${kernel}/bzImage";
      kernel-modules.source = modules;
      kernel-params.text = concatStringsSep " " config.boot.kernelParams;
      nixos-version.text = config.system.nixos.version;
      pre-switch-checks = snippet (inhibited + config.system.preSwitchChecks);
      switch-inhibitors.text = concatStringsSep "\n" config.system.switch.inhibitors;
      system.text = lib.system;
    };
}
