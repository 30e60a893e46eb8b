//! Blocks in schemas: objects that a configuration writes without an equals sign, once or again and again.

use crate::diagnostic::{Diagnostic, Step};
use crate::messages::schema::NestedBlock;
use crate::messages::schema::nested_block::NestingMode;
use crate::schema::Schema;
use crate::value::{Object, Value};

/// What several blocks of one name make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// There is one, or none.
    Single,
    /// An order.
    List,
    /// Each once.
    Set,
    /// Each has a label.
    Map,
}

/// A block that may be written in a configuration.
#[derive(Debug, Clone)]
pub struct Block {
    nesting: Nesting,
    least: u32,
    most: Option<u32>,
    schema: Schema,
}

impl Block {
    /// A block with these attributes, to be written as often as one likes.
    pub fn new(nesting: Nesting, schema: Schema) -> Self {
        Self { nesting, least: 0, most: None, schema }
    }

    /// The same, at least so often.
    #[must_use]
    pub fn at_least(self, least: u32) -> Self {
        Self { least, ..self }
    }

    /// The same, at most so often.
    #[must_use]
    pub fn at_most(self, most: u32) -> Self {
        Self { most: Some(most), ..self }
    }

    /// What a user has set in blocks that only the provider sets.
    pub(crate) fn wrongly_set(&self, value: &Value, at: &[Step]) -> Vec<Diagnostic> {
        self.each(value, at, |block, at| self.schema.wrongly_set_at(block, at))
    }

    /// Numbers in blocks that are not read.
    pub(crate) fn inexact(&self, value: &Value, at: &[Step]) -> Vec<Diagnostic> {
        self.each(value, at, |block, at| self.schema.inexact_at(block, at))
    }

    /// What is told of all blocks of this name.
    fn each(&self, value: &Value, at: &[Step], told: impl Fn(&Object, &[Step]) -> Vec<Diagnostic>) -> Vec<Diagnostic> {
        let one = |value: &Value, step: Option<Step>| {
            let at: Vec<_> = at.iter().cloned().chain(step).collect();
            value.as_object().map(|object| told(object, &at)).unwrap_or_default()
        };
        match (self.nesting, value) {
            (Nesting::Map, Value::Object(blocks)) => {
                blocks.iter().flat_map(|(label, block)| one(block, Some(label.into()))).collect()
            }
            (Nesting::List, Value::List(blocks)) => {
                blocks.iter().enumerate().flat_map(|(number, block)| one(block, Some(number.into()))).collect()
            }
            // The elements of a set have no place that could be pointed at.
            (Nesting::Set, Value::List(blocks)) => blocks.iter().flat_map(|block| one(block, None)).collect(),
            (_, block) => one(block, None),
        }
    }

    /// The value with every attribute in every block, as values travel.
    pub(crate) fn complete(&self, value: &Value) -> Value {
        let one = |value: &Value| match value {
            Value::Object(object) => Value::Object(self.schema.complete(object)),
            other => other.clone(),
        };
        match (self.nesting, value) {
            (Nesting::List | Nesting::Set, Value::Null) => Value::List(Vec::new()),
            (Nesting::List | Nesting::Set, Value::List(blocks)) => Value::List(blocks.iter().map(one).collect()),
            (Nesting::Map, Value::Null) => Value::Object(Object::default()),
            (Nesting::Map, Value::Object(blocks)) => {
                Value::Object(blocks.iter().map(|(label, block)| (label.to_owned(), one(block))).collect())
            }
            (_, block) => one(block),
        }
    }

    pub(crate) fn into_message(self, type_name: String) -> NestedBlock {
        let nesting = match self.nesting {
            Nesting::Single => NestingMode::Single,
            Nesting::List => NestingMode::List,
            Nesting::Set => NestingMode::Set,
            Nesting::Map => NestingMode::Map,
        };
        NestedBlock {
            type_name,
            block: Some(self.schema.into_block_message()),
            nesting: nesting.into(),
            min_items: self.least.into(),
            max_items: self.most.unwrap_or_default().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Attribute, SetBy, Type};

    fn schema(nesting: Nesting) -> Schema {
        let disk = Schema::new("A disk")
            .with("size", Attribute::new(SetBy::User, Type::Number, "In GiB"))
            .with("id", Attribute::new(SetBy::Provider, Type::String, "As the provider calls it"));
        Schema::new("A machine").with_block("disk", Block::new(nesting, disk))
    }

    fn disk() -> Object {
        Object::default().with("size", 20)
    }

    #[test]
    fn what_the_provider_decides_in_a_block_is_not_for_users_to_set() {
        let set = disk().with("id", "one");
        let written = [
            (Nesting::Single, Value::from(disk()), Value::from(set.clone())),
            (Nesting::List, vec![disk()].into(), vec![disk(), set.clone()].into()),
            (Nesting::Set, vec![disk()].into(), vec![disk(), set.clone()].into()),
            (Nesting::Map, Object::default().with("a", disk()).into(), Object::default().with("a", set).into()),
        ];
        for (nesting, right, wrong) in written {
            let told = |value: Value| schema(nesting).wrongly_set(&Object::default().with("disk", value)).len();
            assert_eq!((told(right), told(wrong)), (0, 1), "{nesting:?}");
            assert_eq!(told(Value::Unknown), 0, "{nesting:?}");
        }
    }

    #[test]
    fn blocks_travel_with_all_attributes_and_where_there_are_none() {
        let complete = |nesting, object: Object| schema(nesting).complete(&object).get("disk").clone();
        let whole = disk().with("id", Value::Null);
        let one = Object::default().with("disk", vec![disk()]);
        assert_eq!(complete(Nesting::List, one.clone()), vec![whole.clone()].into());
        assert_eq!(complete(Nesting::Set, one), vec![whole.clone()].into());
        assert_eq!(complete(Nesting::Single, Object::default().with("disk", disk())), whole.into());
        assert_eq!(complete(Nesting::List, Object::default()), Value::List(Vec::new()));
        assert_eq!(complete(Nesting::Map, Object::default()), Value::Object(Object::default()));
        assert_eq!(complete(Nesting::Single, Object::default()), Value::Null);
    }
}
