# The module behind every host: defaults, and the system built from the merged configuration.
{ config, lib, ... }:
let
  inherit (builtins) concatStringsSep listToAttrs map placeholder readFile replaceStrings;

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
  sw = lib.tree "system-path" (listToAttrs (map
    (package: {
      name = "bin/${package.name}";
      value.source = "${package}/bin/${package.name}";
    })
    config.environment.systemPackages));

  # The placeholder becomes the system's own path at build time, wherever the store is.
  script = file: {
    executable = true;
    text = replaceStrings
      [ "@system@" "@path@" "@fail@" ]
      [ (placeholder "out") lib.path (if config.activation.fail then "true" else "false") ]
      (readFile ./scripts/prelude.sh + readFile file);
  };
in
{
  activation.fail = false;
  boot.kernelParams = [ ];
  boot.initrd.kernelModules = [ ];
  environment.etc = { };
  environment.systemPackages = [ ];
  npc.groups = [ ];

  system.build.toplevel =
    lib.tree "nixos-system-${config.networking.hostName}-${config.system.nixos.version}" {
      activate = script ./scripts/activate.sh;
      "bin/switch-to-configuration" = script ./scripts/switch-to-configuration.sh;
      etc.source = lib.tree "etc" config.environment.etc;
      init = script ./scripts/init.sh;
      initrd.source = "${initrd}/initrd";
      kernel.source = "${kernel}/bzImage";
      kernel-modules.source = modules;
      kernel-params.text = concatStringsSep " " config.boot.kernelParams;
      nixos-version.text = config.system.nixos.version;
      sw.source = sw;
      system.text = lib.system;
    };
}
