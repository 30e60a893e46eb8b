//! An operator at a fleet: `npc.toml`, the opened store, the walked trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use npc_core::digest::Digest;
use npc_core::files;
use npc_core::fleet::{CONCURRENT, Fleet, Memory};
use npc_core::key::SecretKey;
use npc_core::store::{self, ConditionalWrites, Connections, Options, Store, StoreUrl, Token, probe};

use crate::config::{Config, resolve};
use crate::failure::Failure;
use crate::keys;
use crate::voice;

/// The environment variable with an HTTP store's token.
const TOKEN: &str = "NPC_STORE_TOKEN";

/// How long it is remembered whether a store enforces conditional writes.
const NOTE_LASTS: Duration = Duration::from_hours(24);

/// Where a fleet is described.
#[derive(Debug, Clone)]
pub struct Place {
    /// The directory of `flake.nix` and `npc.toml`.
    pub flake: PathBuf,
    /// The store, instead of the one in `npc.toml`.
    pub store: Option<StoreUrl>,
}

/// An operator at a fleet.
pub struct Session {
    /// What `npc.toml` says.
    pub config: Config,
    /// The flake's directory.
    pub directory: PathBuf,
    /// The store and its newest trust.
    pub fleet: Fleet,
}

/// Opens the store at `url` with the token that the environment has for it.
pub async fn open_store(url: &StoreUrl) -> Result<Arc<dyn Store>, Failure> {
    let token = std::env::var(TOKEN).ok().map(|text| Token::new(&text)).transpose()?;
    let connections = Connections(CONCURRENT);
    Ok(store::open(url, Options { token, connections, ..Options::default() }).await?)
}

impl Session {
    /// Reads `npc.toml`, opens the store and walks to the newest trust.
    pub async fn open(place: impl Into<Place>) -> Result<Self, Failure> {
        let place = place.into();
        let mut config = Config::read(&place.flake)?;
        if let Some(store) = place.store {
            config.store = store;
        }
        Self::at(config, place.flake).await
    }

    /// Likewise by what `npc.toml` in a directory says, or would.
    pub async fn at(config: Config, directory: PathBuf) -> Result<Self, Failure> {
        let store = open_store(&config.store).await?;
        let mut fleet = Fleet::open(store, &config.anchor()).await?;
        if let Some(cache) = cache() {
            let memory = Memory::below(&cache.join("documents"), &config.fleet, fleet.store.url());
            fleet = fleet.remembering(memory);
        }
        Ok(Self { config, directory, fleet })
    }

    /// The keys given on the command line, or else the one in `npc.toml`.
    pub fn keys(&self, given: &[PathBuf]) -> Result<Vec<SecretKey>, Failure> {
        if !given.is_empty() {
            return keys::read_all(given);
        }
        match &self.config.key {
            Some(path) => Ok(vec![keys::read(&resolve(path, &self.directory))?]),
            None => {
                Err(Failure::usage("no key to sign with")
                    .hint("name its file with --key, NPC_KEY or `key` in npc.toml"))
            }
        }
    }

    /// Whether the store enforces conditional writes: probed once, said once, then remembered.
    pub async fn conditional_writes(&self) -> Result<ConditionalWrites, Failure> {
        conditional_writes(&*self.fleet.store).await
    }
}

/// Whether a store enforces conditional writes: probed once, said once, then remembered.
pub async fn conditional_writes(store: &dyn Store) -> Result<ConditionalWrites, Failure> {
    let known = note_file(store.url()).and_then(|path| recall(&path));
    match known.as_deref() {
        Some("enforced") => Ok(ConditionalWrites::Enforced),
        Some("ignored") => Ok(ConditionalWrites::Ignored),
        _ => probe_conditional_writes(store).await,
    }
}

/// What is remembered, unless that is too long ago: another server may answer at the address by now.
fn recall(note: &Path) -> Option<String> {
    let age = note.metadata().ok()?.modified().ok()?.elapsed().ok()?;
    if age < NOTE_LASTS { std::fs::read_to_string(note).ok() } else { None }
}

/// Finds out whether a store enforces conditional writes, says it, and remembers it.
pub async fn probe_conditional_writes(store: &dyn Store) -> Result<ConditionalWrites, Failure> {
    let note = note_file(store.url());
    let found = probe(store).await?;
    let word = match found {
        ConditionalWrites::Enforced => {
            voice::say("the store enforces conditional writes: of two publishers at once, one is refused");
            "enforced"
        }
        ConditionalWrites::Ignored => {
            voice::warn(
                "the store accepts conditional writes and ignores them; npc reads back what it wrote, \
                 but let only one publisher write to a remote at a time",
            );
            "ignored"
        }
    };
    if let Some(path) = note {
        remember(&path, word);
    }
    Ok(found)
}

/// Where it is remembered. Without a home it is found out each time.
fn note_file(url: &StoreUrl) -> Option<PathBuf> {
    let name = Digest::of(url.to_string().as_bytes()).short();
    Some(cache()?.join("conditional-writes").join(name))
}

/// Where the user's programs keep what can be found out again. Without a home there is no such place.
pub fn cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(cache.join("npc"))
}

/// The note only saves asking again, so that it cannot be written is worth no more than a debug message.
fn remember(path: &Path, word: &str) {
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| files::write_atomically(path, word.as_bytes(), 0o644));
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), %error, "cannot remember whether the store enforces conditional writes");
    }
}
