//! `npc-publish init`: makes a fleet.
//!
//! Keys first, then the first trust in the store, then `npc.toml`: what fails leaves nothing behind that would be mistaken
//! for a fleet, and no key without its fleet.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use npc_core::document::Serial;
use npc_core::files;
use npc_core::key::SecretKey;
use npc_core::layout;
use npc_core::name::FleetId;
use npc_core::publish::trust::first;
use npc_core::store::{Precondition, Store, StoreUrl, read_if_present, write_document};
use npc_operator::config::{self, Config};
use npc_operator::failure::Failure;
use npc_operator::keys;
use npc_operator::selection::Strategy;
use npc_operator::session;
use tempfile::NamedTempFile;

use crate::cli;
use crate::console;

const ROOT: &str = "npc-root-1";
const PUBLISHING: &str = "npc-publish-1";

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
    let fleet = random_fleet()?;
    let store = open_empty_store(&arguments.store).await?;
    let writes = session::probe_conditional_writes(&*store).await?;
    // Before anything is made: a directory that cannot be written to must not end in half a fleet.
    let place = tempfile::Builder::new().prefix(".npc-").tempfile_in(&arguments.flake).map_err(|error| {
        Failure::usage(format!("cannot write to `{}`: {error}", arguments.flake.display()))
            .hint("npc.toml goes there, beside flake.nix")
    })?;
    let directory = arguments.keys.map_or_else(|| default_key_directory(&fleet), Ok)?;
    let keys = NewKeys::create(&directory)?;
    let trust = first(fleet.clone(), &keys.root, &keys.publishing, Timestamp::now());
    let key = layout::trust(Serial::FIRST);
    write_document(&*store, &key, &trust.bytes, Precondition::Absent, writes).await?;
    let publishing_file = keys.keep();
    let config = Config {
        fleet,
        store: arguments.store,
        root_keys: vec![keys.root.public()],
        root_threshold: 1,
        key: Some(portable(&fs::canonicalize(&publishing_file).unwrap_or(publishing_file))),
        selection: Strategy::default(),
        include: Vec::new(),
        exclude: Vec::new(),
    };
    write_config(place, &file, &config)?;
    tell(&file, &directory);
    console::data(host_settings(&config))
}

fn random_fleet() -> Result<FleetId, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::other(format!("the system gives no randomness: {error}")))?;
    Ok(FleetId::from_random(bytes))
}

async fn open_empty_store(url: &StoreUrl) -> Result<std::sync::Arc<dyn Store>, Failure> {
    if let StoreUrl::Directory(root) = url {
        fs::create_dir_all(root)
            .map_err(|error| Failure::usage(format!("cannot make the store `{}`: {error}", root.display())))?;
    }
    let store = session::open_store(url).await?;
    if read_if_present(&*store, &layout::trust(Serial::FIRST)).await?.is_some() {
        return Err(Failure::usage(format!("a fleet lives at {url} already"))
            .hint("copy its npc.toml, or take another prefix or directory for the new fleet"));
    }
    Ok(store)
}

fn default_key_directory(fleet: &FleetId) -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home =
        home.ok_or_else(|| Failure::usage("there is no HOME to keep keys in").hint("name a place with --keys"))?;
    Ok(home.join(".config/npc").join(&fleet.as_str()[..8]))
}

/// The path as colleagues can share it: below `~/` where it lies in the home directory.
fn portable(path: &Path) -> PathBuf {
    let home = std::env::var_os("HOME").and_then(|home| fs::canonicalize(home).ok());
    match home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(below) => Path::new("~").join(below),
        None => path.to_owned(),
    }
}

/// Keys whose files are removed again unless the fleet comes about.
struct NewKeys {
    root: SecretKey,
    publishing: SecretKey,
    files: std::cell::RefCell<Vec<PathBuf>>,
    publishing_file: PathBuf,
}

impl NewKeys {
    fn create(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory)
            .map_err(|error| Failure::usage(format!("cannot make `{}`: {error}", directory.display())))?;
        let publishing_file = directory.join(format!("{PUBLISHING}.secret"));
        let keys = Self {
            root: keys::generate(ROOT)?,
            publishing: keys::generate(PUBLISHING)?,
            files: std::cell::RefCell::default(),
            publishing_file,
        };
        for (key, file) in
            [(&keys.root, directory.join(format!("{ROOT}.secret"))), (&keys.publishing, keys.publishing_file.clone())]
        {
            keys::write(&file, key)?;
            keys.files.borrow_mut().push(file);
        }
        Ok(keys)
    }

    fn keep(&self) -> PathBuf {
        self.files.borrow_mut().clear();
        self.publishing_file.clone()
    }
}

impl Drop for NewKeys {
    fn drop(&mut self) {
        for file in self.files.borrow().iter() {
            if let Err(error) = fs::remove_file(file) {
                console::warn(format_args!("the key of no fleet is left in `{}`: {error}", file.display()));
            }
        }
    }
}

fn write_config(mut place: NamedTempFile, file: &Path, config: &Config) -> Result<(), Failure> {
    let text = toml::to_string(config).map_err(Failure::other)?;
    let text = format!("# What npc-publish needs beyond the name of a remote. No secrets: commit it.\n{text}");
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
