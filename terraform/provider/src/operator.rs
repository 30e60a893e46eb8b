//! An operator at a fleet, as configurations describe one: by `store` and `fleet` of a resource, else of the provider, else by `npc.toml`.
//!
//! In a first apply the bucket and the fleet do not exist yet. What depends on them is planned as "known after apply", and nothing is
//! asked of a store that nobody has made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use npc_core::key::{PublicKey, SecretKey};
use npc_core::name::FleetId;
use npc_core::store::{StoreUrl, StoreUrlError};
use npc_operator::config::{Config, resolve};
use npc_operator::failure::Failure;
use npc_operator::founding::{PUBLISHING, key_directory};
use npc_operator::selection::Strategy;
use npc_operator::session::Session;
use npc_operator::{interrupt, keys};
use terraform_plugin::{Attribute, Diagnostic, Diagnostics, Object, Outcome, Schema, SetBy, Type, Value};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::arguments::{Given, path};
use crate::told::{interrupted, told, told_of};

/// Where the text of a secret key may stand instead of in a file: for machines that keep secrets in their environment alone.
const SECRET_KEY: &str = "NPC_SECRET_KEY";

/// The file of a secret key, as `npc-publish` has it.
const KEY: &str = "NPC_KEY";

const NAME_A_KEY: &str = "name its file with `key_files` in the provider's block, `key_directory` of the fleet or NPC_KEY, or give it as \
                          NPC_SECRET_KEY";

/// The attribute of a fleet that says where its keys are.
const KEY_DIRECTORY: &str = "key_directory";

/// What the provider's block says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    store: Given<StoreUrl>,
    fleet: Given<Described>,
    flake: Given<PathBuf>,
    key_files: Vec<PathBuf>,
}

impl Defaults {
    /// The directory of `npc.toml`; none, as long as it is not known.
    fn directory(&self) -> Option<PathBuf> {
        match self.flake.clone() {
            Given::Nothing => Some(PathBuf::from(".")),
            given => given.now(),
        }
    }
}

/// A fleet, as HCL describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Described {
    id: FleetId,
    root_keys: Vec<PublicKey>,
    root_threshold: usize,
    store: Option<StoreUrl>,
    key_directory: Option<PathBuf>,
}

impl Given<Described> {
    /// The store that the fleet itself names.
    fn store(&self) -> Given<StoreUrl> {
        match self {
            Self::Nothing => Given::Nothing,
            Self::Later => Given::Later,
            Self::Now(fleet) => fleet.store.clone().map_or(Given::Nothing, Given::Now),
        }
    }
}

