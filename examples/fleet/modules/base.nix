# What all hosts have in common.
{ config, lib, ... }:
let
  ports = toString config.networking.firewall.allowedTCPPorts;
in
{
  system.nixos.version = "24.05.example";

  npc.groups = [ "all" ];

  boot.kernelVersion = "6.6.52";
  boot.kernelParams = [ "console=ttyS0" "loglevel=4" ];
  boot.initrd.kernelModules = [ "virtio_blk" ];

  networking.firewall.allowedTCPPorts = [ 22 ];

  environment.etc = {
    hostname.text = "${config.networking.hostName}\n";
    motd.text = builtins.readFile ./motd.txt;
    "npc/host.json".text = builtins.toJSON {
      inherit (config.networking) hostName;
      inherit (config.npc) role groups;
    };
    "nftables.conf".text = ''
      table inet filter {
        chain input {
          type filter hook input priority 0; policy drop;
          ct state established,related accept
          tcp dport { ${builtins.replaceStrings [ " " ] [ ", " ] ports} } accept
        }
      }
    '';
  };

  environment.systemPackages = [
    (lib.writeShellScriptBin "fleet-whoami" ''
      echo "${config.networking.hostName} (${config.npc.role}), in ${toString config.npc.groups}"
    '')
  ];
}
