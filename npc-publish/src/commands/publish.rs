//! `npc-publish --remote R`: publishes the flake.

use jiff::Timestamp;
use npc_core::document::{Power, Release, Serial};
use npc_core::key::SecretKey;
use npc_core::name::RemoteName;
use npc_core::publish::{Over, Publication, Published, Record, authorise, changes_nothing, publish as publish_release};
use npc_operator::failure::Failure;
use npc_operator::flake::{PackedFlake, pack_flake};
use npc_operator::fleet::trusting::check_followers;
use npc_operator::session::Session;
use npc_operator::voice::Progress;
use npc_operator::words;
use serde_json::json;

use crate::cli;
use crate::console;

/// The longest message, in bytes.
const MESSAGE_BYTES: usize = 4096;

pub(crate) async fn publish(arguments: cli::Publish) -> Result<(), Failure> {
    let Some(remote) = &arguments.remote else { unreachable!("clap requires a remote where there is no subcommand") };
    if arguments.message.as_ref().is_some_and(|message| message.len() > MESSAGE_BYTES) {
        return Err(Failure::usage(format!("a message has at most {MESSAGE_BYTES} bytes")));
    }
    let now = Timestamp::now();
    let expires = arguments.expires_in.map(|span| console::after(now, span)).transpose()?;
    let session = Session::open(&arguments.writing.signing.place).await?;
    let keys = session.keys(&arguments.writing.signing.key)?;
    let keys: Vec<&SecretKey> = keys.iter().collect();
    authorise(session.fleet.trusted.trust(), Power::Release(remote), &keys)?;
    check_followers(&session, remote).await?;
    let flake = pack_flake(&session.directory, &arguments.picking)?;
    let record = if arguments.record { Record::Everything } else { Record::Changes };
    if arguments.writing.dry_run {
        return dry_run(&session, remote, &flake, record, expires, arguments.json).await;
    }
    let mut source = flake.source.clone();
    source.message = arguments.message;
    let publication = Publication {
        remote,
        release: Release::new(flake.packed().archive, source, flake.selection.configurations.clone()),
        file: flake.selection.archived.file.path(),
        expires,
        record,
        over: Over::Anything,
    };
    let writes = session.conditional_writes().await?;
    let progress = Progress::begin(format!("publishing {}", words::bytes(flake.packed().archive.size)));
    let published = publish_release(&session.fleet, publication, &keys, writes, now).await?;
    drop(progress);
    tell(remote, &flake, published);
    show(remote, &flake, published, arguments.json)
}

fn tell(remote: &RemoteName, flake: &PackedFlake, published: Published) {
    match published {
        Published::Unchanged(serial) => {
            console::say(format_args!(
                "unchanged: {remote}@{serial} holds exactly this; publish it again with --record"
            ));
        }
        Published::Released { serial, previous } => {
            let before = previous.map_or("nothing".to_owned(), |serial| serial.to_string());
            console::say(format_args!("published {remote}@{serial} (before: {before})"));
        }
    }
    console::say(flake.summary());
}

fn show(remote: &RemoteName, flake: &PackedFlake, published: Published, as_json: bool) -> Result<(), Failure> {
    let (serial, changed) = match published {
        Published::Unchanged(serial) => (serial, false),
        Published::Released { serial, .. } => (serial, true),
    };
    if as_json {
        return console::json(&json!({
            "remote": remote,
            "serial": serial,
            "changed": changed,
            "archive": flake.packed().archive,
            "evaluated": flake.selection.evaluated,
            "configurations": flake.selection.configurations,
        }));
    }
    console::data(format_args!("{remote}@{serial}"))
}

async fn dry_run(
    session: &Session,
    remote: &RemoteName,
    flake: &PackedFlake,
    record: Record,
    expires: Option<Timestamp>,
    as_json: bool,
) -> Result<(), Failure> {
    let pointer = session.fleet.remote(remote).await?;
    let current = pointer.as_ref().and_then(|pointer| pointer.state.as_ref().ok());
    let archive = flake.packed().archive;
    let release = Release::new(archive, flake.source.clone(), flake.selection.configurations.clone());
    let unchanged =
        current.is_some_and(|current| changes_nothing(current, &release, record, expires, Timestamp::now()));
    let held: Option<Serial> = current.map(|current| current.header().serial);
    match held {
        Some(serial) if unchanged => console::say(format_args!("unchanged: {remote}@{serial} holds exactly this")),
        Some(serial) => {
            console::say(format_args!("would replace {remote}@{serial}; see `npc-publish diff {remote} .`"));
        }
        None => console::say(format_args!("would be the first release of {remote}")),
    }
    console::say(flake.summary());
    if as_json {
        let changed = !unchanged;
        return console::json(
            &json!({ "remote": remote, "dry_run": true, "changed": changed, "held": held, "archive": archive }),
        );
    }
    console::data(archive.sha256)
}
