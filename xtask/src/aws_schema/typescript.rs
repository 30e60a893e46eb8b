//! Reading a schema off the TypeScript that CDK Terrain generates from it.
//!
//! A resource is a class, and so is each block in it. Above each attribute a comment says whether it is computed, optional or
//! required; `…ToHclTerraform`, or for the resource itself `synthesizeHclAttributes`, holds the type of what can be set, and the
//! accessor that of what cannot; the interface says what is a block.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

type Outcome<T> = Result<T, String>;

/// How something that can be set is written in HCL: the `type` and the `storageClassType` of the source.
#[derive(Debug, Clone, Copy)]
struct Argument<'a> {
    shape: &'a str,
    class: &'a str,
}

/// An attribute or a block of a class.
#[derive(Debug)]
struct Member<'a> {
    name: &'a str,
    computed: bool,
    optional: bool,
    required: bool,
    accessor: &'a str,
}

/// The schema of what the source defines: that of the resource, the data source or the provider.
pub(super) fn block(source: &str) -> Outcome<Value> {
    let declared = declarations(source);
    let is_root = |text: &str| text.contains("public static readonly tfResourceType = ");
    let root = declared.iter().find(|((kind, _), text)| *kind == "class" && is_root(text));
    let ((_, name), class) = root.ok_or("it defines no resource")?;
    let config = format!("{name}Config");
    let interface = declared.get(&("interface", config.as_str())).ok_or_else(|| format!("there is no {config}"))?;
    Reader { declared: &declared }.block(members(class)?, class, interface)
}

/// Every declaration by its kind and name. Each ends with a brace at the beginning of a line.
fn declarations(source: &str) -> BTreeMap<(&str, &str), &str> {
    let mut declared = BTreeMap::new();
    let mut rest = source;
    while let Some((_, from)) = rest.split_once("\nexport ") {
        let end = from.find("\n}\n").unwrap_or(from.len());
        let (declaration, after) = from.split_at(end);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some((kind, named)) = declaration.split_once(' ') {
            let name = named.split(|c| !is_name(c)).next().unwrap_or_default();
            declared.insert((kind, name), declaration);
        }
        rest = after;
    }
    declared
}

struct Reader<'a> {
    declared: &'a BTreeMap<(&'a str, &'a str), &'a str>,
}

