# What a test has chosen.
{ ... }: builtins.fromJSON (builtins.readFile ../choices.json)
