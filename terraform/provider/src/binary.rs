//! `npc_agent_binary`: the static agent in the store, for machines that have none yet.
//!
//! It lies under its digest, so it is never changed, and others may count on it: it is not removed with this resource.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use npc_core::digest::Digest;
use npc_operator::binaries::{Binary, is_stored};
use npc_operator::bootstrap::Architecture;
use npc_operator::session::open_store;
use terraform_plugin::{
    Attribute, Change, Diagnostic, Object, Outcome, Resource, Schema, SetBy, Type, Unfinished, Value, Warnings,
};

use crate::arguments::{check, needed, parsed, path};
use crate::operator::{Operator, check_place, with_place};
use crate::told::{told, warning};

pub(crate) struct AgentBinary(pub(crate) Arc<Operator>);

impl Resource for AgentBinary {
    fn schema(&self) -> Schema {
        with_place(Schema::new("The static agent in the store, for machines that have none yet."))
            .with(
                "architecture",
                Attribute::new(SetBy::User, Type::String, "What machines it is for: `x86_64` or `aarch64`.").replaces(),
            )
            .with("source", Attribute::new(SetBy::User, Type::String, "The file of the program on this machine."))
            .with(
                "sha256",
                Attribute::new(SetBy::Provider, Type::String, "Its digest, which is its name in the store."),
            )
            .with("size", Attribute::new(SetBy::Provider, Type::Number, "Its length in bytes."))
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check_place(config)?;
        check::<Architecture>(config, "architecture")
    }

    fn read(&self, state: Object, _: &mut Warnings) -> Outcome<Option<Object>> {
        let sha256: Digest = needed(&state, "sha256")?;
        let Some(url) = self.0.store(&state)? else { return Ok(Some(state)) };
        let is_there = self.0.wait(async { is_stored(&sha256, &*open_store(&url).await?).await })?;
        Ok(is_there.then_some(state))
    }

    fn plan(&self, change: Change, warnings: &mut Warnings) -> Outcome<Object> {
        let mut planned = change.proposed;
        let architecture = parsed::<Architecture>(&planned, "architecture")?.now();
        let Some((source, architecture)) = path(&planned, "source").now().zip(architecture) else {
            return Ok(planned.with("sha256", Value::Unknown).with("size", Value::Unknown));
        };
        let binary = warning(warnings, || read(&source, architecture))?;
        planned.set("sha256", binary.sha256.to_string());
        planned.set("size", binary.size);
        Ok(planned)
    }

    fn apply(&self, change: Change, _: &mut Warnings) -> Result<Object, Unfinished> {
        let planned = change.proposed;
        let source: PathBuf = needed(&planned, "source")?;
        let binary = read(&source, needed(&planned, "architecture")?)?;
        let is_planned = planned.text("sha256").is_none_or(|sha256| sha256 == binary.sha256.to_string());
        if !is_planned {
            return Err(Diagnostic::error("The program has changed since the plan")
                .detail("What was planned is not what lies there now. Nothing was uploaded: plan again.")
                .at(["source"])
                .into());
        }
        let Some(url) = self.0.store(&planned)? else {
            return Err(Diagnostic::error("It is not known yet where the store is").at(["store"]).into());
        };
        self.0.wait(async { binary.upload(&source, &*open_store(&url).await?).await })?;
        Ok(planned.with("sha256", binary.sha256.to_string()).with("size", binary.size))
    }

    fn remove(&self, _: Object, _: &mut Warnings) -> Outcome<()> {
        Ok(())
    }

    fn import(&self, id: &str) -> Outcome<Object> {
        let Some((architecture, sha256)) = id.split_once('=') else {
            return Err(Diagnostic::error("An agent's program is imported by architecture and digest")
                .detail("Say it as `x86_64=SHA256`, as `npc-publish bootstrap --agent` has it.")
                .into());
        };
        let binary = Object::default().with("architecture", architecture).with("sha256", sha256);
        check::<Architecture>(&binary, "architecture")?;
        check::<Digest>(&binary, "sha256")?;
        Ok(binary)
    }
}

fn read(source: &Path, architecture: Architecture) -> Outcome<Binary> {
    Binary::of(source, architecture).map_err(|failure| told(&failure).or_at("source"))
}
