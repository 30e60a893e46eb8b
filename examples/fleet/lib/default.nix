# What the example has instead of nixpkgs: a module merge and one builder.
{ system }:
let
  inherit (builtins)
    all attrNames concatLists concatMap concatStringsSep elemAt head isAttrs isList
    length listToAttrs map removeAttrs replaceStrings toString zipAttrsWith;

  lib = rec {
    inherit system;

    # Debian keeps its tools in the first two, NixOS in the third.
    path = "/bin:/usr/bin:/run/current-system/sw/bin";

    genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);

    escapeShellArg = arg: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString arg)}'";

    # Sets merge, lists add up, of anything else the last one wins. A lone value
    # is passed on unlooked at, which lets modules refer to the merged result.
    merge = zipAttrsWith (_: values:
      if length values == 1 then head values
      else if all isAttrs values then merge values
      else if all isList values then concatLists values
      else elemAt values (length values - 1));

    nixosSystem = { modules }:
      let
        # Imports go before their importer, so that a host overrules its role.
        load = file:
          let module = import file { inherit config lib; };
          in concatMap load (module.imports or [ ]) ++ [ (removeAttrs module [ "imports" ]) ];
        config = merge (concatMap load ([ ./toplevel.nix ] ++ modules));
      in
      { inherit config; };

    # Entries have the form of environment.etc ({ text } or { source }), and
    # everything here is built from them. Text is written by the shell itself:
    # starting a process for each file would take most of the build's time.
    tree = name: entries:
      let
        files = attrNames entries;
        folders = attrNames (genAttrs (map dirOf files) (_: null));
        out = path: "\"$out\"/${escapeShellArg path}";
        put = file:
          let entry = entries.${file};
          in
          if entry ? source then "ln -s ${escapeShellArg "${entry.source}"} ${out file}"
          else "printf %s ${escapeShellArg entry.text} >${out file}"
            + (if entry.executable or false then "; chmod +x ${out file}" else "");
      in
      derivation {
        inherit name system;
        builder = "/bin/sh";
        args = [ "-euc" (concatStringsSep "\n" ([ "mkdir -p ${toString (map out folders)}" ] ++ map put files)) ];
        PATH = path;
      };

    writeShellScriptBin = name: text:
      tree name { "bin/${name}" = { executable = true; text = "#!/bin/sh\n${text}"; }; };
  };
in
lib
