# A host's fleet metadata: who it is to the fleet, and how its agent tells that it is well.
#
# It becomes /etc/npc/host.json, which the agent reads off the system that runs: the health checks of a new system decide whether
# that system is committed. The publisher records the rest in the release, for rollouts to go by.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;

  cfg = config.npc.host;

  seconds = default: description: mkOption {
    type = types.ints.unsigned;
    inherit default;
    description = "${description}, in seconds.";
  };

  check = types.submodule {
    options = {
      type = mkOption {
        type = types.enum [ "http" "tcp" "command" "unit" ];
        description = ''
          What is asked: whether a GET request answers as it should, whether a TCP connection can be made, whether a program
          ends with exit code 0, or whether a systemd unit is active.
        '';
      };

      url = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "http://localhost:8080/health";
        description = "The address that an `http` check asks. Redirects are not followed and proxies not used.";
      };
      status = mkOption {
        type = types.nullOr (types.ints.between 100 599);
        default = null;
        description = "The status that an `http` check expects; 200 unless said.";
      };
      body = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "A text that must be in the body of the answer to an `http` check.";
      };

      host = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Where a `tcp` check connects to; localhost unless said.";
      };
      port = mkOption {
        type = types.nullOr types.port;
        default = null;
        description = "The port that a `tcp` check connects to.";
      };

      command = mkOption {
        type = types.nullOr (types.listOf types.str);
        default = null;
        description = "The program of a `command` check, and its arguments. No shell is involved.";
      };

      unit = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "nginx.service";
        description = "The unit that a `unit` check looks at.";
      };

      timeout = seconds 5 "How long one try may take";
      interval = seconds 5 "How long to wait between two tries";
      startPeriod = seconds 0 "For how long after an activation failures do not count";
      retries = mkOption {
        type = types.ints.unsigned;
        default = 3;
        description = "How many failures in a row are forgiven.";
      };
    };
  };

  # What each type of check cannot do without.
  needs = { http = "url"; tcp = "port"; command = "command"; unit = "unit"; };

  isSet = _: value: value != null;
in
{
  options.npc.host = {
    role = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "web";
      description = "What the host is there for. Operators choose hosts by it.";
    };

    groups = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "canary" "eu" ];
      description = "Groups that the host belongs to. Operators choose hosts by them, and rollouts heed limits for each.";
    };

    healthChecks = mkOption {
      type = types.attrsOf check;
      default = { };
      description = ''
        Checks that must pass for a new system to be committed. One that failed in the same form before the activation is
        remarked upon and does not count.
      '';
    };

    rebootOrder = mkOption {
      type = types.int;
      default = 0;
      description = "Hosts with lower numbers reboot before hosts with higher ones.";
    };

    dependencies = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "db-1" ];
      description = "Hosts that are changed before this one.";
    };

    orchestration = {
      maxUnavailable = mkOption {
        type = types.attrsOf types.ints.positive;
        default = { };
        example = { web = 1; };
        description = ''
          At most so many hosts of a group are changed or rebooted at once. What any host of the group says counts for all of
          them, and of several numbers the least.
        '';
      };

      deployStrategy = mkOption {
        type = types.enum [ "rolling" "recreate" ];
        default = "rolling";
        description = "Whether hosts of the same role and groups are changed some at a time, or all at once.";
      };

      rebootDelay = seconds 0 "How long to wait before this host reboots after the one before it is back";

      criticalityLevel = mkOption {
        type = types.enum [ "low" "normal" "high" "critical" ];
        default = "normal";
        description = "How much depends on the host: what is critical is changed last.";
      };
    };
  };

  config = {
    environment.etc."npc/host.json".text = builtins.toJSON (
      lib.filterAttrs isSet {
        version = 1;
        inherit (cfg) role groups rebootOrder dependencies orchestration;
        healthChecks = lib.mapAttrs (_: lib.filterAttrs isSet) cfg.healthChecks;
      }
    );

    assertions = lib.mapAttrsToList (name: check: {
      assertion = check.${needs.${check.type}} != null;
      message = "npc.host.healthChecks.${name}: a check of type ${check.type} needs `${needs.${check.type}}`.";
    }) cfg.healthChecks;
  };
}
