//! `npc.toml`, beside `flake.nix`: what publishing needs beyond the remote's name. It holds no secrets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use npc_core::document::Serial;
use npc_core::key::PublicKey;
use npc_core::name::FleetId;
use npc_core::store::StoreUrl;
use npc_core::trust::Anchor;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::failure::Failure;
use crate::selection::Strategy;

/// The file's name.
pub const FILE: &str = "npc.toml";

/// The file's content.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The fleet's id.
    pub fleet: FleetId,
    /// The store's address.
    #[serde(deserialize_with = "address", serialize_with = "text")]
    pub store: StoreUrl,
    /// The root keys that vouch for the first trust.
    pub root_keys: Vec<PublicKey>,
    /// How many of them must have signed it.
    #[serde(default = "one")]
    pub root_threshold: usize,
    /// The file of the secret key to publish with: absolute, below `~/`, or relative to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// How the files to publish are chosen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub selection: Strategy,
    /// Globs of files that are published whether or not they are chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Globs of files that are never published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_default(strategy: &Strategy) -> bool {
    *strategy == Strategy::default()
}

fn one() -> usize {
    1
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StoreUrl, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn text<S: serde::Serializer>(url: &StoreUrl, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

impl Config {
    /// Reads the file in `directory`.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        Self::read_if_present(directory)?.ok_or_else(|| {
            Failure::usage(format!("there is no {FILE} in `{}`", directory.display()))
                .hint("name the flake's directory with --flake, or make a fleet with `npc-publish init`")
        })
    }

    /// Reads the file in `directory`, if there is one.
    pub fn read_if_present(directory: &Path) -> Result<Option<Self>, Failure> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::usage(format!("cannot read `{}`: {error}", path.display()))),
        };
        Self::parse(&text, &path.display().to_string()).map(Some)
    }

    /// Reads the text of a file that is called so.
    pub fn parse(text: &str, called: &str) -> Result<Self, Failure> {
        toml::from_str(text).map_err(|error| {
            Failure::usage(format!("`{called}` is not in order: {error}"))
                .hint("the README says what may stand in it; `npc-publish init` wrote the rest")
        })
    }

    /// The text of the file.
    pub fn to_text(&self) -> Result<String, Failure> {
        let text = toml::to_string(self).map_err(Failure::other)?;
        Ok(format!("# What npc-publish needs beyond the name of a remote. No secrets: commit it.\n{text}"))
    }

    /// What the fleet's trust hangs on.
    pub fn anchor(&self) -> Anchor {
        Anchor {
            fleet: self.fleet.clone(),
            root_keys: self.root_keys.clone(),
            root_threshold: self.root_threshold,
            version: Serial::FIRST,
        }
    }

    /// The excluding globs, ready for use.
    pub fn excluded(&self) -> Result<GlobSet, Failure> {
        globs("exclude", &self.exclude)
    }

    /// The including globs, ready for use.
    pub fn included(&self) -> Result<GlobSet, Failure> {
        globs("include", &self.include)
    }
}

/// The globs of a setting. One that matches a directory matches what is below it.
fn globs(setting: &str, patterns: &[String]) -> Result<GlobSet, Failure> {
    let wrong = |error: globset::Error| {
        Failure::usage(format!("`{setting}` in {FILE}: {error}"))
            .hint("a glob is a path in which `*` stands for part of a name and `**` for any directories")
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let trimmed = pattern.trim_end_matches('/');
        for pattern in [trimmed.to_owned(), format!("{trimmed}/**")] {
            set.add(GlobBuilder::new(&pattern).literal_separator(true).build().map_err(wrong)?);
        }
    }
    set.build().map_err(wrong)
}

/// The path as colleagues can share it: below `~/` where it lies in the home directory.
pub fn portable(path: &Path) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let home = std::env::var_os("HOME").and_then(|home| fs::canonicalize(home).ok());
    match home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(below) => Path::new("~").join(below),
        None => path,
    }
}

/// The path that a setting means: `~/` is the user's home, anything relative is relative to `base`.
pub fn resolve(path: &Path, base: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(below), Some(home)) => Path::new(&home).join(below),
        _ => base.join(path),
    }
}
