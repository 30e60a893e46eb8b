//! Fills a fleet with hosts that are not there: their assignments, and reports that say that all is well.
//!
//! `crowd STORE FLEET KEY_FILE REMOTE HOSTS`, for `cargo xtask bench status`; the key file has a key that may assign hosts.

use std::error::Error;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{
    Assignment, Believed, Body, Document, Following, Header, Obeyed, Outcome, OutcomeKind, RemoteState, Report,
    Running, Serial, Standing,
};
use npc_core::envelope::Envelope;
use npc_core::key::SecretKey;
use npc_core::layout::{self, ObjectKey};
use npc_core::name::{FleetId, RemoteName};
use npc_core::store::{Content, Options, Precondition, Store, open, read_document};

/// How many objects are written at once.
const AT_ONCE: usize = 32;

struct Crowd {
    fleet: FleetId,
    remote: RemoteName,
    archive: Digest,
    release: Believed,
    now: Timestamp,
}

impl Crowd {
    fn document<B: Body>(&self, name: &str, body: B, key: &SecretKey) -> Vec<u8> {
        let header = Header {
            fleet: self.fleet.clone(),
            name: name.to_owned(),
            serial: Serial::FIRST,
            created: self.now,
            trust: Serial::FIRST,
            requires: Vec::new(),
            expires: None,
        };
        Document { header, body }.sign(&[key]).bytes
    }

    fn following(&self, report_key: &SecretKey) -> Following {
        let following = Following::new(self.remote.clone(), "web-1".parse().expect("a name"));
        Following { report_key: Some(report_key.public()), ..following }
    }

    /// As long as those of real hosts, which have some history.
    fn report(&self, key: &SecretKey) -> Report {
        let Following { remote, configuration, .. } = self.following(key);
        let outcome = Outcome {
            at: self.now,
            remote: Some(remote.clone()),
            serial: Some(self.release.serial),
            kind: OutcomeKind::Committed,
            error: None,
            message: format!("{remote}@{} runs", self.release.serial),
            log: None,
        };
        Report {
            instance: "0123456789abcdef0123456789abcdef".to_owned(),
            boot_id: "d09cafa4-ba2b-444f-af52-c9368827a948".to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            report_key: Some(key.public()),
            phase: "steady".to_owned(),
            obeys: Some(Obeyed {
                assignment: Some(Serial::FIRST),
                remote: remote.clone(),
                configuration: configuration.clone(),
                release: Some(self.release),
            }),
            runs: Some(Running {
                archive: Some(self.archive),
                configuration: Some(configuration),
                system: "/nix/store/2y2hhlki6macqj9n6a9zq6c5pyslpdx2-nixos-system-web-1-24.05".to_owned(),
                rev: None,
                remote: Some(remote),
                serial: Some(self.release.serial),
                since: Some(self.now),
            }),
            outcomes: vec![outcome; 5],
            addresses: vec!["10.0.12.34".parse().expect("an address"), "fd00::2".parse().expect("an address")],
            ssh_host_keys: vec![format!("ssh-ed25519 {} root@host", "A".repeat(68))],
            ..Report::default()
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [store, fleet, key_file, remote, hosts] = &arguments[..] else {
        return Err("usage: crowd STORE FLEET KEY_FILE REMOTE HOSTS".into());
    };
    let (store, key) = (open(&store.parse()?, Options::default()).await?, std::fs::read_to_string(key_file)?);
    let (key, remote): (SecretKey, RemoteName) = (key.parse()?, remote.parse()?);
    let (bytes, _) = read_document(&*store, &layout::remote(&remote)).await?;
    let payload = Envelope::parse(&bytes)?.payload().to_vec();
    let document: Document<RemoteState> = Document::from_payload(&payload)?;
    let Standing::Present(release) = &document.body else { return Err("the remote was removed".into()) };
    let believed = Believed { serial: document.header.serial, digest: Digest::of(&payload) };
    let archive = release.archive.sha256;
    let crowd = Crowd { fleet: fleet.parse()?, remote, archive, release: believed, now: Timestamp::now() };
    let (crowd, key, store) = (&crowd, &key, &store);
    let written = (1..=hosts.parse::<usize>()?).map(async |number| {
        let name = format!("host-{number:05}");
        let own = SecretKey::generate(format!("npc-{name}").parse().expect("a key name"))?;
        let assignment = Assignment::Present(Box::new(crowd.following(&own)));
        let assigned = layout::assignment(&name.parse().expect("a name"));
        write(store, &assigned, &crowd.document(&name, assignment, key)).await?;
        let reported = layout::report(&name.parse().expect("a name"));
        write(store, &reported, &crowd.document(&name, crowd.report(&own), &own)).await
    });
    stream::iter(written).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

async fn write(store: &Arc<dyn Store>, key: &ObjectKey, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    store.write(key, Content::Bytes(bytes), Precondition::None).await?;
    Ok(())
}
