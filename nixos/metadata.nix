# Keeps the metadata service of a cloud, which hands out the credentials of the machine's role, from everybody but root.
{ config, lib, ... }:
let
  inherit (lib) mkIf mkOption optionalString types;

  cfg = config.services.npc-agent;

  # Which of NixOS's firewalls there is. Others, such as firewalld, take neither kind of rules.
  nftables = config.networking.nftables.enable;
  iptables = !nftables && config.networking.firewall.enable && (config.networking.firewall.backend or "iptables") == "iptables";

  # Where EC2's answers (Amazon EC2 User Guide, "Access instance metadata for an EC2 instance"); others' answer at the first as well.
  ipv4 = "169.254.169.254";
  ipv6 = "fd00:ec2::254";

  rules = [ { command = "iptables"; address = ipv4; } ]
    ++ lib.optional config.networking.enableIPv6 { command = "ip6tables"; address = ipv6; };

  rule = address: "OUTPUT --destination ${address} --match owner ! --uid-owner root --jump REJECT";

  # NixOS flushes its own chains alone: a rule in this one would be there once more after each reload, and stay when the option is
  # off again. So it is always removed first.
  remove = lib.concatMapStrings ({ command, address }: ''
    while ${command} --wait --delete ${rule address} 2> /dev/null; do :; done
  '') rules;

  insert = lib.concatMapStrings ({ command, address }: ''
    ${command} --wait --insert ${rule address}
  '') rules;
in
{
  options.services.npc-agent.metadataForRootOnly = mkOption {
    type = types.bool;
    default = false;
    example = true;
    description = ''
      Whether the firewall keeps all users but root from the metadata service of the cloud, which gives whoever asks the user data
      and the credentials of the machine's role. Services that sign in by that role and do not run as root are kept from it as
      well, and so is what Nix builds. It takes {option}`networking.nftables.enable`, or the iptables of
      {option}`networking.firewall.enable`.
    '';
  };

  config = {
    assertions = mkIf cfg.enable [
      {
        assertion = !cfg.metadataForRootOnly || nftables || iptables;
        message = ''
          services.npc-agent.metadataForRootOnly: there is no firewall to do it. Enable networking.firewall with iptables, or
          networking.nftables.
        '';
      }
    ];

    networking.firewall.extraCommands = mkIf (cfg.enable && iptables) (remove + optionalString cfg.metadataForRootOnly insert);
    networking.firewall.extraStopCommands = mkIf (cfg.enable && iptables) remove;

    # NixOS removes a table before it adds it anew.
    networking.nftables.tables = mkIf (cfg.enable && cfg.metadataForRootOnly && nftables) {
      npc-metadata = {
        family = "inet";
        content = ''
          chain output {
            type filter hook output priority filter; policy accept;
            ip daddr ${ipv4} meta skuid != 0 reject
            ip6 daddr ${ipv6} meta skuid != 0 reject
          }
        '';
      };
    };
  };
}
