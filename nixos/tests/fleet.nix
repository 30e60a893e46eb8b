# What fleets in the tests are made of.
#
# The machines of a test have no network to fetch nixpkgs by, and no time to evaluate it. So the systems that are published are ones
# that the machines have already, as specialisations, and a configuration copies one of them: the copy is evaluated, published,
# built, switched to and booted like any other system, and is one that no machine had before.
{ pkgs }:
let
  tools = [ pkgs.bash pkgs.coreutils pkgs.findutils pkgs.gnused ];
in
{
  # Nix code: from the path of a system in the store, as a text, to a configuration.
  configuration = pkgs.writeText "configuration.nix" ''
    path:
    let
      # Pure evaluation takes a path in the store for a text: what the text stands for has to be said.
      known = path: builtins.appendContext path { ''${path} = { path = true; }; };
      tools = map known [ ${pkgs.lib.concatMapStringsSep " " (tool: ''"${tool}"'') tools} ];
      system = known path;
    in
    {
      config.system.build.toplevel = derivation {
        # A name of the same length makes paths of the same length, so that any file can be told the new one.
        name = builtins.substring 33 (-1) (baseNameOf path);
        system = "${pkgs.stdenv.hostPlatform.system}";
        builder = "''${builtins.head tools}/bin/bash";
        args = [
          "-euc"
          '''
            cp --recursive --no-dereference --preserve=mode ''${system} $out
            chmod --recursive u+w $out
            find $out -type f -exec sed --in-place "s|''${system}|$out|g" {} +
          '''
        ];
        PATH = builtins.concatStringsSep ":" (map (tool: "''${tool}/bin") tools);
      };
    }
  '';

  # The machine that the operator works on, which serves the fleet's store to everybody, for reading. Nix evaluates there what it
  # knows, so the systems to publish are there as well.
  operator = packages: systems: {
    system.extraDependencies = tools ++ systems;
    nix.settings.substituters = pkgs.lib.mkForce [ ];
    environment.systemPackages = [ packages.npc-publish pkgs.nix pkgs.strace ];
    networking.firewall.allowedTCPPorts = [ 8420 ];
    systemd.tmpfiles.rules = [ "d /srv/store" ];
    systemd.services.npc-serve = {
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "systemd-tmpfiles-setup.service" ];
      serviceConfig.ExecStart = "${packages.npc-publish}/bin/npc-publish serve /srv/store --listen 0.0.0.0:8420";
    };
  };

  # A host that knows nothing of its fleet until it is enrolled.
  host = modules: {
    imports = [ modules.agent ];

    virtualisation.memorySize = 2048;
    # What the copies of systems are made with is there to build them without a network.
    system.extraDependencies = tools;
    nix.settings.substituters = pkgs.lib.mkForce [ ];
    environment.systemPackages = [ pkgs.jq ];

    services.npc-agent = {
      enable = true;
      settings = {
        poll_interval = 2;
        probation.settle = 3;
        # The disks of test machines are small.
        build = { free_in_store = 0; free_in_boot = 0; };
      };
    };
  };

  # Python that both tests begin with: an enrolled host, and how to see what it has come to.
  prelude = ''
    import json
    import shlex


    def enrol(operator, host, flake):
        """Makes a fleet of the flake, and tells the host what a machine is told when it is enrolled."""
        operator.wait_for_unit("npc-serve.service")
        operator.succeed(f"cp --recursive --no-preserve=mode {flake} /root/fleet")
        told = operator.succeed("cd /root/fleet && npc-publish init --store file:///srv/store")
        told = told.replace("file:///srv/store", "http://operator:8420/") + 'remote = "prod"\n'
        host.succeed("mkdir --parents /var/lib/npc-agent")
        host.succeed(f"printf %s {shlex.quote(told)} > /var/lib/npc-agent/enrolment.toml")
        host.wait_for_unit("npc-agent.service")


    def status(host):
        return json.loads(host.succeed("npc-agent status --json"))


    def runs(host, greeting):
        """Waits until the host has committed the system with this greeting."""
        host.wait_until_succeeds(f"grep --quiet {greeting} /etc/greeting")
        same = "$(readlink --canonicalize /run/current-system)"
        host.wait_until_succeeds(f"test $(readlink --canonicalize /nix/var/nix/profiles/system) = {same}")
  '';
}
