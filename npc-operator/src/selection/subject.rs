//! What is evaluated, and under which key its results are remembered.

use std::path::Path;

use npc_core::digest::Digest;
use npc_core::document::{Metadata, Proof, System};
use npc_core::name::ConfigurationName;
use serde::Deserialize;
use serde_json::Value;

use super::nix::Nix;
use super::tree::Tree;
use crate::failure::{Exit, Failure};

/// Where a configuration describes its host, below `/etc`.
const HOST_FILE: &str = "npc/host.json";

/// What is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The names of the configurations.
    Names,
    /// The system of one.
    System(ConfigurationName),
}

impl Subject {
    pub(super) fn function(&self) -> String {
        match self {
            Self::Names => "builtins.attrNames".to_owned(),
            Self::System(name) => format!(
                "configurations: let top = configurations.{0}.config.system.build.toplevel; \
                 file = (configurations.{0}.config.environment.etc or {{ }}).\"{HOST_FILE}\" or {{ }}; \
                 plain = builtins.unsafeDiscardStringContext; text = file.text or null; in \
                 {{ inherit (top) system; drv_path = plain top.drvPath; out_path = plain top.outPath; \
                 host_file = if text == null then null else plain text; }}",
                name.quoted()
            ),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Names => "the names of the configurations".to_owned(),
            Self::System(name) => format!("configuration `{name}`"),
        }
    }
}

/// What a record follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Facts about the tree.
    Tree,
    /// The archive that it was found in.
    Archive,
}

#[derive(Debug, Deserialize)]
struct SystemValue {
    system: String,
    drv_path: String,
    out_path: Option<String>,
    host_file: Option<String>,
}

pub(super) fn system(name: &ConfigurationName, value: Value, proof: Option<Proof>) -> Result<System, Failure> {
    let SystemValue { system, drv_path, out_path, host_file } =
        serde_json::from_value(value).map_err(Failure::other)?;
    let host = host_file.as_deref().map(Metadata::from_host_file).transpose().map_err(|reason| {
        Failure::new(Exit::Flake, format!("`/etc/{HOST_FILE}` of configuration `{name}` is not in order: {reason}"))
            .hint("`npc.host` in nixos/host.nix writes it")
    })?;
    Ok(System { system, drv_path, out_path, proof, host })
}

/// The key of a subject's results: what they depend on beside the tree's other files.
pub(super) fn key(tree: &Tree, nix: &Nix, subject: &Subject, scope: Scope) -> Digest {
    let entry = |name: &str| {
        let bytes = std::fs::read(tree.root().join(name)).unwrap_or_default();
        if tree.kind(Path::new(name)).is_some() { Digest::of(&bytes).to_string() } else { String::new() }
    };
    let [version, configured] = nix.circumstances();
    let parts = [
        env!("CARGO_PKG_VERSION"),
        match scope {
            Scope::Tree => "tree 1",
            Scope::Archive => "archive 1",
        },
        version,
        configured,
        std::env::consts::ARCH,
        std::env::consts::OS,
        &entry("flake.nix"),
        &entry("flake.lock"),
        &subject.function(),
    ];
    Digest::of(parts.join("\0").as_bytes())
}
