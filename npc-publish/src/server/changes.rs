//! Noticing that something in the store changed.
//!
//! Whoever waits for an object is woken by what happens to that object's file, or to a directory above it: of a thousand hosts, one
//! whose assignment is written wakes alone.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

/// Tells whoever waits for a file that something has happened to it; what did is for them to find out.
pub(crate) struct Changes {
    waiters: Arc<Waiters>,
    _watcher: RecommendedWatcher,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Changed(u64),
    Stopped,
}

/// Those who wait, by the file that they wait for.
#[derive(Default)]
struct Waiters(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// And how many there are of each.
    by_file: BTreeMap<PathBuf, (watch::Sender<State>, usize)>,
    is_stopped: bool,
}

impl Waiters {
    /// A panic elsewhere leaves the map whole: every change to it is one call.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for this file, or for anything below this directory.
    fn wake(&self, path: &Path) {
        let waiting = self.lock();
        let from_there = waiting.by_file.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        for (_, (sender, _)) in from_there.take_while(|(file, _)| file.starts_with(path)) {
            sender.send_modify(State::count);
        }
    }

    fn wake_all(&self) {
        self.lock().by_file.values().for_each(|(sender, _)| sender.send_modify(State::count));
    }
}

impl State {
    fn count(&mut self) {
        if let Self::Changed(count) = self {
            *count += 1;
        }
    }
}

/// Whether an event is about more than reading, or about files that are not finished yet.
fn is_about_objects(event: &notify::Event) -> bool {
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
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
        let waiters = Arc::new(Waiters::default());
        let woken = Arc::clone(&waiters);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() || event.paths.is_empty() => woken.wake_all(),
            Ok(event) if is_about_objects(&event) => event.paths.iter().for_each(|path| woken.wake(path)),
            Ok(_) => {}
            // Events were lost: whoever waits looks anew.
            Err(_) => woken.wake_all(),
        })?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(Self { waiters, _watcher: watcher })
    }

    /// A listener that hears of everything that happens to a file from now on.
    pub(crate) fn listen(&self, file: PathBuf) -> Listener {
        let mut waiting = self.waiters.lock();
        let state = if waiting.is_stopped { State::Stopped } else { State::Changed(0) };
        let (sender, listeners) = waiting.by_file.entry(file.clone()).or_insert_with(|| (watch::Sender::new(state), 0));
        *listeners += 1;
        let receiver = sender.subscribe();
        drop(waiting);
        Listener { file, receiver, waiters: Arc::clone(&self.waiters) }
    }

    /// Wakes everybody for the last time.
    pub(crate) fn stop(&self) {
        let mut waiting = self.waiters.lock();
        waiting.is_stopped = true;
        waiting.by_file.values().for_each(|(sender, _)| sender.send_modify(|state| *state = State::Stopped));
    }
}

/// Someone who waits.
pub(crate) struct Listener {
    file: PathBuf,
    receiver: watch::Receiver<State>,
    waiters: Arc<Waiters>,
}

impl Listener {
    /// Resolves at the next change after the last one heard of.
    pub(crate) async fn next(&mut self) -> Woken {
        if *self.receiver.borrow() == State::Stopped || self.receiver.changed().await.is_err() {
            return Woken::Stopped;
        }
        match *self.receiver.borrow() {
            State::Changed(_) => Woken::Changed,
            State::Stopped => Woken::Stopped,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waiting = self.waiters.lock();
        if let Some((_, listeners)) = waiting.by_file.get_mut(&self.file) {
            *listeners -= 1;
            if *listeners == 0 {
                waiting.by_file.remove(&self.file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// Longer than the kernel takes to tell.
    const LONG: Duration = Duration::from_secs(20);

    async fn hears(listener: &mut Listener) -> Woken {
        tokio::time::timeout(LONG, listener.next()).await.expect("woken")
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_what_happens_to_that_file_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir(root.join("remotes")).expect("made");
        let changes = Changes::watch(root).expect("watched");
        let file = |name: &str| root.join("remotes").join(name);
        let (mut prod, mut canary) = (changes.listen(file("prod.json")), changes.listen(file("canary.json")));
        fs::write(root.join("remotes/.new"), "new").expect("written");
        fs::rename(root.join("remotes/.new"), file("prod.json")).expect("renamed");
        assert_eq!(hears(&mut prod).await, Woken::Changed);
        fs::write(file("canary.json"), "new").expect("written");
        assert_eq!(hears(&mut canary).await, Woken::Changed);
        // One renaming is told of several times, but before anything that came after it.
        prod.receiver.mark_unchanged();
        fs::write(file("canary.json"), "newer").expect("written");
        assert_eq!(hears(&mut canary).await, Woken::Changed);
        assert!(!prod.receiver.has_changed().expect("there"), "prod was not touched again");
        fs::rename(root.join("remotes"), root.join("old")).expect("renamed");
        assert_eq!(hears(&mut prod).await, Woken::Changed, "what is above it has gone");
        changes.stop();
        // What the kernel had to tell of the rest may come first.
        while hears(&mut canary).await != Woken::Stopped {}
        assert_eq!(hears(&mut changes.listen(file("prod.json"))).await, Woken::Stopped);
    }

    #[tokio::test]
    async fn nobody_is_remembered_who_has_stopped_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let changes = Changes::watch(folder.path()).expect("watched");
        let file = folder.path().join("a");
        let (one, two) = (changes.listen(file.clone()), changes.listen(file));
        drop(one);
        assert_eq!(changes.waiters.lock().by_file.len(), 1);
        drop(two);
        assert_eq!(changes.waiters.lock().by_file.len(), 0);
    }
}
