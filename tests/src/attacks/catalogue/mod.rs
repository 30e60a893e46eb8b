//! Every attack there is, made anew with each call: the same bytes each time.

mod archives;
mod releases;
mod signatures;
mod standing;
mod transport;
mod trusts;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};

use super::archives::good;
use super::corpus::{Corpus, Folder};
use super::documents::Statement;
use super::expectation::{Afterwards, Attack, Before, Expected, Judge, Step};
use super::fleet::{FIRST, HOST, LATER};
use super::layer::Layer;
use super::trial::Honest;

/// The object that hosts poll.
const POINTER: &str = "remotes/prod.json";

/// The serial of most forged releases: above what a running host has seen.
const FORGED: u64 = FIRST + 1;

/// Where an archive lies.
fn archive_key(bytes: &[u8]) -> String {
    format!("archives/{}.tar.gz", npc_core::digest::Digest::of(bytes))
}

/// The honest store.
pub fn honest() -> Honest {
    let release = |serial, words: &str| {
        let archive = good(words);
        Layer::default()
            .with(POINTER, Statement::release(serial, &archive).honest())
            .with(archive_key(&archive), archive)
            .with(format!("assignments/{HOST}.json"), Statement::assignment(HOST, serial).honest())
            .with(format!("reports/{HOST}.json"), Statement::report(HOST, serial).honest())
    };
    let first = release(FIRST, "first").with("trust/1.json", Statement::first_trust().honest());
    Honest { first, later: release(LATER, "later") }
}

/// Every attack.
pub fn all() -> Corpus {
    let attacks = [
        signatures::attacks(),
        unreadable::attacks(),
        releases::attacks(),
        trusts::attacks(),
        archives::attacks(),
        transport::attacks(),
        standing::attacks(),
    ];
    let mut corpus = Corpus::new();
    for Forged { name, folder } in attacks.into_iter().flatten() {
        assert!(corpus.insert(name.to_owned(), folder).is_none(), "`{name}` is there twice");
    }
    corpus
}

/// An attack in the making.
struct Forged {
    name: &'static str,
    folder: Folder,
}

impl Forged {
    /// An attack in one step, on hosts of both kinds.
    fn new(name: &'static str, claim: &str, layer: Layer, expect: Expected) -> Self {
        let attack = Attack {
            claim: claim.to_owned(),
            judge: Judge::Agent,
            hosts: BTreeSet::from([Before::Fresh, Before::Running]),
            minimum_serial: None,
            steps: Vec::new(),
            afterwards: Afterwards { layer: None, follows: LATER },
        };
        Self { name, folder: Folder { attack, layers: BTreeMap::new() } }.then("store", layer, expect)
    }

    /// A store that is refused for this.
    fn refused(name: &'static str, refusal: &str, claim: &str, layer: Layer) -> Self {
        Self::new(name, claim, layer, Expected::Refusal(refusal.to_owned()))
    }

    /// A pointer that is refused for this.
    fn pointer(name: &'static str, refusal: &str, claim: &str, bytes: Vec<u8>) -> Self {
        Self::refused(name, refusal, claim, Layer::default().with(POINTER, bytes))
    }

    /// A trick that is of no use: the release is followed by what was signed.
    fn harmless(name: &'static str, claim: &str, layer: Layer) -> Self {
        Self::new(name, claim, layer, Expected::Follows(FORGED))
    }

    /// On such hosts alone.
    fn only(mut self, host: Before) -> Self {
        self.folder.attack.hosts = BTreeSet::from([host]);
        self
    }

    /// Judged by another reader than the agent.
    fn judged_by(mut self, judge: Judge) -> Self {
        self.folder.attack.judge = judge;
        self
    }

    /// And then the store holds this.
    fn then(mut self, name: &str, layer: Layer, expect: Expected) -> Self {
        self.folder.attack.steps.push(Step { layer: name.to_owned(), expect });
        self.folder.layers.insert(name.to_owned(), layer);
        self
    }

    /// And then the store holds this, and that is refused.
    fn then_refused(self, name: &str, layer: Layer, refusal: &str) -> Self {
        self.then(name, layer, Expected::Refusal(refusal.to_owned()))
    }

    /// And in the end this is followed.
    fn at_last(mut self, layer: Layer, follows: u64) -> Self {
        let name = "afterwards";
        self.folder.attack.afterwards = Afterwards { layer: Some(name.to_owned()), follows };
        self.folder.layers.insert(name.to_owned(), layer);
        self
    }
}
