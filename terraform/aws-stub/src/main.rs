//! A stand-in for the AWS provider, for tests alone: it serves that provider's schema for what the Terraform modules use, checks
//! configurations against it, and makes nothing.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, LazyLock};

use serde_json::Value as Json;
use terraform_plugin::{
    Change, DataSource, Diagnostic, Object, Outcome, Provider, Resource, Schema, Unfinished, Warnings, serve,
};

/// The schema, in the form of `terraform providers schema -json`.
static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let whole: Json = serde_json::from_str(include_str!("../schema.json")).expect("the schema is JSON");
    whole["provider_schemas"]["registry.terraform.io/hashicorp/aws"].clone()
});

/// The stand-in.
struct Stub;

/// A resource or a data source, as the schema has it.
struct Described(Schema);

fn main() -> Result<(), Box<dyn Error>> {
    Ok(serve(Stub)?)
}

fn schema(json: &Json) -> Schema {
    Schema::from_json(json).expect("a schema is in order")
}

/// Everything of a kind, by its name.
fn described(kind: &str) -> impl Iterator<Item = (&'static str, Described)> {
    let kind = SCHEMA[kind].as_object().expect("the schema has every kind");
    kind.iter().map(|(name, json)| (name.as_str(), Described(schema(json))))
}

/// What there is in place of doing anything.
fn refusal() -> Diagnostic {
    Diagnostic::error("This is not the AWS provider").detail(
        "It stands in for it where modules are checked, and reaches no AWS: use `mock_provider \"aws\"` in tests.",
    )
}

impl Provider for Stub {
    fn schema(&self) -> Schema {
        schema(&SCHEMA["provider"])
    }

    fn resources(&self) -> BTreeMap<&'static str, Arc<dyn Resource>> {
        described("resource_schemas").map(|(name, it)| (name, Arc::new(it) as _)).collect()
    }

    fn data_sources(&self) -> BTreeMap<&'static str, Arc<dyn DataSource>> {
        described("data_source_schemas").map(|(name, it)| (name, Arc::new(it) as _)).collect()
    }

    fn configure(&self, _: &Object, _: &mut Warnings) -> Outcome<()> {
        Err(refusal().into())
    }

    fn stop(&self) {}
}

impl Resource for Described {
    fn schema(&self) -> Schema {
        self.0.clone()
    }

    fn read(&self, _: Object, _: &mut Warnings) -> Outcome<Option<Object>> {
        Err(refusal().into())
    }

    fn plan(&self, _: Change, _: &mut Warnings) -> Outcome<Object> {
        Err(refusal().into())
    }

    fn apply(&self, _: Change, _: &mut Warnings) -> Result<Object, Unfinished> {
        Err(refusal().into())
    }

    fn remove(&self, _: Object, _: &mut Warnings) -> Outcome<()> {
        Err(refusal().into())
    }

    fn import(&self, _: &str) -> Outcome<Object> {
        Err(refusal().into())
    }
}

impl DataSource for Described {
    fn schema(&self) -> Schema {
        self.0.clone()
    }

    fn read(&self, _: Object, _: &mut Warnings) -> Outcome<Object> {
        Err(refusal().into())
    }
}
