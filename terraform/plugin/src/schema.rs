//! What a provider, a resource or a data source has: attributes, their types, and who sets them; and blocks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::block::Block;
use crate::diagnostic::{Diagnostic, Step};
use crate::messages;
use crate::value::{Object, Value};

/// The type of a value, as Terraform's language has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A truth value.
    Bool,
    /// A number.
    Number,
    /// A text.
    String,
    /// Elements in an order.
    List(Box<Self>),
    /// Elements without an order, each once.
    Set(Box<Self>),
    /// Elements by names that the user chooses.
    Map(Box<Self>),
    /// Attributes by names of their own.
    Object(BTreeMap<String, Self>),
}

impl Type {
    /// A list of these.
    #[must_use]
    pub fn list(self) -> Self {
        Self::List(Box::new(self))
    }

    /// A set of these.
    #[must_use]
    pub fn set(self) -> Self {
        Self::Set(Box::new(self))
    }

    /// A map to these.
    #[must_use]
    pub fn map(self) -> Self {
        Self::Map(Box::new(self))
    }

    /// An object with these attributes.
    pub fn object<'a>(attributes: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect())
    }

    /// Numbers in a value of this type that came as texts.
    fn inexact(&self, value: &Value, at: &[Step]) -> Vec<Diagnostic> {
        let below = |step: Step| at.iter().cloned().chain([step]).collect::<Vec<_>>();
        match (self, value) {
            (Self::Number, Value::String(number)) => {
                let detail = format!("{number} is held exactly by neither an integer nor a float of 64 bits.");
                vec![Diagnostic::error("This number cannot be used").detail(detail).at(at.iter().cloned())]
            }
            (Self::List(inner), Value::List(values)) => {
                let values = values.iter().enumerate();
                values.flat_map(|(number, value)| inner.inexact(value, &below(number.into()))).collect()
            }
            // The elements of a set have no place that could be pointed at.
            (Self::Set(inner), Value::List(values)) => {
                values.iter().flat_map(|value| inner.inexact(value, at)).collect()
            }
            (Self::Map(inner), Value::Object(values)) => {
                values.iter().flat_map(|(name, value)| inner.inexact(value, &below(name.into()))).collect()
            }
            (Self::Object(attributes), Value::Object(object)) => {
                let attributes = attributes.iter();
                attributes
                    .flat_map(|(name, kind)| kind.inexact(object.get(name), &below(name.as_str().into())))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// `"string"`, `["list", "string"]`, `["object", {"name": "string"}]`.
    fn json(&self) -> Json {
        match self {
            Self::Bool => json!("bool"),
            Self::Number => json!("number"),
            Self::String => json!("string"),
            Self::List(inner) => json!(["list", inner.json()]),
            Self::Set(inner) => json!(["set", inner.json()]),
            Self::Map(inner) => json!(["map", inner.json()]),
            Self::Object(attributes) => {
                let attributes = attributes.iter().map(|(name, kind)| (name.clone(), kind.json()));
                json!(["object", attributes.collect::<serde_json::Map<_, _>>()])
            }
        }
    }
}

/// Who sets an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetBy {
    /// The user, always.
    User,
    /// The user, or nobody.
    UserOrNobody,
    /// The user, or else the provider.
    UserOrProvider,
    /// The provider.
    Provider,
}

/// One attribute.
#[derive(Debug, Clone)]
pub struct Attribute {
    kind: Type,
    set_by: SetBy,
    description: String,
    is_sensitive: bool,
    replaces: bool,
    optional: BTreeSet<&'static str>,
}

impl Attribute {
    /// An attribute, with a description in Markdown.
    pub fn new(set_by: SetBy, kind: Type, description: impl Into<String>) -> Self {
        let description = description.into();
        Self { kind, set_by, description, is_sensitive: false, replaces: false, optional: BTreeSet::new() }
    }

    /// The same, not to be shown.
    #[must_use]
    pub fn sensitive(self) -> Self {
        Self { is_sensitive: true, ..self }
    }

    /// The same; whoever changes it gets another resource.
    #[must_use]
    pub fn replaces(self) -> Self {
        Self { replaces: true, ..self }
    }

    /// The same, an object that may lack these of its own attributes: they are null then.
    #[must_use]
    pub fn lacking(self, optional: impl IntoIterator<Item = &'static str>) -> Self {
        Self { optional: optional.into_iter().collect(), ..self }
    }

    /// The type, with what an object may lack as a third element.
    fn json(&self) -> Json {
        let mut json = self.kind.json();
        if let (Json::Array(parts), false) = (&mut json, self.optional.is_empty()) {
            parts.push(json!(self.optional));
        }
        json
    }

    fn into_message(self, name: String) -> messages::schema::Attribute {
        messages::schema::Attribute {
            name,
            r#type: self.json().to_string().into_bytes(),
            description: self.description,
            required: self.set_by == SetBy::User,
            optional: matches!(self.set_by, SetBy::UserOrNobody | SetBy::UserOrProvider),
            computed: matches!(self.set_by, SetBy::Provider | SetBy::UserOrProvider),
            sensitive: self.is_sensitive,
            description_kind: messages::StringKind::Markdown.into(),
            deprecated: false,
        }
    }
}

/// What a provider, a resource or a data source has.
#[derive(Debug, Clone)]
pub struct Schema {
    description: String,
    attributes: BTreeMap<String, Attribute>,
    blocks: BTreeMap<String, Block>,
}

impl Schema {
    /// One without attributes, with a description in Markdown.
    pub fn new(description: impl Into<String>) -> Self {
        Self { description: description.into(), attributes: BTreeMap::new(), blocks: BTreeMap::new() }
    }

    /// The same, with an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, attribute: Attribute) -> Self {
        self.attributes.insert(name.to_owned(), attribute);
        self
    }

    /// The same, with a block.
    #[must_use]
    pub fn with_block(mut self, name: &str, block: Block) -> Self {
        self.blocks.insert(name.to_owned(), block);
        self
    }

    /// What a user has set that only the provider sets: Terraform itself lets that pass.
    pub(crate) fn wrongly_set(&self, config: &Object) -> Vec<Diagnostic> {
        self.wrongly_set_at(config, &[])
    }

    pub(crate) fn wrongly_set_at(&self, config: &Object, at: &[Step]) -> Vec<Diagnostic> {
        let below = |name: &String| at.iter().cloned().chain([name.as_str().into()]).collect::<Vec<_>>();
        let own = self.attributes.iter().filter(|(_, attribute)| attribute.set_by == SetBy::Provider);
        let set = own.filter(|(name, _)| !config.get(name).is_null());
        let told = |(name, _): (&String, _)| {
            Diagnostic::error("This attribute cannot be set")
                .detail(format!("`{name}` is decided by the provider: remove it from the configuration."))
                .at(below(name))
        };
        let blocks = self.blocks.iter().flat_map(|(name, block)| block.wrongly_set(config.get(name), &below(name)));
        set.map(told).chain(blocks).collect()
    }

    /// Numbers that are not read: Terraform sends one as a text where neither 64 bits of an integer nor of a float hold it exactly.
    pub(crate) fn inexact(&self, object: &Object) -> Vec<Diagnostic> {
        self.inexact_at(object, &[])
    }

    pub(crate) fn inexact_at(&self, object: &Object, at: &[Step]) -> Vec<Diagnostic> {
        let below = |name: &String| at.iter().cloned().chain([name.as_str().into()]).collect::<Vec<_>>();
        let attributes = self.attributes.iter();
        let attributes =
            attributes.flat_map(|(name, attribute)| attribute.kind.inexact(object.get(name), &below(name)));
        let blocks = self.blocks.iter().flat_map(|(name, block)| block.inexact(object.get(name), &below(name)));
        attributes.chain(blocks).collect()
    }

    /// The attributes that make another resource of this one, where they change.
    pub(crate) fn replacing<'a>(&'a self, prior: &'a Object, planned: &'a Object) -> impl Iterator<Item = &'a str> {
        let replacing = self.attributes.iter().filter(|(_, attribute)| attribute.replaces);
        replacing.map(|(name, _)| name.as_str()).filter(|name| prior.get(name) != planned.get(name))
    }

    /// The object with every attribute and block of the schema and no other, as values travel.
    pub(crate) fn complete(&self, object: &Object) -> Object {
        let attributes = self.attributes.keys().map(|name| (name.clone(), object.get(name).clone()));
        let blocks = self.blocks.iter().map(|(name, block)| (name.clone(), block.complete(object.get(name))));
        attributes.chain(blocks).collect()
    }

    pub(crate) fn into_message(self) -> messages::Schema {
        messages::Schema { version: 0, block: Some(self.into_block_message()) }
    }

    pub(crate) fn into_block_message(self) -> messages::schema::Block {
        let attributes = self.attributes.into_iter().map(|(name, attribute)| attribute.into_message(name));
        let blocks = self.blocks.into_iter().map(|(name, block)| block.into_message(name));
        messages::schema::Block {
            version: 0,
            attributes: attributes.collect(),
            block_types: blocks.collect(),
            description: self.description,
            description_kind: messages::StringKind::Markdown.into(),
            deprecated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_terraform_reads_them() {
        let kind = Type::object([("names", Type::String.set()), ("by_name", Type::list(Type::Bool).map())]);
        let expected = json!(["object", { "by_name": ["map", ["list", "bool"]], "names": ["set", "string"] }]);
        assert_eq!(kind.json(), expected);
    }

    #[test]
    fn what_an_object_may_lack_is_said_beside_its_type() {
        let kind = Type::object([("id", Type::String), ("place", Type::String)]);
        let attribute = Attribute::new(SetBy::UserOrNobody, kind, "A thing").lacking(["place"]);
        assert_eq!(attribute.json(), json!(["object", { "id": "string", "place": "string" }, ["place"]]));
    }

    fn schema() -> Schema {
        Schema::new("A note")
            .with("name", Attribute::new(SetBy::User, Type::String, "Its name").replaces())
            .with("text", Attribute::new(SetBy::UserOrProvider, Type::String, "What it says"))
            .with("digest", Attribute::new(SetBy::Provider, Type::String, "Of the text"))
    }

    #[test]
    fn what_the_provider_decides_is_not_for_users_to_set() {
        let config = Object::default().with("name", "one").with("text", "two");
        assert!(schema().wrongly_set(&config).is_empty());
        assert_eq!(schema().wrongly_set(&config.clone().with("digest", "three")).len(), 1);
        assert_eq!(schema().wrongly_set(&config.with("digest", Value::Unknown)).len(), 1);
    }

    #[test]
    fn numbers_that_came_as_texts_are_refused_wherever_they_are() {
        let deep = Type::object([("counts", Type::list(Type::Number).map())]);
        let schema = schema()
            .with("size", Attribute::new(SetBy::User, Type::Number, "How large"))
            .with("deep", Attribute::new(SetBy::User, deep, "Where numbers hide"));
        let counted = |value: Value| Object::default().with("counts", Object::default().with("all", vec![value]));
        let right = Object::default().with("size", 7).with("text", "0.1").with("deep", counted(3.into()));
        assert!(schema.inexact(&right).is_empty());
        assert!(schema.inexact(&right.clone().with("size", Value::Unknown)).is_empty());
        assert_eq!(schema.inexact(&right.clone().with("size", "0.1")).len(), 1);
        assert_eq!(schema.inexact(&right.with("deep", counted("0.1".into()))).len(), 1);
    }

    #[test]
    fn only_attributes_that_say_so_replace() {
        let (old, new) = (Object::default().with("name", "one"), Object::default().with("name", "two"));
        assert_eq!(schema().replacing(&old, &new).collect::<Vec<_>>(), ["name"]);
        assert_eq!(schema().replacing(&old, &old.clone().with("text", "two")).count(), 0);
    }

    #[test]
    fn an_object_travels_with_all_attributes_and_no_others() {
        let object = schema().complete(&Object::default().with("name", "one").with("more", true));
        let names: Vec<_> = object.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["digest", "name", "text"]);
    }
}
