# A release reaches a host, one that breaks it is gone back on, and a host goes where it is told to.
{ pkgs, modules, packages, fleet }:
let
  systemOf = nodes: name: nodes.web.specialisation.${name}.configuration.system.build.toplevel;
in
pkgs.testers.runNixOSTest {
  name = "npc-follow";

  nodes.operator = { nodes, ... }: {
    imports = [ (fleet.operator packages (map (systemOf nodes) [ "first" "second" "broken" ])) ];
  };

  nodes.web = {
    imports = [ (fleet.host modules) ];

    environment.etc.greeting.text = "none yet";

    specialisation = {
      first.configuration.environment.etc.greeting.text = pkgs.lib.mkForce "first";
      second.configuration.environment.etc.greeting.text = pkgs.lib.mkForce "second";
      broken.configuration = {
        environment.etc.greeting.text = pkgs.lib.mkForce "broken";
        systemd.services.broken = {
          wantedBy = [ "multi-user.target" ];
          serviceConfig = {
            Type = "oneshot";
            ExecStart = "${pkgs.coreutils}/bin/false";
          };
        };
      };
    };
  };

  testScript = { nodes, ... }:
    let
      system = systemOf nodes;

      flake = pkgs.runCommand "fleet" { } ''
        mkdir $out
        cp ${fleet.configuration} $out/configuration.nix
        echo '{ outputs = _: { nixosConfigurations.web = import ./configuration.nix (import ./system.nix); }; }' > $out/flake.nix
        echo '""' > $out/system.nix
      '';
    in
    ''
      ${fleet.prelude}

      systems = {
          "first": "${system "first"}",
          "second": "${system "second"}",
          "broken": "${system "broken"}",
      }


      def publish(name, remote="prod"):
          operator.succeed(f"echo '\"{systems[name]}\"' > /root/fleet/system.nix")
          operator.succeed(f"cd /root/fleet && npc-publish --remote {remote}")


      start_all()

      with subtest("a host that is enrolled takes the release"):
          enrol(operator, web, "${flake}")
          publish("first")
          runs(web, "first")
          web.wait_for_unit("npc-agent.service")

      with subtest("a release that breaks a unit is gone back on and not tried again"):
          before = web.succeed("readlink /run/current-system")
          publish("broken")
          web.wait_until_succeeds("npc-agent status --json | jq --exit-status '.. | strings | select(. == \"units-failed\")'")
          runs(web, "first")
          assert web.succeed("readlink /run/current-system") == before
          web.wait_for_unit("npc-agent.service")
          web.fail("systemctl is-failed broken.service")

      with subtest("the next release is taken"):
          publish("second")
          runs(web, "second")

      with subtest("a host goes where it is told to"):
          publish("first", remote="staging")
          operator.succeed("cd /root/fleet && npc-publish repoint web --remote staging")
          runs(web, "first")

      with subtest("what was committed is what boots"):
          committed = web.succeed("readlink --canonicalize /run/current-system")
          assert committed == web.succeed("readlink --canonicalize /nix/var/nix/profiles/system")
          assert committed.strip() in json.dumps(status(web))
    '';
}