/// What all resources of a provider share.
pub(crate) struct Operator {
    runtime: Runtime,
    defaults: Mutex<Defaults>,
    /// By all that describes their fleets: one that is described otherwise is not believed because another was.
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    /// Whether the user has asked to end what is under way.
    is_stopped: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What describes a fleet to a resource.
fn fleet_type() -> Type {
    Type::object([
        ("id", Type::String),
        ("root_keys", Type::String.list()),
        ("root_threshold", Type::Number),
        ("store", Type::String),
        (KEY_DIRECTORY, Type::String),
    ])
}

/// What describes a fleet to a resource or to the provider.
fn fleet_attribute(description: &str) -> Attribute {
    Attribute::new(SetBy::UserOrNobody, fleet_type(), description).lacking([KEY_DIRECTORY])
}

/// Adds to a schema where its thing lives.
pub(crate) fn with_place(schema: Schema) -> Schema {
    let fleet = "The fleet: an `npc_fleet`, or an object with its `id`, `root_keys`, `root_threshold` and `store`. Unless said, the \
                 provider's, or the one that `npc.toml` describes.";
    let store = "The store's address. Unless said, the one of `fleet`, the provider's, or the one in `npc.toml`.";
    schema.with("fleet", fleet_attribute(fleet)).with("store", Attribute::new(SetBy::UserOrNobody, Type::String, store))
}

/// Checks what says where a thing lives, as far as it is known.
pub(crate) fn check_place(config: &Object) -> Outcome<()> {
    address(config)?;
    described(config.get("fleet")).map(drop)
}

/// The address of a store. What is wrong with one may be a secret in it, so that no more is told of it than it tells itself.
pub(crate) fn address(object: &Object) -> Outcome<Given<StoreUrl>> {
    let wrong =
        |error: StoreUrlError| Diagnostic::error("`store` is not in order").detail(error.to_string()).at(["store"]);
    match object.get("store") {
        Value::Unknown => Ok(Given::Later),
        Value::String(text) => Ok(Given::Now(text.parse().map_err(wrong)?)),
        _ => Ok(Given::Nothing),
    }
}

/// The file of the key to publish with in such a directory, which may begin with `~/`, or be relative to the current one.
pub(crate) fn publishing_key(directory: &Path) -> PathBuf {
    let directory = resolve(directory, Path::new(""));
    let directory = std::path::absolute(&directory).unwrap_or(directory);
    directory.join(format!("{PUBLISHING}.secret"))
}

fn described(fleet: &Value) -> Outcome<Given<Described>> {
    let wrong = |part: &str, error: &dyn std::fmt::Display| {
        Diagnostic::error("This describes no fleet").detail(format!("`{part}`: {error}")).at(["fleet", part])
    };
    let fleet = match fleet {
        Value::Object(fleet) if fleet.is_known() => fleet,
        Value::Null => return Ok(Given::Nothing),
        _ => return Ok(Given::Later),
    };
    let id = fleet.text("id").unwrap_or_default().parse().map_err(|error| wrong("id", &error))?;
    let keys = fleet.get("root_keys").as_list().unwrap_or_default().iter().filter_map(Value::as_str);
    let root_keys: Vec<_> =
        keys.map(str::parse).collect::<Result<_, _>>().map_err(|error| wrong("root_keys", &error))?;
    let root_threshold = fleet.get("root_threshold");
    let whole = || root_threshold.as_u64().and_then(|number| usize::try_from(number).ok());
    let root_threshold = if root_threshold.is_null() { Some(1) } else { whole() };
    let root_threshold = root_threshold.ok_or_else(|| wrong("root_threshold", &"it is a whole number"))?;
    if root_threshold == 0 || root_threshold > root_keys.len() {
        let error = format!("{root_threshold} of {} root keys", root_keys.len());
        return Err(wrong("root_threshold", &error).into());
    }
    let store = fleet.text("store").map(str::parse).transpose().map_err(|error| wrong("store", &error))?;
    let key_directory = fleet.text(KEY_DIRECTORY).map(PathBuf::from);
    Ok(Given::Now(Described { id, root_keys, root_threshold, store, key_directory }))
}

impl Operator {
    pub(crate) fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self {
            runtime,
            defaults: Mutex::default(),
            sessions: Mutex::default(),
            is_stopped: watch::Sender::new(false),
        })
    }

    /// The provider's own arguments.
    pub(crate) fn schema() -> Schema {
        let flake = "The directory of `npc.toml`, where that describes the fleet. Unless said, the current directory.";
        let key_files = "Files with secret keys to sign with. Unless said, the file that `NPC_KEY` names, the key in \
                         `NPC_SECRET_KEY`, the one that `npc.toml` names, or the one that `npc_fleet` has made.";
        with_place(Schema::new("Publishes flakes to the hosts of a fleet, and assigns hosts."))
            .with("flake", Attribute::new(SetBy::UserOrNobody, Type::String, flake))
            .with("key_files", Attribute::new(SetBy::UserOrNobody, Type::String.list(), key_files))
    }

    /// Takes what the provider's block says.
    pub(crate) fn configure(&self, config: &Object) -> Outcome<()> {
        let key_files = config.get("key_files").as_list().unwrap_or_default();
        *lock(&self.defaults) = Defaults {
            store: address(config)?,
            fleet: described(config.get("fleet"))?,
            flake: path(config, "flake"),
            key_files: key_files.iter().filter_map(Value::as_str).map(PathBuf::from).collect(),
        };
        Ok(())
    }

    /// Waits for what is done with a store, unless the user asks to end that.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Outcome<T> {
        self.wait_telling(work, told)
    }

    /// Likewise, where failures are told in another way.
    fn wait_telling<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
        tell: impl Fn(&Failure) -> Diagnostics,
    ) -> Outcome<T> {
        let mut stopped = self.is_stopped.subscribe();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|is_stopped| *is_stopped) => Err(interrupted()),
                done = work => done.map_err(|failure| tell(&failure)),
            }
        })
    }

    /// Ends what is under way, and begins nothing more.
    pub(crate) fn stop(&self) {
        self.is_stopped.send_replace(true);
        interrupt::end_what_is_waited_for();
    }

    /// The fleet and the store that a thing names; else those of the provider.
    fn place(&self, object: &Object) -> Outcome<(Given<Described>, Given<StoreUrl>)> {
        let defaults = lock(&self.defaults).clone();
        let own = described(object.get("fleet"))?;
        let store = address(object)?.or(|| own.store()).or(|| defaults.store).or(|| defaults.fleet.store());
        Ok((own.or(|| defaults.fleet), store))
    }

    /// The address of the store that a thing lives in; none, as long as it is not known.
    pub(crate) fn store(&self, object: &Object) -> Outcome<Option<StoreUrl>> {
        match self.place(object)? {
            (_, Given::Nothing) => Ok(self.config(object)?.map(|config| config.store)),
            (_, store) => Ok(store.now()),
        }
    }

    /// What is known of the fleet that a thing belongs to; none, as long as that is not known.
    pub(crate) fn config(&self, object: &Object) -> Outcome<Option<Config>> {
        let config = match self.place(object)? {
            (Given::Later, _) | (_, Given::Later) => return Ok(None),
            (Given::Now(fleet), Given::Now(store)) => described_config(fleet, store),
            (Given::Now(_), Given::Nothing) => {
                return Err(Diagnostic::error("Nobody says where the store is").at(["store"]).into());
            }
            (Given::Nothing, store) => {
                let Some(directory) = lock(&self.defaults).directory() else { return Ok(None) };
                let mut config = Config::read(&directory).map_err(|failure| told(&failure).or_at("fleet"))?;
                if let Given::Now(store) = store {
                    config.store = store;
                }
                config
            }
        };
        Ok(Some(config))
    }

    /// The attributes by which a thing is about to be in another fleet or another store than it is. What names the same place in
    /// other words, or for the first time, moves nothing.
    pub(crate) fn moving(&self, prior: &Object, planned: &Object) -> Outcome<Vec<&'static str>> {
        let mut changed = vec!["fleet", "store"];
        changed.retain(|name| prior.get(name) != planned.get(name));
        if changed.is_empty() {
            return Ok(changed);
        }
        let stays = match (self.config(prior)?, self.config(planned)?) {
            (Some(before), Some(after)) => before.fleet == after.fleet && before.store.is_same_place(&after.store),
            _ => false,
        };
        Ok(if stays { Vec::new() } else { changed })
    }

    /// The session at the fleet that a thing belongs to; none, as long as that is not known.
    pub(crate) fn session(&self, object: &Object) -> Outcome<Option<Arc<Session>>> {
        let Some(config) = self.config(object)? else { return Ok(None) };
        self.session_at(config, "fleet").map(Some)
    }

    /// The session at a fleet that this attribute describes so.
    pub(crate) fn session_at(&self, config: Config, attribute: &str) -> Outcome<Arc<Session>> {
        let key = config.to_text().map_err(|failure| told_of(&failure, attribute))?;
        if let Some(session) = lock(&self.sessions).get(&key) {
            return Ok(Arc::clone(session));
        }
        let directory = lock(&self.defaults).directory().unwrap_or_default();
        let opening = Session::at(config, directory);
        let session = Arc::new(self.wait_telling(opening, |failure| told_of(failure, attribute))?);
        lock(&self.sessions).insert(key, Arc::clone(&session));
        Ok(session)
    }

    /// Likewise, where something is about to be done.
    pub(crate) fn session_now(&self, object: &Object) -> Outcome<Arc<Session>> {
        let unknown = || Diagnostic::error("It is not known yet which fleet this belongs to").at(["fleet"]).into();
        self.session(object)?.ok_or_else(unknown)
    }

    /// The keys to sign with.
    pub(crate) fn keys(&self, session: &Session) -> Outcome<Vec<SecretKey>> {
        let files = lock(&self.defaults).key_files.clone();
        let read = |path: &Path| keys::read(path).map(|key| vec![key]);
        let found = if !files.is_empty() {
            keys::read_all(files)
        } else if let Some(path) = std::env::var_os(KEY) {
            read(Path::new(&path))
        } else if let Ok(text) = std::env::var(SECRET_KEY) {
            let text = zeroize::Zeroizing::new(text);
            text.trim().parse().map(|key| vec![key]).map_err(|_| {
                Failure::usage(format!("{SECRET_KEY} holds no secret key of npc's"))
                    .hint("it is the content of a file that `npc-publish key generate` makes")
            })
        } else {
            let named = session.config.key.as_ref().map(|path| resolve(path, &session.directory));
            let made = key_directory(&session.config.fleet).map(|directory| publishing_key(&directory)).ok();
            // Where it was made is said in the state, for whoever applies on that machine.
            let there = named.iter().chain(&made).find(|path| path.exists());
            match (there, named.as_ref().or(made.as_ref())) {
                (Some(path), _) => read(path),
                (None, Some(path)) => read(path).map_err(|failure| failure.hint(NAME_A_KEY)),
                (None, None) => Err(Failure::usage("there is no key to sign with").hint(NAME_A_KEY)),
            }
        };
        found.map_err(|failure| told(&failure).or_at("fleet"))
    }
}

/// What `npc.toml` would say.
fn described_config(fleet: Described, store: StoreUrl) -> Config {
    Config {
        fleet: fleet.id,
        store,
        root_keys: fleet.root_keys,
        root_threshold: fleet.root_threshold,
        key: fleet.key_directory.as_deref().map(publishing_key),
        selection: Strategy::default(),
        include: Vec::new(),
        exclude: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn what_is_waited_for_when_told_to_stop_was_interrupted_and_did_not_fail() {
        let operator = Arc::new(Operator::new().expect("a runtime"));
        let waits = thread::spawn({
            let operator = Arc::clone(&operator);
            move || operator.wait(pending::<Result<(), Failure>>())
        });
        // Nothing else was told: whoever waits may be the first to hear of it.
        operator.is_stopped.send_replace(true);
        let told = waits.join().expect("it does not panic");
        assert_eq!(told, Err(interrupted()));
        assert_eq!(operator.wait(async { Ok(()) }), Err(interrupted()), "nothing more is begun");
    }
}