impl<'a> Reader<'a> {
    fn find(&self, kind: &'static str, name: &str) -> Outcome<&'a str> {
        self.declared.get(&(kind, name)).copied().ok_or_else(|| format!("there is no {kind} {name}"))
    }

    /// What a nested structure has, and what says how it is written in HCL. Those of the provider's own configuration cannot be
    /// read back, and have no class.
    fn structure(&self, name: &str) -> Outcome<(Vec<Member<'a>>, &'a str)> {
        let members = match self.find("class", &format!("{name}OutputReference")) {
            Ok(class) => members(class)?,
            Err(_) => settable(self.find("interface", name)?),
        };
        let mut function = name.to_owned();
        function[..1].make_ascii_lowercase();
        Ok((members, self.find("function", &format!("{function}ToHclTerraform"))?))
    }

    fn block(&self, members: Vec<Member<'a>>, hcl: &'a str, interface: &str) -> Outcome<Value> {
        let arguments = arguments(hcl);
        let (mut attributes, mut blocks) = (Map::new(), Map::new());
        for member in members {
            let argument = arguments.get(member.name).copied();
            if let Some(is_required) = is_required_block(interface, member.name) {
                let argument = argument.ok_or_else(|| format!("the block {} is never written", member.name))?;
                blocks.insert(member.name.to_owned(), self.nested(&member, argument, is_required)?);
            } else {
                attributes.insert(member.name.to_owned(), self.attribute(&member, argument)?);
            }
        }
        // Terraform leaves out what is empty.
        let parts = [("attributes", attributes), ("block_types", blocks)];
        let parts = parts.into_iter().filter(|(_, part)| !part.is_empty());
        Ok(Value::Object(parts.map(|(name, part)| (name.to_owned(), Value::Object(part))).collect()))
    }

    /// A block in a block. Of its limits the source tells only whether there may be more than one, and whether there must be any.
    fn nested(&self, member: &Member<'a>, argument: Argument<'_>, is_required: bool) -> Outcome<Value> {
        let name = structure_of(argument.class);
        let (members, hcl) = self.structure(name)?;
        let block = self.block(members, hcl, self.find("interface", name)?)?;
        let nesting = if argument.shape == "struct" { "single" } else { argument.shape };
        let mut nested = Map::from_iter([("nesting_mode".to_owned(), json!(nesting)), ("block".to_owned(), block)]);
        if nesting != "single" {
            if is_required {
                nested.insert("min_items".to_owned(), json!(1));
            }
            if member.accessor.contains("OutputReference(this") {
                nested.insert("max_items".to_owned(), json!(1));
            }
        }
        Ok(Value::Object(nested))
    }

    fn attribute(&self, member: &Member<'a>, argument: Option<Argument<'_>>) -> Outcome<Value> {
        let mut attribute = Map::from_iter([("type".to_owned(), self.attribute_type(member, argument)?)]);
        let flags = [("computed", member.computed), ("optional", member.optional), ("required", member.required)];
        attribute.extend(flags.into_iter().filter(|(_, is_so)| *is_so).map(|(flag, _)| (flag.to_owned(), json!(true))));
        Ok(Value::Object(attribute))
    }

    fn attribute_type(&self, member: &Member<'a>, argument: Option<Argument<'_>>) -> Outcome<Value> {
        let found = match argument {
            Some(argument) => self.argument_type(argument),
            None => self.accessor_type(member.accessor),
        };
        found?.ok_or_else(|| format!("the type of {} is none that is known: {argument:?}", member.name))
    }

    /// The type of what can be set.
    fn argument_type(&self, Argument { shape, class }: Argument<'_>) -> Outcome<Option<Value>> {
        if let ("simple", Some(element)) = (shape, primitive(class)) {
            return Ok(Some(json!(element)));
        }
        let suffix = if shape == "map" { "Map" } else { "List" };
        match (shape, class.strip_suffix(suffix).and_then(primitive)) {
            ("list" | "set" | "map", Some(element)) => Ok(Some(json!([shape, element]))),
            ("list" | "set", None) => Ok(Some(json!([shape, self.object(structure_of(class))?]))),
            ("struct", None) => self.object(class).map(Some),
            _ => Ok(None),
        }
    }

    /// The type of what is only computed.
    fn accessor_type(&self, accessor: &'a str) -> Outcome<Option<Value>> {
        let getter = between(accessor, "this.get", "Attribute(");
        let collection = |kind: &str, class: &str| Ok(primitive(class).map(|element| json!([kind, element])));
        match getter {
            Some("List") if accessor.contains("cdktn.Fn.tolist(") => collection("set", "string"),
            Some("List") => collection("list", "string"),
            Some("NumberList") if accessor.contains("cdktn.Fn.tolist(") => collection("set", "number"),
            Some("NumberList") => collection("list", "number"),
            Some(map) if map.ends_with("Map") => collection("map", &map.trim_end_matches("Map").to_ascii_lowercase()),
            Some(simple) => Ok(primitive(&simple.to_ascii_lowercase()).map(|element| json!(element))),
            None => self.held_type(accessor),
        }
    }

    /// The type of what an object of a class of its own holds.
    fn held_type(&self, accessor: &'a str) -> Outcome<Option<Value>> {
        let Some(class) = between(accessor, " = new ", "(this, ") else { return Ok(None) };
        if let Some(map) = class.strip_prefix("cdktn.").and_then(|class| class.strip_suffix("Map")) {
            return Ok(primitive(&map.to_ascii_lowercase()).map(|element| json!(["map", element])));
        }
        if let Some(structure) = class.strip_suffix("List") {
            let kind = if accessor.contains(", true);") { "set" } else { "list" };
            return Ok(Some(json!([kind, self.object(structure)?])));
        }
        class.strip_suffix("OutputReference").map(|structure| self.object(structure)).transpose()
    }

    /// The type of a structure that is an attribute, not a block.
    fn object(&self, name: &str) -> Outcome<Value> {
        let (members, hcl) = self.structure(name)?;
        let arguments = arguments(hcl);
        let typed = |member: &Member<'a>| {
            let argument = arguments.get(member.name).copied();
            Ok((member.name.to_owned(), self.attribute_type(member, argument)?))
        };
        let fields: Outcome<Map<_, _>> = members.iter().map(typed).collect();
        Ok(json!(["object", fields?]))
    }
}

/// The structure that a class of lists or sets holds.
fn structure_of(class: &str) -> &str {
    class.strip_suffix("List").unwrap_or(class)
}

fn primitive(class: &str) -> Option<&'static str> {
    match class {
        "string" => Some("string"),
        "number" => Some("number"),
        "boolean" => Some("bool"),
        _ => None,
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// What a class has: `// name - computed: true, optional: false, required: false`, each above its accessor.
fn members(class: &str) -> Outcome<Vec<Member<'_>>> {
    const FLAGS: &str = " - computed: ";
    class
        .split("\n  // ")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .filter_map(|(comment, accessor)| comment.split_once(FLAGS).map(|(name, flags)| (name, flags, accessor)))
        .map(|(name, flags, accessor)| {
            let flags: Vec<_> = flags.split(',').map(|flag| flag.ends_with("true")).collect();
            let &[computed, optional, required] = &flags[..] else { return Err(format!("{name} has other flags")) };
            Ok(Member { name, computed, optional, required, accessor })
        })
        .collect()
}

