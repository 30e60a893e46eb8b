//! Hosts that are not there, and what they say of themselves: reports such as an agent would have written.

use std::fs::{self, File};

use npc_core::Timestamp;
use npc_core::document::{Assignment, Body, Document, Following, Header, Obeyed, Report, Serial, Standing};
use npc_core::key::SecretKey;
use zeroize::Zeroizing;

use crate::world::World;

/// The number, which is not 0.
pub fn serial(number: u64) -> Serial {
    Serial::new(number).expect("a serial")
}

/// A host that is not there.
#[derive(Debug)]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// When it last said something.
    pub created: Timestamp,
    /// The newest version of the trust that it knows.
    pub trust: Serial,
    /// What it says.
    pub report: Report,
    /// The key that it signs that with.
    pub key: SecretKey,
}

impl Absent {
    /// A host with nothing under way, which has just said that it follows this remote by its own settings.
    pub fn following(name: &str, remote: &str) -> Self {
        let mut seed = [0; 32];
        seed[..name.len()].copy_from_slice(name.as_bytes());
        let key = SecretKey::from_seed(format!("npc-{name}").parse().expect("a key name"), &Zeroizing::new(seed));
        let obeys = Obeyed {
            assignment: None,
            remote: remote.parse().expect("a remote"),
            configuration: name.parse().expect("a configuration"),
            release: None,
        };
        let report = Report {
            report_key: Some(key.public()),
            phase: "steady".to_owned(),
            obeys: Some(obeys),
            ..Report::default()
        };
        Self { name: name.to_owned(), created: Timestamp::now(), trust: Serial::FIRST, report, key }
    }

    /// Puts the report where the host would have, when it would have.
    pub fn reports(&self, world: &World) {
        let document = document(world, &self.name, self.report.clone());
        let header = Header { created: self.created, trust: self.trust, ..document.header };
        let bytes = Document { header, body: document.body }.sign(&[&self.key]).bytes;
        let object = format!("reports/{}.json", self.name);
        put(world, &object, &bytes);
        let file = File::options().write(true).open(world.path("store").join(object)).expect("opened");
        file.set_modified(self.created.into()).expect("set");
    }
}

/// The first document of this name, made now.
pub fn document<B: Body>(world: &World, name: &str, body: B) -> Document<B> {
    let header = Header {
        fleet: world.fleet_id(),
        name: name.to_owned(),
        serial: Serial::FIRST,
        created: Timestamp::now(),
        trust: Serial::FIRST,
        requires: Vec::new(),
        expires: None,
    };
    Document { header, body }
}

/// Assigns to a remote whatever machines ask for this assignment, none of which is known by its key.
pub fn assigns(world: &World, name: &str, remote: &str) {
    let following = Following::new(remote.parse().expect("a remote"), name.parse().expect("a configuration"));
    let assignment: Assignment = Standing::Present(Box::new(following));
    let bytes = document(world, name, assignment).sign(&[&world.key("npc-publish-1")]).bytes;
    put(world, &format!("assignments/{name}.json"), &bytes);
}

/// Puts something into the store behind everybody's back; only where it is a directory.
pub fn put(world: &World, object: &str, bytes: &[u8]) {
    let path = world.path("store").join(object);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}
