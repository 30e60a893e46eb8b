# The documentation of the modules' options, as docs/options.md has it. `lib` is that of nixpkgs:
#
#   nix-instantiate --eval --strict --json --arg lib 'import <nixpkgs/lib>' nixos/options.nix | jq --raw-output --join-output .
{ lib }:
let
  inherit (lib) concatMapStringsSep concatStrings filter hasInfix hasPrefix optionalString removeSuffix;

  evaluated = lib.evalModules {
    # The modules set options of NixOS's, which are not there.
    modules = [ ./agent.nix { config._module.check = false; } ];
    specialArgs.pkgs = { };
  };

  documented = filter (option: option.visible && !option.internal && !hasPrefix "_module" option.name)
    (lib.optionAttrSetToDocList evaluated.options);

  # Options before the ones that are in them, and otherwise as the alphabet has them.
  sorted = builtins.sort (one: other: builtins.lessThan one.name other.name) documented;

  # nixpkgs' markup for options and files, which Markdown does not know.
  plain = builtins.replaceStrings [ "{option}" "{file}" "{command}" ] [ "" "" "" ];

  value = name: shown:
    let
      text = removeSuffix "\n" (shown.text or (lib.generators.toPretty { } shown));
    in
    if hasInfix "\n" text then "\n${name}:\n\n```nix\n${text}\n```\n" else "\n${name}: `${text}`\n";

  render = option: concatStrings [
    "\n### `${option.name}`\n\n"
    "${removeSuffix "\n" (plain option.description)}\n\n"
    "Type: ${option.type}\n"
    (optionalString (option ? default) (value "Default" option.default))
    (optionalString (option ? example) (value "Example" option.example))
  ];

  section = { title, prefix }: ''

    ## ${title}
    ${concatStrings (map render (filter (option: hasPrefix prefix option.name) sorted))}'';
in
''
  # Options of the NixOS modules

  Rendered from the modules by [`nixos/options.nix`](../nixos/options.nix); [`docs/nixos.md`](nixos.md) says how to use them.
''
+ concatMapStringsSep "" section [
  { title = "The agent"; prefix = "services.npc-agent."; }
  { title = "What the fleet knows of the host"; prefix = "npc.host."; }
]
