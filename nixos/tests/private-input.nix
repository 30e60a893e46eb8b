# A host fetches an input that not everybody may fetch, with a credential that systemd hands to its agent.
{ pkgs, modules, packages, fleet }:
let
  systemOf = nodes: nodes.web.specialisation.private.configuration.system.build.toplevel;
in
pkgs.testers.runNixOSTest {
  name = "npc-private-input";

  nodes.operator = { nodes, ... }: {
    imports = [ (fleet.operator packages [ (systemOf nodes) ]) ];

    networking.firewall.allowedTCPPorts = [ 80 ];
    systemd.tmpfiles.rules = [ "d /srv/inputs" ];
    services.nginx = {
      enable = true;
      virtualHosts.operator = {
        root = "/srv/inputs";
        basicAuth.fleet = "no-secret-in-a-test";
      };
    };
  };

  nodes.web = {
    imports = [ (fleet.host modules) ];

    # A test's machines have no secrets: in earnest, a file that is in no Nix store.
    environment.etc."secrets/netrc" = {
      text = "machine operator login fleet password wrong";
      mode = "0400";
    };
    services.npc-agent.netrcFile = "/run/secrets/netrc";
    systemd.tmpfiles.rules = [ "C /run/secrets/netrc 0400 - - - /etc/secrets/netrc" ];

    environment.etc.greeting.text = "none yet";
    specialisation.private.configuration.environment.etc.greeting.text = pkgs.lib.mkForce "private";
  };

  testScript = { nodes, ... }:
    let
      system = systemOf nodes;

      flake = pkgs.runCommand "fleet" { } ''
        mkdir $out
        cp ${fleet.configuration} $out/configuration.nix
        cat > $out/flake.nix <<'END'
        {
          inputs.private = { url = "http://operator/private.tar.gz"; flake = false; };
          outputs = { self, private }: {
            nixosConfigurations.web = import ./configuration.nix (import "''${private}/system.nix");
          };
        }
        END
      '';
    in
    ''
      ${fleet.prelude}

      netrc = "machine operator login fleet password no-secret-in-a-test"

      start_all()

      with subtest("the operator locks and publishes a flake with a private input"):
          operator.wait_for_unit("nginx.service")
          operator.succeed("mkdir private && echo '\"${system}\"' > private/system.nix")
          operator.succeed("tar --create --gzip --file /srv/inputs/private.tar.gz private")
          operator.succeed(f"(umask 077; echo {shlex.quote(netrc)} > /root/.netrc)")
          operator.succeed("echo netrc-file = /root/.netrc > /root/nix.conf")
          nix = "NIX_USER_CONF_FILES=/root/nix.conf nix --extra-experimental-features 'nix-command flakes'"
          enrol(operator, web, "${flake}")
          operator.succeed(f"cd /root/fleet && {nix} flake lock path:/root/fleet")
          operator.succeed("cd /root/fleet && NIX_USER_CONF_FILES=/root/nix.conf npc-publish --remote prod")

      with subtest("a host with the wrong password does not get it, and says why"):
          web.wait_until_succeeds("npc-agent status --json | grep --quiet 'HTTP error 401'")

      with subtest("a host with the right one does"):
          web.succeed(f"(umask 077; echo {shlex.quote(netrc)} > /run/secrets/netrc)")
          web.succeed("systemctl restart npc-agent.service && npc-agent retry")
          runs(web, "private")

      with subtest("and tells nobody"):
          web.fail("journalctl --unit npc-agent.service | grep 'no-secret-in-a-test'")
          web.fail("grep --recursive 'no-secret-in-a-test' /var/lib/npc-agent")
          assert "no-secret-in-a-test" not in json.dumps(status(web))
    '';
}
