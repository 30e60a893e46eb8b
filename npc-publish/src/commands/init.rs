//! `npc-publish init`: makes a fleet.
//!
//! The fleet is made first, then `npc.toml`.

use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;
use npc_core::files;
use npc_operator::config::{self, Config};
use npc_operator::failure::Failure;
use npc_operator::founding::{Foundation, PUBLISHING, ROOT, key_directory};
use tempfile::NamedTempFile;

use crate::cli;
use crate::console;

pub(crate) async fn init(arguments: cli::Init) -> Result<(), Failure> {
    let file = arguments.flake.join(config::FILE);
    if file.exists() {
        return Err(Failure::usage(format!("`{}` exists already", file.display()))
            .hint("this flake belongs to a fleet; remove the file if it should belong to a new one"));
    }
    if !arguments.flake.is_dir() {
        return Err(Failure::usage(format!("there is no directory `{}`", arguments.flake.display())));
    }
    if !arguments.flake.join("flake.nix").is_file() {
        console::warn(format_args!("there is no flake.nix in `{}` yet", arguments.flake.display()));
    }
    let foundation = Foundation::at(&arguments.store).await?;
    // Before anything is made: a directory that cannot be written to must not end in half a fleet.
    let place = tempfile::Builder::new().prefix(".npc-").tempfile_in(&arguments.flake).map_err(|error| {
        Failure::usage(format!("cannot write to `{}`: {error}", arguments.flake.display()))
            .hint("npc.toml goes there, beside flake.nix")
    })?;
    let directory = arguments.keys.map_or_else(|| key_directory(&foundation.fleet), Ok)?;
    let config = foundation.lay(&directory, Timestamp::now()).await?.config(arguments.store);
    write_config(place, &file, &config)?;
    tell(&file, &directory);
    console::data(host_settings(&config))
}

fn write_config(mut place: NamedTempFile, file: &Path, config: &Config) -> Result<(), Failure> {
    let text = config.to_text()?;
    place.write_all(text.as_bytes()).and_then(|()| files::settle(place, file, 0o644)).map_err(|error| {
        Failure::usage(format!("cannot write `{}`: {error}", file.display()))
            .hint(format!("the fleet is made; this belongs into that file:\n{text}"))
    })
}

fn tell(file: &Path, keys: &Path) {
    console::say(format_args!(
        "made a fleet; `{}` describes it\n\
         keys are in `{}`:\n  \
         {ROOT}.secret     changes who may sign. Move it offline now; it is not needed to publish.\n  \
         {PUBLISHING}.secret  publishes. Keep it where you publish.\n\
         hosts need this in /etc/npc-agent/config.toml, beside `remote` and `configuration`:",
        file.display(),
        keys.display(),
    ));
}

/// What a host must be told to believe this fleet.
fn host_settings(config: &Config) -> String {
    let keys: Vec<_> = config.root_keys.iter().map(|key| format!("\"{key}\"")).collect();
    format!("fleet = \"{}\"\nstore = \"{}\"\nroot_keys = [{}]", config.fleet, config.store, keys.join(", "))
}
