//! Noticing that something in the store changed.

use std::path::Path;
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

/// Tells whoever waits that something changed; what did is for them to find out.
pub(crate) struct Changes {
    sender: Arc<watch::Sender<State>>,
    _watcher: RecommendedWatcher,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Changed(u64),
    Stopped,
}

/// Whether an event is about more than reading, or about files that are not finished yet.
fn is_about_objects(event: &notify::Event) -> bool {
    let hidden =
        |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !matches!(event.kind, EventKind::Access(_)) && !event.paths.iter().all(hidden)
}

/// Whether there is more to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Something changed.
    Changed,
    /// The server stops.
    Stopped,
}

impl Changes {
    /// Watches everything below `root`, through the kernel.
    pub(crate) fn watch(root: &Path) -> notify::Result<Self> {
        let sender = Arc::new(watch::Sender::new(State::Changed(0)));
        let notified = Arc::clone(&sender);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error, as an overflowing queue, means that events were lost: whoever waits looks anew.
            if event.as_ref().map_or(true, is_about_objects) {
                notified.send_if_modified(|state| match state {
                    State::Changed(count) => {
                        *count += 1;
                        true
                    }
                    State::Stopped => false,
                });
            }
        })?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(Self { sender, _watcher: watcher })
    }

    /// A listener that hears of every change from now on.
    pub(crate) fn listen(&self) -> Listener {
        Listener(self.sender.subscribe())
    }

    /// Wakes everybody for the last time.
    pub(crate) fn stop(&self) {
        self.sender.send_replace(State::Stopped);
    }
}

/// Someone who waits.
pub(crate) struct Listener(watch::Receiver<State>);

impl Listener {
    /// Resolves at the next change after the last one heard of.
    pub(crate) async fn next(&mut self) -> Woken {
        if *self.0.borrow() == State::Stopped || self.0.changed().await.is_err() {
            return Woken::Stopped;
        }
        match *self.0.borrow() {
            State::Changed(_) => Woken::Changed,
            State::Stopped => Woken::Stopped,
        }
    }
}
