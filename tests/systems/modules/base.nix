# What the host is like unless a test chooses otherwise.
{ config, ... }:
{
  system.nixos.version = "24.05.test";

  boot.kernelVersion = "6.6.52";
  boot.kernelParams = [ "console=ttyS0" ];
  boot.initrd.kernelModules = [ "virtio_blk" ];

  environment.etc = {
    hostname.text = "${config.networking.hostName}\n";
    "npc/host.json".text = builtins.toJSON { inherit (config.networking) hostName; };
  };
}
