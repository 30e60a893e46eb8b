//! The configuration that comes before all others: a small one, out of which a host builds what it is told to run.
//!
//! A machine with little memory or a slow link needs swap, a cache's key or a way in before its own system can be built. It gets
//! them through the same verification, probation and rollback as any other.

use npc_core::name::ConfigurationName;

use crate::machine::Journal;
use crate::state::{Place, StateDirectory};

/// The initial configuration, and whether its time is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Initial {
    /// There is none.
    #[default]
    None,
    /// It is what the host follows, whatever that is told.
    Due(ConfigurationName),
    /// The host follows what it is told.
    Over(ConfigurationName),
}

impl Initial {
    /// The one with this `name`, on a host with this journal.
    ///
    /// That nothing is committed is not enough: a journal may be lost, and what strands a host takes with it what was committed.
    /// So a host that has followed another configuration never comes back to this one.
    pub fn of_host(state: &StateDirectory, name: Option<&ConfigurationName>, journal: &Journal) -> Self {
        let Some(name) = name.cloned() else { return Self::None };
        let was_elsewhere = || Place::kept(state).is_some_and(|place| place.configuration != name);
        if journal.committed.is_some() || was_elsewhere() { Self::Over(name) } else { Self::Due(name) }
    }

    /// Whether this is its name.
    pub(super) fn is(&self, configuration: &ConfigurationName) -> bool {
        match self {
            Self::None => false,
            Self::Due(name) | Self::Over(name) => name == configuration,
        }
    }

    /// It has done its part. Returns whether that is news.
    pub(super) fn ends(&mut self) -> bool {
        let Self::Due(name) = self else { return false };
        *self = Self::Over(name.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::committed;

    fn name(text: &str) -> ConfigurationName {
        text.parse().expect("a name")
    }

    fn with_committed(configuration: &str) -> Journal {
        let mut journal = committed("a");
        journal.committed.as_mut().expect("a release").target.configuration = name(configuration);
        journal
    }

    #[test]
    fn it_is_due_until_something_is_committed() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        let of = |journal: &Journal| Initial::of_host(&state, Some(&name("small")), journal);
        assert_eq!(of(&Journal::default()), Initial::Due(name("small")));
        assert_eq!(of(&with_committed("small")), Initial::Over(name("small")));
        assert_eq!(Initial::of_host(&state, None, &Journal::default()), Initial::None);
    }

    #[test]
    fn a_host_that_lost_its_journal_does_not_come_back_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        let follows = |configuration: &str| {
            let place =
                Place { remote: "prod".parse().expect("a name"), configuration: name(configuration), pin: None };
            place.keep(&state).expect("kept");
            Initial::of_host(&state, Some(&name("small")), &Journal::default())
        };
        assert_eq!(follows("small"), Initial::Due(name("small")), "it was in the middle of it");
        assert_eq!(follows("web-1"), Initial::Over(name("small")));
    }
}
