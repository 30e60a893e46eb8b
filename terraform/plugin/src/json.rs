//! Schemas in JSON, in the form of `terraform providers schema -json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use crate::block::{Block, Nesting};
use crate::schema::{Attribute, Schema, SetBy, Type};

/// Why JSON is no schema.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// It has another form.
    #[error("the schema has another form")]
    Form(#[from] serde_json::Error),
    /// A schema's version is more than a first one, and older states would have to be brought up to it.
    #[error("the schema has version {0}, and there is only 0")]
    Version(u64),
    /// A type is none of Terraform's.
    #[error("`{0}` is no type")]
    Type(Json),
    /// Nobody may set an attribute.
    #[error("nobody sets the attribute `{0}`")]
    Nobody(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    version: u64,
    block: Fields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    attributes: BTreeMap<String, Field>,
    #[serde(default)]
    block_types: BTreeMap<String, Nested>,
    #[serde(default)]
    description: String,
    #[serde(rename = "description_kind")]
    _description_kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the form has as many")]
struct Field {
    #[serde(rename = "type")]
    kind: Json,
    #[serde(default)]
    description: String,
    #[serde(rename = "description_kind")]
    _description_kind: Option<String>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    computed: bool,
    #[serde(default)]
    sensitive: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nested {
    nesting_mode: Mode,
    block: Fields,
    #[serde(default)]
    min_items: u32,
    max_items: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Single,
    List,
    Set,
    Map,
}

impl Schema {
    /// Reads the schema of one resource or data source, or of the provider itself.
    pub fn from_json(json: &Json) -> Result<Self, SchemaError> {
        let whole = Whole::deserialize(json)?;
        if whole.version != 0 {
            return Err(SchemaError::Version(whole.version));
        }
        whole.block.try_into()
    }
}

impl TryFrom<Fields> for Schema {
    type Error = SchemaError;

    fn try_from(fields: Fields) -> Result<Self, SchemaError> {
        let mut schema = Self::new(fields.description);
        for (name, field) in fields.attributes {
            let attribute = field.attribute(&name)?;
            schema = schema.with(&name, attribute);
        }
        for (name, nested) in fields.block_types {
            schema = schema.with_block(&name, nested.try_into()?);
        }
        Ok(schema)
    }
}

impl Field {
    fn attribute(self, name: &str) -> Result<Attribute, SchemaError> {
        let set_by = match (self.required, self.optional, self.computed) {
            (true, ..) => SetBy::User,
            (_, true, true) => SetBy::UserOrProvider,
            (_, true, false) => SetBy::UserOrNobody,
            (_, false, true) => SetBy::Provider,
            (false, false, false) => return Err(SchemaError::Nobody(name.to_owned())),
        };
        let attribute = Attribute::new(set_by, Type::from_json(&self.kind)?, self.description);
        Ok(if self.sensitive { attribute.sensitive() } else { attribute })
    }
}

impl TryFrom<Nested> for Block {
    type Error = SchemaError;

    fn try_from(nested: Nested) -> Result<Self, SchemaError> {
        let nesting = match nested.nesting_mode {
            Mode::Single => Nesting::Single,
            Mode::List => Nesting::List,
            Mode::Set => Nesting::Set,
            Mode::Map => Nesting::Map,
        };
        let block = Self::new(nesting, nested.block.try_into()?).at_least(nested.min_items);
        Ok(match nested.max_items {
            Some(most) => block.at_most(most),
            None => block,
        })
    }
}

impl Type {
    fn from_json(json: &Json) -> Result<Self, SchemaError> {
        let strange = || SchemaError::Type(json.clone());
        let (name, inner) = match json {
            Json::String(name) => (name.as_str(), None),
            Json::Array(parts) => match &parts[..] {
                [Json::String(name), inner] => (name.as_str(), Some(inner)),
                _ => return Err(strange()),
            },
            _ => return Err(strange()),
        };
        Ok(match (name, inner) {
            ("bool", None) => Self::Bool,
            ("number", None) => Self::Number,
            ("string", None) => Self::String,
            ("list", Some(inner)) => Self::from_json(inner)?.list(),
            ("set", Some(inner)) => Self::from_json(inner)?.set(),
            ("map", Some(inner)) => Self::from_json(inner)?.map(),
            ("object", Some(Json::Object(attributes))) => {
                let attributes = attributes.iter().map(|(name, kind)| Ok((name.clone(), Self::from_json(kind)?)));
                Self::Object(attributes.collect::<Result<_, SchemaError>>()?)
            }
            _ => return Err(strange()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::messages::schema::nested_block::NestingMode;

    fn example() -> Json {
        json!({
            "version": 0,
            "block": {
                "attributes": {
                    "arn": { "type": "string", "computed": true },
                    "name": { "type": "string", "required": true, "description": "Its name" },
                    "rules": { "type": ["set", ["object", { "ports": ["list", "number"] }]], "optional": true, "computed": true },
                    "tags": { "type": ["map", "string"], "optional": true },
                },
                "block_types": {
                    "disk": {
                        "nesting_mode": "list",
                        "block": { "attributes": { "size": { "type": "number", "optional": true } } },
                        "min_items": 1,
                        "max_items": 2,
                    },
                },
            },
        })
    }

    #[test]
    fn a_schema_is_served_as_it_is_written() {
        let block = Schema::from_json(&example()).expect("a schema").into_message().block.expect("a block");
        let flags: Vec<_> =
            block.attributes.iter().map(|it| (it.name.as_str(), it.required, it.optional, it.computed)).collect();
        let expected = [
            ("arn", false, false, true),
            ("name", true, false, false),
            ("rules", false, true, true),
            ("tags", false, true, false),
        ];
        assert_eq!(flags, expected);
        let kind: Json = serde_json::from_slice(&block.attributes[2].r#type).expect("JSON");
        assert_eq!(kind, example()["block"]["attributes"]["rules"]["type"]);
        let [disk] = &block.block_types[..] else { panic!("one block") };
        assert_eq!((disk.type_name.as_str(), disk.min_items, disk.max_items), ("disk", 1, 2));
        assert_eq!(disk.nesting(), NestingMode::List);
        assert_eq!(disk.block.as_ref().expect("a block").attributes[0].name, "size");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for (pointer, wrong) in [
            ("/version", json!(1)),
            ("/block/attributes/arn/computed", json!(false)),
            ("/block/attributes/arn/type", json!("text")),
            ("/block/attributes/arn/type", json!(["list"])),
            ("/block/attributes/arn", json!({ "type": "string", "computed": true, "new_flag": true })),
            ("/block/block_types/disk/nesting_mode", json!("tree")),
        ] {
            let mut schema = example();
            *schema.pointer_mut(pointer).expect("a place") = wrong;
            assert!(Schema::from_json(&schema).is_err(), "{pointer}");
        }
    }
}
