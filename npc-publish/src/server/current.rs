//! The tokens that hold at this moment.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use npc_core::explain;

use super::stamp::Stamp;
use super::tokens::{Sources, Tokens, TokensError};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The tokens that hold at this moment: those of the files, or of the last time that the files were in order.
pub(crate) struct Current {
    sources: Sources,
    tokens: RwLock<Arc<Tokens>>,
    /// Of the files as they were last read, in order or not, so that one mistake is told once.
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl Current {
    /// Reads the files, which must be in order to begin with.
    pub(crate) fn read(sources: Sources) -> Result<Self, TokensError> {
        // Looked at before reading: what is written meanwhile is read again.
        let seen = Mutex::new(sources.stamps());
        let tokens = RwLock::new(Arc::new(sources.read()?));
        Ok(Self { sources, tokens, seen })
    }

    /// The tokens. A panic elsewhere leaves them whole: they are only ever replaced.
    pub(super) fn get(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files anew whenever they have changed, for ever. They are looked at rather than watched: where secrets are
    /// kept, what changes is often a symbolic link further up.
    pub(super) async fn keep_up(self: Arc<Self>) {
        if self.sources.is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            let current = Arc::clone(&self);
            if let Err(failure) = tokio::task::spawn_blocking(move || current.look()).await {
                std::panic::resume_unwind(failure.into_panic());
            }
        }
    }

    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.sources.stamps();
        if *seen == found {
            return;
        }
        *seen = found;
        match self.sources.read() {
            Ok(tokens) => {
                tracing::info!(hosts = tokens.hosts(), "the tokens are read anew");
                *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
            }
            Err(error) => {
                let reason = explain::in_one_line(&error);
                tracing::error!(
                    hint = error.hint(),
                    "the tokens are NOT read anew, and the old ones still hold: {reason}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use axum::http::{HeaderMap, HeaderValue, header};
    use npc_core::files;

    use super::*;

    fn is_known(current: &Current, token: &str) -> bool {
        let value = HeaderValue::try_from(format!("Bearer {token}")).expect("a header");
        current.get().bearer(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])).is_some()
    }

    #[test]
    fn a_changed_file_counts_unless_it_is_broken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts");
        files::create_private(&path, b"web-1 the-first-token-1\n").expect("made");
        let current = Current::read(Sources { operators: None, hosts: Some(path.clone()) }).expect("in order");
        let (first, second) = ("the-first-token-1", "the-second-token-2");
        current.look();
        assert!(is_known(&current, first) && !is_known(&current, second));
        files::write_atomically(&path, b"web-1 the-second-token-2\n", 0o600).expect("written");
        current.look();
        assert!(!is_known(&current, first) && is_known(&current, second));
        files::write_atomically(&path, b"web-1 the-second-token-2\nweb-1 the-first-token-1\n", 0o600).expect("written");
        current.look();
        assert!(!is_known(&current, first) && is_known(&current, second), "what held still holds");
        fs::remove_file(&path).expect("removed");
        current.look();
        assert!(is_known(&current, second), "also without the file");
        files::write_atomically(&path, b"# nobody\n", 0o600).expect("written");
        current.look();
        assert!(!is_known(&current, second));
    }
}
