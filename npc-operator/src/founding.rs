//! Making a fleet: its id, its keys, its first trust.
//!
//! Keys come before the trust that names them, and are removed again once it is certain that it was not written: what fails leaves
//! neither a key without its fleet, nor a fleet without its keys.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use npc_core::document::Serial;
use npc_core::key::{PublicKey, SecretKey};
use npc_core::layout;
use npc_core::name::FleetId;
use npc_core::publish::trust::first;
use npc_core::store::{ConditionalWrites, Precondition, Store, StoreError, StoreUrl, read_if_present, write_document};

use crate::config::{self, Config};
use crate::failure::Failure;
use crate::selection::Strategy;
use crate::session::{open_store, probe_conditional_writes};
use crate::{keys, voice};

/// The root key's name.
pub const ROOT: &str = "npc-root-1";

/// The publishing key's name.
pub const PUBLISHING: &str = "npc-publish-1";

/// A place in which a fleet can be made.
pub struct Foundation {
    /// What it will be called.
    pub fleet: FleetId,
    store: Arc<dyn Store>,
    writes: ConditionalWrites,
}

/// A fleet that was made.
#[derive(Debug)]
pub struct Founded {
    /// Its id.
    pub fleet: FleetId,
    /// The key that vouches for its trust.
    pub root_key: PublicKey,
    /// The key that publishes.
    pub publishing_key: PublicKey,
    /// The secret of that.
    pub publishing_key_file: PathBuf,
}

impl Founded {
    /// What describes it beside the flakes that are published to it, in the store at this address.
    pub fn config(&self, store: StoreUrl) -> Config {
        Config {
            fleet: self.fleet.clone(),
            store,
            root_keys: vec![self.root_key.clone()],
            root_threshold: 1,
            key: Some(config::portable(&self.publishing_key_file)),
            selection: Strategy::default(),
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

impl Foundation {
    /// Looks at a store in which no fleet may live yet. Nothing of the fleet is written.
    pub async fn at(store: &StoreUrl) -> Result<Self, Failure> {
        let fleet = random_fleet()?;
        let store = open_empty_store(store).await?;
        let writes = probe_conditional_writes(&*store).await?;
        Ok(Self { fleet, store, writes })
    }

    /// Makes the fleet, with its keys in a directory.
    pub async fn lay(self, directory: &Path, now: Timestamp) -> Result<Founded, Failure> {
        let keys = NewKeys::create(directory)?;
        let trust = first(self.fleet.clone(), &keys.root, &keys.publishing, now);
        let key = layout::trust(Serial::FIRST);
        // From here on the fleet may be there, also if nobody waits any more to hear so.
        let publishing_key_file = keys.keep();
        if let Err(error) = write_document(&*self.store, &key, &trust.bytes, Precondition::Absent, self.writes).await {
            self.despite(error, &trust.bytes, &keys, directory).await?;
        }
        Ok(Founded {
            fleet: self.fleet,
            root_key: keys.root.public(),
            publishing_key: keys.publishing.public(),
            publishing_key_file,
        })
    }

    /// Whether the trust is there although writing it has failed: the answer may be what was lost. As long as nobody can tell, its
    /// keys are kept.
    async fn despite(&self, error: StoreError, trust: &[u8], keys: &NewKeys, directory: &Path) -> Result<(), Failure> {
        match read_if_present(&*self.store, &layout::trust(Serial::FIRST)).await {
            Ok(Some((found, _))) if found == trust => Ok(()),
            Ok(_) => {
                keys.remove();
                Err(error.into())
            }
            Err(_) => {
                let hint = format!(
                    "the fleet {} may have been made all the same: its keys are kept in `{}`; remove them if the store holds no \
                     {}, and remove that as well to begin anew",
                    self.fleet,
                    directory.display(),
                    layout::trust(Serial::FIRST)
                );
                Err(Failure::from(error).hint(hint))
            }
        }
    }
}

/// Whether a fleet lives in a store.
pub async fn is_founded(url: &StoreUrl) -> Result<bool, Failure> {
    lives_in(&*open_store(url).await?).await
}

async fn lives_in(store: &dyn Store) -> Result<bool, Failure> {
    Ok(read_if_present(store, &layout::trust(Serial::FIRST)).await?.is_some())
}

fn random_fleet() -> Result<FleetId, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::other(format!("the system gives no randomness: {error}")))?;
    Ok(FleetId::from_random(bytes))
}

async fn open_empty_store(url: &StoreUrl) -> Result<Arc<dyn Store>, Failure> {
    if let StoreUrl::Directory(root) = url {
        fs::create_dir_all(root)
            .map_err(|error| Failure::usage(format!("cannot make the store `{}`: {error}", root.display())))?;
    }
    let store = open_store(url).await?;
    if lives_in(&*store).await? {
        return Err(Failure::usage(format!("a fleet lives at {url} already"))
            .hint("copy its npc.toml, or take another prefix or directory for the new fleet"));
    }
    Ok(store)
}

/// Where the keys of a fleet lie unless told otherwise.
pub fn key_directory(fleet: &FleetId) -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home =
        home.ok_or_else(|| Failure::usage("there is no HOME to keep keys in").hint("name a place with --keys"))?;
    Ok(home.join(".config/npc").join(&fleet.as_str()[..8]))
}