/// What an interface has: `readonly camelCase?: type`, under a comment that ends in `#snake_case`.
fn settable(interface: &str) -> Vec<Member<'_>> {
    let mut members = Vec::new();
    let mut parts = interface.split("\n  readonly ");
    let mut described = parts.next().unwrap_or_default();
    for part in parts {
        let required = !part.split(':').next().unwrap_or_default().ends_with('?');
        let name = described.rsplit('#').next().and_then(|end| end.split('}').next()).unwrap_or_default();
        members.push(Member { name, computed: false, optional: !required, required, accessor: "" });
        described = part;
    }
    members
}

/// What can be set: `name: { value: …, isBlock: …, type: "…", storageClassType: "…" }`.
fn arguments(hcl: &str) -> BTreeMap<&str, Argument<'_>> {
    let mut arguments = BTreeMap::new();
    let mut name = "";
    let mut shape = "";
    for line in hcl.lines().map(str::trim) {
        let value = |field| line.strip_prefix(field)?.strip_suffix("\",");
        if let Some(begun) = line.strip_suffix(": {") {
            name = begun;
        } else if let Some(found) = value("type: \"") {
            shape = found;
        } else if let Some(class) = value("storageClassType: \"") {
            arguments.insert(name, Argument { shape, class });
        }
    }
    arguments
}

/// Whether there must be a block of this name, if the interface says that it is one.
fn is_required_block(interface: &str, name: &str) -> Option<bool> {
    let (_, described) = interface.split_once(&format!("\n  * {name} block\n"))?;
    let (_, field) = described.split_once("\n  readonly ")?;
    field.split_once(':').map(|(field, _)| !field.ends_with('?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resource in the form of the bindings, with one of each kind of thing.
    const THING: &str = r#"
export interface ThingConfig extends cdktn.TerraformMetaArguments {
  /**
  * Docs {@link https://example.org/thing#tags Thing#tags}
  */
  readonly tags?: { [key: string]: string };
  /**
  * disk block
  *
  * Docs {@link https://example.org/thing#disk Thing#disk}
  */
  readonly disk: ThingDisk;
}
export interface ThingDisk {
  /**
  * Docs {@link https://example.org/thing#size_gib Thing#size_gib}
  */
  readonly sizeGib: number;
}

export function thingDiskToHclTerraform(struct?: ThingDisk): any {
  const attrs = {
    size_gib: {
      value: cdktn.numberToHclTerraform(struct!.sizeGib),
      isBlock: false,
      type: "simple",
      storageClassType: "number",
    },
  };
}

export class ThingDiskOutputReference extends cdktn.ComplexObject {
  // size_gib - computed: false, optional: false, required: true
  public get sizeGib() {
    return this.getNumberAttribute('size_gib');
  }
}
export class Thing extends cdktn.TerraformResource {
  public static readonly tfResourceType = "aws_thing";

  // arns - computed: true, optional: false, required: false
  public get arns() {
    return cdktn.Fn.tolist(this.getListAttribute('arns'));
  }

  // disk - computed: false, optional: false, required: true
  private _disk = new ThingDiskOutputReference(this, "disk");

  // tags - computed: true, optional: true, required: false
  public get tags() {
    return this.getStringMapAttribute('tags');
  }

  protected synthesizeHclAttributes(): { [name: string]: any } {
    const attrs = {
      disk: {
        value: cdktn.listMapperHcl(thingDiskToHclTerraform, true)(this._disk.internalValue),
        isBlock: true,
        type: "list",
        storageClassType: "ThingDiskList",
      },
      tags: {
        value: cdktn.hashMapperHcl(cdktn.stringToHclTerraform)(this._tags),
        isBlock: false,
        type: "map",
        storageClassType: "stringMap",
      },
    };
  }
}
"#;

    #[test]
    fn a_schema_is_read_off_the_bindings() {
        let expected = json!({
            "attributes": {
                "arns": { "type": ["set", "string"], "computed": true },
                "tags": { "type": ["map", "string"], "computed": true, "optional": true },
            },
            "block_types": {
                "disk": {
                    "nesting_mode": "list",
                    "block": { "attributes": { "size_gib": { "type": "number", "required": true } } },
                    "min_items": 1,
                    "max_items": 1,
                },
            },
        });
        assert_eq!(block(THING).expect("a schema"), expected);
    }

    #[test]
    fn a_structure_without_a_class_is_read_off_its_interface() {
        let without = THING.replace("export class ThingDiskOutputReference", "export class Other");
        assert_eq!(block(&without).expect("a schema"), block(THING).expect("a schema"));
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let strange = THING.replace("storageClassType: \"number\"", "storageClassType: \"numeral\"");
        assert!(block(&strange).expect_err("no schema").contains("size_gib"));
        assert!(block("export class Other {\n}\n").is_err());
    }
}
