# Evaluates our flake as far as nixpkgs' lib goes: its packages are told, and not built.
{ library, flake }:
let
  lib = import (/. + library) // { nixosSystem = nixos; };

  # What a builder was given.
  told = kind: name: arguments: {
    type = "derivation";
    inherit kind name arguments;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
  };

  # As much of a NixOS as our modules need; all else is taken as it is.
  nixos = { modules }: lib.evalModules {
    specialArgs.pkgs = packages "x86_64-linux";
    modules = modules ++ [
      {
        options = {
          assertions = lib.mkOption { type = lib.types.listOf lib.types.anything; };
          networking.hostName = lib.mkOption { type = lib.types.str; };
        };
        config = {
          _module.freeformType = lib.types.lazyAttrsOf lib.types.anything;
          networking.proxy.envVars = { };
          nix = { package = told "package" "nix" { }; envVars = { }; };
          programs.ssh.package = told "package" "openssh" { };
          systemd.package = told "package" "systemd" { };
        };
      }
    ];
  };

  # What the flake takes of nixpkgs.
  packages = system:
    let
      plain = lib.genAttrs [
        "bash" "cargo" "cargo-deny" "clippy" "coreutils" "findutils" "git" "gitMinimal" "gnused" "installShellFiles" "jq" "nix"
        "nixfmt-tree" "openssh" "python3" "rustc" "rustfmt" "shellcheck" "strace"
      ] (name: told "package" name { });
      self = plain // {
        inherit lib;
        stdenv = { hostPlatform = lib.systems.elaborate system; buildPlatform = lib.systems.elaborate system; cc = told "package" "cc" { }; };
        rustPlatform.buildRustPackage = arguments: told "rust" arguments.pname arguments // { inherit (arguments) meta; };
        buildPackages = self;
        pkgsStatic = self // { rustPlatform.buildRustPackage = arguments: told "static" arguments.pname arguments; };
        pkgsCross = { gnu64 = packages "x86_64-linux"; aarch64-multiplatform = packages "aarch64-linux"; };
        mkShell = told "shell" "shell";
        writeShellApplication = arguments: told "script" arguments.name arguments // { meta.mainProgram = arguments.name; };
        writeText = told "text";
        runCommand = name: environment: script: told "command" name { inherit environment script; };
        nixosOptionsDoc = { options, ... }: {
          optionsCommonMark = told "documentation" "options" (map (option: option.name) (lib.optionAttrSetToDocList options));
        };
        formats.toml = _: { generate = name: value: told "toml" name value; };
        # What a test says is held against the options of nixpkgs' test driver there; here it is only read.
        testers.runNixOSTest = test:
          let
            # The systems that a node's specialisations come to.
            nodes = lib.mapAttrs (_: node: {
              specialisation = lib.mapAttrs (name: _: {
                configuration.system.build.toplevel = "/nix/store/00000000000000000000000000000000-${name}";
              }) (node.specialisation or { });
            }) test.nodes;
            configured = lib.mapAttrs (name: module: (nixos {
              modules = [ module { networking.hostName = lib.mkDefault name; _module.args = { inherit nodes; }; } ];
            }).config) test.nodes;
          in
          told "test" test.name {
            settings = lib.mapAttrs (_: config: config.services.npc-agent.settings or null) configured;
            present = map (path: "${path}") configured.operator.system.extraDependencies;
            script = test.testScript { inherit nodes; };
          };
      };
    in
    self;

  outputs = (import (/. + flake)).outputs {
    self = outputs // { outPath = "/nix/store/00000000000000000000000000000000-source"; };
    nixpkgs = {
      inherit lib;
      outPath = "/nix/store/00000000000000000000000000000000-nixpkgs";
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] packages;
    };
  };

  here = set: set.x86_64-linux;
in
{
  packages = lib.mapAttrs (_: lib.mapAttrs (_: package: "${package.kind} ${package.name}")) outputs.packages;
  provider = { inherit (here outputs.packages) terraform-provider-npc; }.terraform-provider-npc.arguments;
  documented = (here outputs.packages).options.arguments;
  checks = lib.mapAttrs (_: check: check.arguments.script or "") (here outputs.checks);
  tests = lib.mapAttrs (_: check: check.arguments) (lib.filterAttrs (_: check: check.kind == "test") (here outputs.checks));
  modules = lib.attrNames outputs.nixosModules;
  overlay = lib.attrNames (outputs.overlays.default (packages "x86_64-linux") { });
  demo = (here outputs.apps).demo.program;
  shell = map (package: package.name) (here outputs.devShells).default.arguments.packages;
  formatter = (here outputs.formatter).name;
}