/// Keys whose files are removed again unless the fleet comes about.
struct NewKeys {
    root: SecretKey,
    publishing: SecretKey,
    files: RefCell<Vec<PathBuf>>,
    is_kept: Cell<bool>,
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
            files: RefCell::default(),
            is_kept: Cell::new(false),
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
        self.is_kept.set(true);
        self.publishing_file.clone()
    }

    fn remove(&self) {
        for file in self.files.take() {
            if let Err(error) = fs::remove_file(&file) {
                voice::warn(format_args!("the key of no fleet is left in `{}`: {error}", file.display()));
            }
        }
    }
}

impl Drop for NewKeys {
    fn drop(&mut self) {
        if !self.is_kept.get() {
            self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use npc_core::layout::ObjectKey;
    use npc_core::store::{Answer, Content, ETag, Fault, Listed, Opened, Operation, Read};
    use tokio::sync::Notify;

    use super::*;

    /// A store whose connection ends in the middle of writing the trust.
    #[derive(Debug)]
    struct Breaking {
        store: Arc<dyn Store>,
        /// Whether what was sent arrives.
        arrives: bool,
        /// Whether it answers again afterwards.
        recovers: bool,
        /// Told when the trust was sent, where no answer ever comes.
        hangs: Option<Arc<Notify>>,
    }

    impl Breaking {
        fn error(&self, key: &ObjectKey, operation: Operation) -> StoreError {
            let (object, store) = (key.to_string(), self.store.url().to_string());
            StoreError { fault: Fault::Unavailable, operation, object, store, source: "the connection is gone".into() }
        }
    }

    #[async_trait]
    impl Store for Breaking {
        fn url(&self) -> &StoreUrl {
            self.store.url()
        }

        async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
            if !self.recovers {
                return Err(self.error(key, Operation::Read));
            }
            self.store.read(key, read).await
        }

        async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
            self.store.open(key, start, version).await
        }

        async fn write(
            &self,
            key: &ObjectKey,
            content: Content<'_>,
            precondition: Precondition,
        ) -> Result<Option<ETag>, StoreError> {
            if self.arrives {
                self.store.write(key, content, precondition).await?;
            }
            if let Some(sent) = &self.hangs {
                sent.notify_one();
                std::future::pending::<()>().await;
            }
            Err(self.error(key, Operation::Write))
        }

        async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
            self.store.remove(key).await
        }

        async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
            self.store.list(prefix).await
        }
    }

    /// What came of making a fleet in such a store: the outcome, and whether there are its trust and its keys.
    fn made(arrives: bool, recovers: bool) -> (Result<Founded, Failure>, bool, bool) {
        made_or_given_up(arrives, recovers, None)
    }

    /// Likewise, unless somebody gives up waiting once the trust was sent.
    fn made_or_given_up(
        arrives: bool,
        recovers: bool,
        hangs: Option<Arc<Notify>>,
    ) -> (Result<Founded, Failure>, bool, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let url = StoreUrl::Directory(folder.path().join("store"));
        fs::create_dir(folder.path().join("store")).expect("created");
        let keys = folder.path().join("keys");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(async {
            let store = open_store(&url).await.expect("a store");
            let sent = hangs.clone().unwrap_or_default();
            let store = Arc::new(Breaking { store, arrives, recovers, hangs });
            let fleet = random_fleet().expect("an id");
            let foundation = Foundation { fleet, store, writes: ConditionalWrites::Enforced };
            tokio::select! {
                laid = foundation.lay(&keys, Timestamp::now()) => laid,
                () = sent.notified() => Err(Failure::other("given up")),
            }
        });
        let trust = folder.path().join("store/trust/1.json").exists();
        (outcome, trust, keys.join(format!("{ROOT}.secret")).exists())
    }

    #[test]
    fn a_fleet_whose_trust_arrives_has_its_keys_though_the_answer_is_lost() {
        let (outcome, trust, keys) = made(true, true);
        assert!(outcome.is_ok() && trust && keys, "{outcome:?}");
    }

    #[test]
    fn whoever_gives_up_waiting_takes_no_keys_along() {
        let (outcome, trust, keys) = made_or_given_up(true, true, Some(Arc::default()));
        assert!(outcome.is_err() && trust && keys, "{outcome:?}");
    }

    #[test]
    fn keys_of_no_fleet_are_removed() {
        let (outcome, trust, keys) = made(false, true);
        assert!(outcome.is_err() && !trust && !keys, "{outcome:?}");
    }

    #[test]
    fn keys_are_kept_and_named_as_long_as_nobody_can_tell_whether_there_is_a_fleet() {
        for arrives in [true, false] {
            let (outcome, trust, keys) = made(arrives, false);
            let failure = outcome.expect_err("the store is gone");
            assert!(keys && trust == arrives, "{failure:?}");
            assert!(failure.advice().is_some_and(|advice| advice.contains("its keys are kept in `")), "{failure:?}");
        }
    }
}
