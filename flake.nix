# npc as a flake: packages, NixOS modules and what it takes to work on it.
{
  description = "Keeps a fleet of NixOS hosts in the configuration its operators published";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;

      eachSystem = make: lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: make nixpkgs.legacyPackages.${system});

      packages = pkgs: import ./nixos/packages.nix { inherit pkgs; };

      # The agent for machines that have no Nix store yet, of either architecture.
      static = pkgs: (packages pkgs.pkgsStatic).npc-agent;

      optionsText = import ./nixos/options.nix { inherit lib; };
    in
    {
      packages = eachSystem (pkgs: packages pkgs // {
        default = self.packages.${pkgs.stdenv.hostPlatform.system}.npc-publish;
        npc-agent-static = static pkgs;
        npc-agent-static-x86_64 = static (if pkgs.stdenv.hostPlatform.isx86_64 then pkgs else pkgs.pkgsCross.gnu64);
        npc-agent-static-aarch64 =
          static (if pkgs.stdenv.hostPlatform.isAarch64 then pkgs else pkgs.pkgsCross.aarch64-multiplatform);
        # The documentation of the options as nixpkgs renders it, with links into its manual.
        options = (pkgs.nixosOptionsDoc {
          options = removeAttrs (lib.evalModules {
            modules = [ ./nixos/agent.nix { config._module.check = false; } ];
            specialArgs = { inherit pkgs; };
          }).options [ "_module" ];
          transformOptions = option: option // { declarations = [ ]; };
        }).optionsCommonMark;
      });

      overlays.default = final: _: packages final;

      nixosModules = {
        # The agent's service, with the agent; it brings the host's metadata along.
        agent = { pkgs, ... }: {
          imports = [ ./nixos/agent.nix ];
          services.npc-agent.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.npc-agent;
        };
        host = ./nixos/host.nix;
        default = self.nixosModules.agent;
      };

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            cargo-deny
            clippy
            git
            jq
            nix
            python3
            rustc
            rustfmt
            shellcheck
            strace
          ];
          # What evaluates the modules by the real module system.
          NIXPKGS_LIB = "${nixpkgs}/lib";
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);

      apps = eachSystem (pkgs: {
        demo = {
          type = "app";
          meta.description = "A fleet of three in a temp folder, told as a short story";
          program = lib.getExe (pkgs.writeShellApplication {
            name = "npc-demo";
            runtimeInputs = with pkgs; [ cargo coreutils git nix rustc stdenv.cc strace ];
            # cargo writes beside what it builds, and a store cannot be written to.
            text = ''
              place=$(mktemp --directory)
              trap 'rm --recursive --force "$place"' EXIT
              cp --recursive --no-preserve=mode ${self}/. "$place"
              cd "$place"
              cargo xtask demo
            '';
          });
        };
      });

      checks = eachSystem (pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
          own = self.packages.${system};

          example = lib.nixosSystem {
            modules = [
              self.nixosModules.default
              {
                nixpkgs.hostPlatform = system;
                networking.hostName = "web-1";
                services.npc-agent = {
                  enable = true;
                  settings = {
                    fleet = "0123456789abcdef0123456789abcdef";
                    store = "https://store.example.org/";
                    root_keys = [ "npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE=" ];
                    remote = "prod";
                    configuration = "web-1";
                  };
                };
              }
            ];
          };
        in
        {
          inherit (own) npc-agent npc-publish terraform-provider-npc npc-agent-static;

          # The packaged agent reads what NixOS writes for it.
          settings = pkgs.runCommand "npc-agent-settings" { } ''
            ${lib.getExe own.npc-agent} --config ${example.config.environment.etc."npc-agent/config.toml".source} check
            touch $out
          '';

          options = pkgs.runCommand "npc-options" { passAsFile = [ "text" ]; text = optionsText; } ''
            diff ${./docs/options.md} "$textPath"
            touch $out
          '';

          format = pkgs.runCommand "npc-format" { nativeBuildInputs = [ pkgs.cargo pkgs.rustfmt ]; } ''
            cd ${self}
            cargo fmt --all --check
            touch $out
          '';
        }
        // import ./nixos/tests { inherit pkgs; modules = self.nixosModules; packages = own; });
    };
}
