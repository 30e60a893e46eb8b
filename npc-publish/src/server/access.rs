//! Who may do what.

use npc_core::layout::{self, ObjectKey};
use npc_core::limits;
use npc_core::name::{AssignmentName, HostName};

/// Who sent a request, by the token that it bears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// Whoever can reach a server where reading takes no token.
    Anyone,
    /// A host.
    Host(Host),
    /// An operator.
    Operator,
}

/// A host, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its name.
    pub(crate) name: HostName,
    /// The assignment that it obeys.
    pub(crate) assignment: AssignmentName,
}

/// What a request is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act<'a> {
    /// Reading an object, or asking for its version.
    Read(&'a ObjectKey),
    /// Writing an object.
    Write(&'a ObjectKey),
    /// Removing an object.
    Remove(&'a ObjectKey),
    /// Listing objects, whichever.
    List,
}

/// The folders that every host reads.
const SHARED: [&str; 5] = ["trust", "remotes", "releases", "archives", "binaries"];

/// The whole of the rule. It does not ask what is in the store, so that a refusal tells nothing about it.
pub(crate) fn allows(bearer: &Bearer, act: Act<'_>) -> bool {
    match (bearer, act) {
        (Bearer::Operator, _) | (Bearer::Anyone, Act::Read(_)) => true,
        (Bearer::Host(host), Act::Read(key)) => {
            SHARED.contains(&key.folder()) || *key == layout::assignment(&host.assignment)
        }
        (Bearer::Host(host), Act::Write(key)) => *key == layout::report(&host.name),
        (Bearer::Host(_), Act::Remove(_) | Act::List)
        | (Bearer::Anyone, Act::Write(_) | Act::Remove(_) | Act::List) => false,
    }
}

/// The most bytes that the bearer may write at once: all that hosts write is a document.
pub(crate) fn most_bytes(bearer: &Bearer) -> u64 {
    match bearer {
        Bearer::Anyone => 0,
        Bearer::Host(_) => limits::DOCUMENT_BYTES,
        Bearer::Operator => limits::ARCHIVE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, assignment: &str) -> Bearer {
        let parsed = "the grammar's own words";
        Bearer::Host(Host { name: name.parse().expect(parsed), assignment: assignment.parse().expect(parsed) })
    }

    /// An object of every kind, those of a host's own and of others, and what `web-1` and `w-7`, which shares the assignment
    /// `workers`, may do with it: `r`ead and `w`rite.
    const TABLE: [(&str, &str, &str); 16] = [
        ("trust/1.json", "r", "r"),
        ("remotes/prod.json", "r", "r"),
        ("releases/prod/1.json", "r", "r"),
        ("archives/0.tar.gz", "r", "r"),
        ("binaries/0", "r", "r"),
        ("assignments/web-1.json", "r", ""),
        ("assignments/w-7.json", "", ""),
        ("assignments/workers.json", "", "r"),
        ("assignments/web-1", "", ""),
        ("assignments/web-1.json/below", "", ""),
        ("reports/web-1.json", "w", ""),
        ("reports/w-7.json", "", "w"),
        ("reports/workers.json", "", ""),
        ("reports/web-1.json/below", "", ""),
        ("rollouts/one.json", "", ""),
        ("probe/0", "", ""),
    ];

    #[test]
    fn everybody_may_do_exactly_what_the_table_says() {
        let bearers = [
            (Bearer::Anyone, None),
            (host("web-1", "web-1"), Some(1)),
            (host("w-7", "workers"), Some(2)),
            (Bearer::Operator, None),
        ];
        for (key, web, worker) in TABLE {
            let parsed: ObjectKey = key.parse().expect("a key");
            let acts = [('r', Act::Read(&parsed)), ('w', Act::Write(&parsed)), ('d', Act::Remove(&parsed))];
            for (bearer, column) in &bearers {
                let allowed = match (bearer, column) {
                    (_, Some(1)) => web,
                    (_, Some(_)) => worker,
                    (Bearer::Operator, None) => "rwd",
                    (_, None) => "r",
                };
                for (letter, act) in acts {
                    assert_eq!(allows(bearer, act), allowed.contains(letter), "{bearer:?} {act:?}");
                }
            }
        }
        for (bearer, _) in &bearers {
            assert_eq!(allows(bearer, Act::List), *bearer == Bearer::Operator, "{bearer:?}");
        }
    }

    #[test]
    fn the_table_has_every_kind_of_object() {
        for folder in layout::FOLDERS {
            assert!(TABLE.iter().any(|(key, ..)| key.split('/').next() == Some(folder)), "{folder}");
        }
    }

    #[test]
    fn what_hosts_write_is_no_larger_than_a_document() {
        assert_eq!(most_bytes(&host("web-1", "web-1")), limits::DOCUMENT_BYTES);
        assert_eq!(most_bytes(&Bearer::Operator), limits::ARCHIVE_BYTES);
        assert_eq!(most_bytes(&Bearer::Anyone), 0);
    }
}
