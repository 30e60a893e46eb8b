# npc's programs as packages. `pkgs` is what they are built with: `pkgsStatic` makes programs that run on any Linux.
{ pkgs }:
let
  inherit (pkgs) lib stdenv;

  workspace = (lib.importTOML ../Cargo.toml).workspace;

  inherit (workspace.package) version;

  # What cargo reads: it wants all members of the workspace to be there, also those that are not built. Of these two, the rest is
  # large and often changed.
  member = name:
    let directory = ../. + "/${name}";
    in if lib.elem name [ "fuzz" "tests" ] then lib.fileset.unions [ (directory + "/Cargo.toml") (directory + "/src") ] else directory;

  src = lib.fileset.toSource {
    root = ../.;
    # The script that npc-operator writes values into is beside its member.
    fileset = lib.fileset.unions ([ ../Cargo.lock ../Cargo.toml ../bootstrap/bootstrap.sh ] ++ map member workspace.members);
  };

  program = name: { description, ... }@attributes:
    pkgs.rustPlatform.buildRustPackage ({
      pname = name;
      inherit version src;
      cargoLock.lockFile = ../Cargo.lock;
      cargoBuildFlags = [ "--package" name ];
      # The tests want Garage, moto and hosts of their own: `cargo xtask test`.
      doCheck = false;
      meta = {
        inherit description;
        license = [ lib.licenses.mit lib.licenses.asl20 ];
        platforms = lib.platforms.linux;
        mainProgram = name;
      };
    } // removeAttrs attributes [ "description" ]);

  # One that makes its own manual pages and completions, where the machine that builds can run it.
  commandLine = name: description: program name {
    inherit description;
    nativeBuildInputs = [ pkgs.buildPackages.installShellFiles ];
    postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
      mkdir manual
      $out/bin/${name} man manual
      installManPage manual/*
      installShellCompletion --cmd ${name} \
        --bash <($out/bin/${name} completions bash) \
        --fish <($out/bin/${name} completions fish) \
        --zsh <($out/bin/${name} completions zsh)
    '';
  };

  # How nixpkgs lays out providers, so that `terraform.withPlugins` finds this one.
  address = "registry.terraform.io/npc/npc";
  platform = "${stdenv.hostPlatform.go.GOOS}_${stdenv.hostPlatform.go.GOARCH}";
in
{
  npc-agent = commandLine "npc-agent" "Keeps a NixOS host in the configuration that its fleet's operators published";

  npc-publish = commandLine "npc-publish" "Publishes a flake's NixOS configurations to a fleet of hosts";

  terraform-provider-npc = program "terraform-provider-npc" {
    description = "Terraform's provider for fleets that npc keeps";
    postInstall = ''
      directory=$out/libexec/terraform-providers/${address}/${version}/${platform}
      mkdir -p "$directory"
      mv $out/bin/terraform-provider-npc "$directory/terraform-provider-npc_${version}"
      # Whoever has another Terraform makes a mirror for it: `terraform-provider-npc mirror DIR`.
      ln -s "$directory/terraform-provider-npc_${version}" $out/bin/terraform-provider-npc
    '';
    passthru.provider-source-address = address;
  };
}
