# As much of nixpkgs' lib as our NixOS modules use, for machines that have no nixpkgs: options, types that check, defaults,
# imports, conditions. Several definitions of one option are merged as sets or as lists; anything else has one.
let
  inherit (builtins)
    attrNames attrValues concatMap elem filter foldl' head isAttrs isBool isFunction isInt isList isPath isString length listToAttrs
    mapAttrs match stringLength substring;

  isOption = value: value ? _option;

  describe = path: builtins.concatStringsSep "." path;

  # A value under a type: checked, and completed with the defaults of submodules.
  types = rec {
    mk = check: { merge = path: value: if check value then value else throw "${describe path} is not of its type"; };
    str = mk isString;
    strMatching = pattern: mk (value: isString value && match pattern value != null);
    path = mk (value: isPath value || isString value && match "/.*" value != null);
    int = mk isInt;
    bool = mk isBool;
    anything = mk (_: true);
    package = anything;
    port = ints.between 0 65535;
    ints = {
      unsigned = mk (value: isInt value && value >= 0);
      positive = mk (value: isInt value && value > 0);
      between = low: high: mk (value: isInt value && low <= value && value <= high);
    };
    enum = values: mk (value: elem value values);
    nullOr = type: { merge = path: value: if value == null then null else type.merge path value; };
    listOf = type: {
      merge = path: value: if isList value then map (type.merge path) value else throw "${describe path} is no list";
    };
    nonEmptyListOf = type: {
      merge = path: value: if value == [ ] then throw "${describe path} is empty" else (listOf type).merge path value;
    };
    attrsOf = type: {
      merge = path: value:
        if isAttrs value then
          mapAttrs (name: one: type.merge (path ++ [ name ]) (lib.settled one)) (lib.filterAttrs (_: one: one._condition or true) value)
        else throw "${describe path} is no set";
    };
    # Each definition is completed by itself, as conditions and defaults may be anywhere in it.
    submodule = module: rec {
      several = path: values: lib.complete path module.options (map (value: { condition = true; inherit value; }) values);
      merge = path: value: several path [ value ];
    };
  };

  lib = {
    inherit types;
    mkOption = option: option // { _option = true; };
    mkEnableOption = description: lib.mkOption { type = types.bool; default = false; inherit description; };
    mkIf = condition: value: { _condition = condition; inherit value; };
    # A default gives way to any definition beside it.
    mkDefault = value: { _default = value; };
    settled = value: value._default or (if value ? _condition then value.value else value);
    toLower = builtins.replaceStrings
      (lib.letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (lib.letters "abcdefghijklmnopqrstuvwxyz");
    letters = text: builtins.genList (place: substring place 1 text) (stringLength text);
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    mapAttrs = mapAttrs;
    mapAttrsToList = f: set: attrValues (mapAttrs f set);
    filterAttrs = keep: set:
      listToAttrs (map (name: { inherit name; value = set.${name}; }) (filter (name: keep name set.${name}) (attrNames set)));
    concatMapStrings = f: list: builtins.concatStringsSep "" (map f list);
    optional = condition: value: if condition then [ value ] else [ ];
    optionalAttrs = condition: value: if condition then value else { };
    optionalString = condition: value: if condition then value else "";

    # The options' values, of what is defined and what is not. Which names are defined never depends on a condition, so that
    # conditions may look at other options.
    complete = path: options: definitions:
      let
        unknown = concatMap (definition: filter (name: !(options ? ${name})) (attrNames definition.value)) definitions;
        defining = name: { condition, value }:
          let
            one = value.${name};
          in
          if !(value ? ${name}) then [ ]
          else if one ? _condition then [ { condition = condition && one._condition; inherit (one) value; } ]
          else [ { inherit condition; value = one; } ];
        value = name: option:
          let
            here = path ++ [ name ];
            defined = concatMap (defining name) definitions;
            holds = map (definition: definition.value) (filter (definition: definition.condition) defined);
          in
          if !(isOption option) then lib.complete here option defined
          else if option.type ? several then option.type.several here ([ (option.default or { }) ] ++ holds)
          else if holds == [ ] then option.default or (throw "${describe here} is not set")
          else option.type.merge here (lib.several here holds);
      in
      if unknown != [ ] then throw "${describe (path ++ unknown)} is no option" else mapAttrs value options;

    several = path: values:
      let
        definite = filter (value: !(value ? _default)) values;
        counting = map lib.settled (if definite == [ ] then values else definite);
      in
      if length counting == 1 then head counting
      else if builtins.all isList counting then builtins.concatLists counting
      else if builtins.all isAttrs counting then lib.merge counting
      else throw "${describe path} is defined more than once";

    merge = foldl' (one: other:
      one // mapAttrs (name: value:
        if !(one ? ${name}) || one.${name} ? _default then value
        else if value ? _default then one.${name}
        else if isAttrs one.${name} && isAttrs value then lib.merge [ one.${name} value ]
        else value) other
    ) { };

    # The configuration that modules make: files, functions or sets.
    evalModules = { modules, specialArgs ? { } }:
      let
        load = module:
          let
            imported = if isPath module then import module else module;
            loaded = if isFunction imported then imported (specialArgs // { inherit lib config; }) else imported;
          in
          concatMap load (loaded.imports or [ ]) ++ [ loaded ];
        loaded = concatMap load modules;
        options = lib.merge (map (module: module.options or { }) loaded);
        definition = config:
          if config ? _condition then { condition = config._condition; inherit (config) value; }
          else { condition = true; value = config; };
        config = lib.complete [ ] options (map definition (map (module: module.config or { }) loaded));
      in
      { inherit config; };
  };
in
lib
