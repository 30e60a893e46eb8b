//! `npc_remote`: a flake, published to a remote.
//!
//! A plan packs the flake and shows what it would publish: the archive's digest, every file and every configuration's system, so that
//! Terraform itself shows what is added, removed and changed. An apply packs it again, and publishes nothing else than what was
//! planned, over nothing else than what was seen. `published_serial` is the last release that this configuration stands for: another
//! `serial` beside it is somebody else's release, which is replaced only where `on_conflict` says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use npc_core::archive::{Manifest, MemberKind};
use npc_core::document::{Release, RemoteState, Serial, Source, System};
use npc_core::key::SecretKey;
use npc_core::name::{ConfigurationName, RemoteName};
use npc_core::publish::{Over, Publication, Published, Record, changes_nothing, publish, remove};
use npc_core::trust::{Refusal, Verified};
use npc_operator::flake::{PackedFlake, Picking, pack_flake};
use npc_operator::fleet::amend::following;
use npc_operator::fleet::trusting::check_followers;
use npc_operator::held::believable;
use npc_operator::selection::{NixChoice, Strategy};
use npc_operator::session::Session;
use npc_operator::{archives, words};
use terraform_plugin::{
    Attribute, Change, Diagnostic, Object, Outcome, Resource, Schema, SetBy, Type, Unfinished, Value, Warnings,
};

use crate::arguments::{Given, check, list, needed, not_in_order, parsed, path};
use crate::foreign::{
    CONFLICT, is_foreign, over, overwrites, refuse_to_end, refuse_to_undo, warn_of_ending, warn_of_undoing,
};
use crate::operator::{Operator, check_place, with_place};
use crate::planned::{Planned, changed, is_same_content};
use crate::told::{told, warning};

pub(crate) struct Remote(pub(crate) Arc<Operator>);

/// The variable that names the Nix to evaluate with.
const NIX: &str = "NPC_NIX";

/// What the provider decides about a release.
const DECIDED: [&str; 6] = ["archive", "archive_size", "files", "systems", "serial", "published_serial"];

impl Resource for Remote {
    fn schema(&self) -> Schema {
        let user = |kind, words: &str| Attribute::new(SetBy::UserOrNobody, kind, words);
        let own = |kind, words: &str| Attribute::new(SetBy::Provider, kind, words);
        with_place(Schema::new("A flake, published to a remote: what the hosts that follow it build."))
            .with("name", Attribute::new(SetBy::User, Type::String, "The remote's name.").replaces())
            .with("flake", Attribute::new(SetBy::User, Type::String, "The directory of `flake.nix`."))
            .with("configurations", user(Type::String.list(), "The configurations to publish. Unless said, all."))
            .with(
                "selection",
                user(
                    Type::String,
                    "How the files to publish are chosen: `auto`, `evaluated`, `static` or `tracked`. Unless said, as `npc.toml` \
                     beside the flake says, or `auto`.",
                ),
            )
            .with("nix", user(Type::String, "The Nix to evaluate with, or `none` to evaluate nothing. Unless said, what `NPC_NIX` says, or the one on the PATH."))
            .with("message", user(Type::String, "What to say about the next release."))
            .with(
                "on_conflict",
                user(
                    Type::String,
                    "What to do where somebody else has published, promoted or rolled back: `fail`, unless said, or `overwrite`.",
                ),
            )
            .with("archive", own(Type::String, "The SHA-256 of the archive."))
            .with("archive_size", own(Type::Number, "Its size in bytes."))
            .with("files", own(Type::String.map(), "What is in it: the beginnings of its files' digests, by their paths."))
            .with(
                "systems",
                own(Type::String.map(), "What the configurations evaluate to: store paths, by the configurations' names."),
            )
            .with("serial", own(Type::Number, "The release's serial."))
            .with(
                "published_serial",
                own(Type::Number, "The serial of the last release that was published from here, or has its content."),
            )
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check_place(config)?;
        check::<RemoteName>(config, "name")?;
        list::<ConfigurationName>(config, "configurations")?;
        strategy(config)?;
        match config.text("on_conflict") {
            Some(word) if !CONFLICT.contains(&word) => {
                let detail = format!("\"{word}\" is neither `fail` nor `overwrite`.");
                Err(not_in_order("on_conflict", detail))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, state: Object, warnings: &mut Warnings) -> Outcome<Option<Object>> {
        let name: RemoteName = needed(&state, "name")?;
        let Some(session) = self.0.session(&state)? else { return Ok(Some(state)) };
        let held = match self.pointer(&session, &name)? {
            None => return Ok(None),
            Some(Ok(held)) => held,
            Some(Err(refusal)) => {
                warnings.tell(
                    format!("What the remote `{name}` holds cannot be believed"),
                    format!("{refusal} ({}). The next apply publishes over it.", refusal.kind()),
                );
                return Ok(Some(state.with("archive", "").with("serial", Value::Null)));
            }
        };
        let Some(release) = believable(&held) else { return Ok(None) };
        Ok(Some(self.seen(&session, state, held.header().serial, release, warnings)))
    }

    fn plan(&self, change: Change, warnings: &mut Warnings) -> Outcome<Object> {
        let mut planned = change.proposed;
        let Some(flake) = warning(warnings, || pack(&planned))? else {
            for decided in DECIDED {
                planned.set(decided, Value::Unknown);
            }
            return Ok(planned);
        };
        describe(&mut planned, &flake)?;
        let prior = change.prior.as_ref().filter(|prior| prior.get("name") == planned.get("name"));
        match prior {
            Some(prior) if publishes_nothing(prior, &planned) => {
                planned.set("systems", prior.get("systems").clone());
                // Whoever has published it: it is what lies here.
                planned.set("published_serial", prior.get("serial").clone());
            }
            prior => {
                if let Some(prior) = prior {
                    warn_of_undoing(prior, &planned, warnings);
                }
                planned.set("serial", Value::Unknown);
                planned.set("published_serial", Value::Unknown);
            }
        }
        if let Some(noted) = Planned::of(&planned) {
            noted.show(&planned)?;
        }
        Ok(planned)
    }

    fn replacing(&self, prior: &Object, planned: &Object) -> Outcome<Vec<&'static str>> {
        self.0.moving(prior, planned)
    }

    fn apply(&self, change: Change, warnings: &mut Warnings) -> Result<Object, Unfinished> {
        let Change { prior, proposed: planned, .. } = change;
        if let Some(prior) = prior.as_ref().filter(|prior| publishes_nothing(prior, &planned)) {
            let serial = prior.get("serial").clone();
            return Ok(planned.with("serial", serial.clone()).with("published_serial", serial));
        }
        Ok(warning(warnings, || self.publish(prior.as_ref(), planned))?)
    }

    fn plan_removal(&self, state: &Object, warnings: &mut Warnings) -> Outcome<()> {
        let name: RemoteName = needed(state, "name")?;
        warn_of_ending(state, warnings);
        let Some(session) = self.0.session(state)? else { return Ok(()) };
        let followers = self.0.wait(async {
            let assigned = session.fleet.all_assignments().await?;
            let follows =
                assigned.iter().filter(|(_, one)| following(Some(one)).is_some_and(|said| said.remote == name));
            Ok(follows.map(|(assignment, _)| assignment.to_string()).collect::<Vec<_>>())
        })?;
        if !followers.is_empty() {
            let names: Vec<_> = followers.iter().map(String::as_str).collect();
            let detail =
                format!("They stay as they are until they are told to follow another: {}.", words::shortened(&names));
            warnings.tell(format!("Hosts follow the remote `{name}`, which is about to end"), detail);
        }
        Ok(())
    }

    fn remove(&self, state: Object, warnings: &mut Warnings) -> Outcome<()> {
        refuse_to_end(&state)?;
        let (name, session) = (needed::<RemoteName>(&state, "name")?, self.0.session_now(&state)?);
        let keys = self.0.keys(&session)?;
        let keys: Vec<&SecretKey> = keys.iter().collect();
        let over = over(&state, &state);
        warning(warnings, || {
            self.0.wait(async {
                let writes = session.conditional_writes().await?;
                Ok(remove(&session.fleet, &name, over, &keys, writes, Timestamp::now()).await?)
            })
        })
        .map_err(|errors| errors.or_at("name"))?;
        Ok(())
    }

    fn import(&self, id: &str) -> Outcome<Object> {
        let name = Object::default().with("name", id);
        check::<RemoteName>(&name, "name")?;
        Ok(name)
    }
}

impl Remote {
    /// What a remote's pointer says, or why that is not to be believed; none, where there is no pointer.
    fn pointer(&self, session: &Session, name: &RemoteName) -> Outcome<Option<Result<Verified<RemoteState>, Refusal>>> {
        self.0.wait(async { Ok(session.fleet.remote(name).await?.map(|pointer| pointer.state)) })
    }

    /// How a remote is that holds this release.
    fn seen(
        &self,
        session: &Session,
        state: Object,
        serial: Serial,
        release: &Release,
        warnings: &mut Warnings,
    ) -> Object {
        let archive = release.archive.sha256.to_string();
        let holds_the_same = state.text("archive") == Some(&archive);
        // Terraform keeps what a refresh has seen, also of somebody else's release, and comes with it the next time.
        let was_ours = state.get("serial") == state.get("published_serial");
        let is_imported = state.get("published_serial").is_null();
        let mut seen = state.with("systems", systems(&release.configurations)).with("serial", serial.get());
        if is_imported || (was_ours && holds_the_same) {
            seen.set("published_serial", serial.get());
        }
        if !holds_the_same {
            seen.set("archive_size", release.archive.size);
            seen.set("archive", archive);
            let manifest = self.0.wait(archives::manifest(&session.fleet, &release.archive));
            if manifest.is_err() {
                let name = seen.text("name").unwrap_or_default();
                let detail = format!("{name}@{serial}: which files differ cannot be told.");
                warnings.tell("The archive of a remote's release cannot be read", detail);
            }
            seen.set("files", files(&manifest.unwrap_or_default()));
        }
        // Whoever has published it: where it is what lies here, there is nothing to plan.
        if is_foreign(&seen) && is_in_flake(&seen) {
            seen.set("published_serial", serial.get());
        }
        seen
    }

    /// What a remote that is new here has to hold: nothing, or its end, above which it may begin again, or just what is planned, as
    /// after an apply whose answer was lost.
    fn over_nothing(&self, session: &Session, name: &RemoteName, flake: &PackedFlake) -> Outcome<Over> {
        let Some(Ok(held)) = self.pointer(session, name)? else { return Ok(Over::Serial(None)) };
        let planned = release_of(flake, None);
        let is_planned = || changes_nothing(&held, &planned, Record::Changes, None, Timestamp::now());
        if believable(&held).is_none() || is_planned() {
            return Ok(Over::Serial(Some(held.header().serial)));
        }
        let detail = format!(
            "It holds serial {}. Import it with `terraform import … {name}`, or say `on_conflict = \"overwrite\"`.",
            held.header().serial
        );
        Err(Diagnostic::error(format!("There is a remote `{name}` already")).detail(detail).at(["name"]).into())
    }

    fn publish(&self, prior: Option<&Object>, mut planned: Object) -> Outcome<Object> {
        let name: RemoteName = needed(&planned, "name")?;
        let session = self.0.session_now(&planned)?;
        let Some(flake) = pack(&planned)? else {
            return Err(Diagnostic::error("`flake` is missing").at(["flake"]).into());
        };
        let shown = planned.clone();
        describe(&mut planned, &flake)?;
        if shown.get("archive").is_known() && !is_same_content(&shown, &planned) {
            return Err(changed().into());
        }
        let noted = Planned::of(&planned);
        let over = match prior {
            Some(prior) => {
                refuse_to_undo(prior, &planned)?;
                over(prior, &planned)
            }
            None if overwrites(&planned) => Over::Anything,
            None => self.over_nothing(&session, &name, &flake)?,
        };
        let serial = self.release(&session, &name, &flake, planned.text("message"), over)?;
        if let Some(noted) = noted {
            noted.forget();
        }
        Ok(planned.with("serial", serial.get()).with("published_serial", serial.get()))
    }

    /// Publishes what was packed, and gives the serial under which the remote holds it.
    fn release(
        &self,
        session: &Session,
        name: &RemoteName,
        flake: &PackedFlake,
        message: Option<&str>,
        over: Over,
    ) -> Outcome<Serial> {
        let keys = self.0.keys(session)?;
        let keys: Vec<&SecretKey> = keys.iter().collect();
        let publication = Publication {
            remote: name,
            release: release_of(flake, message),
            file: flake.selection.archived.file.path(),
            expires: None,
            record: Record::Changes,
            over,
        };
        let published = self.0.wait(async {
            check_followers(session, name).await?;
            let writes = session.conditional_writes().await?;
            Ok(publish(&session.fleet, publication, &keys, writes, Timestamp::now()).await?)
        });
        let published = published.map_err(|errors| errors.or_at("name"))?;
        Ok(match published {
            Published::Unchanged(serial) | Published::Released { serial, .. } => serial,
        })
    }
}

/// What is published of a flake.
fn release_of(flake: &PackedFlake, message: Option<&str>) -> Release {
    let source = Source { message: message.map(str::to_owned), ..flake.source.clone() };
    Release::new(flake.packed().archive, source, flake.selection.configurations.clone())
}

/// Whether the flake packs into what the remote holds. What keeps it from being packed, the plan tells.
fn is_in_flake(seen: &Object) -> bool {
    let flake = warning(&mut Warnings::default(), || pack(seen));
    flake.ok().flatten().is_some_and(|flake| seen.text("archive") == Some(&flake.packed().archive.sha256.to_string()))
}

fn strategy(object: &Object) -> Outcome<Option<Strategy>> {
    let Some(word) = object.text("selection") else { return Ok(None) };
    serde_json::from_value(word.into()).map(Some).map_err(|_| {
        let detail = format!("\"{word}\" is none of `auto`, `evaluated`, `static` and `tracked`.");
        not_in_order("selection", detail)
    })
}

/// Packs the flake; none, where it is not known yet what to pack.
fn pack(object: &Object) -> Outcome<Option<PackedFlake>> {
    let (Given::Now(directory), Given::Now(configurations)) =
        (path(object, "flake"), list::<ConfigurationName>(object, "configurations")?)
    else {
        return Ok(None);
    };
    if !object.get("selection").is_known() || !object.get("nix").is_known() {
        return Ok(None);
    }
    let nix = match parsed::<NixChoice>(object, "nix")?.now() {
        Some(nix) => Some(nix),
        None => parsed(&from_environment(), "nix")?.now(),
    };
    let picking = Picking { selection: strategy(object)?, configurations, nix };
    pack_flake(&directory, picking).map(Some).map_err(|failure| told(&failure))
}

/// What `npc-publish` evaluates with, evaluates here as well.
fn from_environment() -> Object {
    Object::default().with("nix", std::env::var(NIX).ok())
}

/// What a release of this flake would be.
fn describe(planned: &mut Object, flake: &PackedFlake) -> Outcome<()> {
    let archive = flake.packed().archive;
    let manifest = flake.manifest().map_err(|failure| told(&failure))?;
    planned.set("archive", archive.sha256.to_string());
    planned.set("archive_size", archive.size);
    planned.set("files", files(&manifest));
    planned.set("systems", systems(&flake.selection.configurations));
    Ok(())
}

/// Files by their paths; directories say nothing that the files in them do not.
fn files(manifest: &Manifest) -> Value {
    let shown = |path: &PathBuf, words: String| Some((path.to_string_lossy().into_owned(), Value::String(words)));
    let entries = manifest.iter().filter_map(|(path, (kind, digest))| match (kind, digest) {
        (MemberKind::File { executable, .. }, Some(digest)) => {
            shown(path, format!("{}{}", digest.short(), if *executable { " executable" } else { "" }))
        }
        (MemberKind::Link { target }, _) => shown(path, format!("-> {}", target.display())),
        _ => None,
    });
    Value::Object(entries.collect())
}

/// What configurations evaluate to, by their names.
pub(crate) fn systems(configurations: &BTreeMap<ConfigurationName, System>) -> Value {
    let path = |system: &System| system.out_path.clone().unwrap_or_else(|| system.drv_path.clone());
    let entry = |(name, system): (&ConfigurationName, _)| (name.as_str().to_owned(), Value::String(path(system)));
    Value::Object(configurations.iter().map(entry).collect())
}

/// Whether the remote holds what was planned: the same archive, and nothing new is known of it.
fn publishes_nothing(prior: &Object, planned: &Object) -> bool {
    let is_empty = |value: &Value| value.as_object().is_none_or(|systems| systems.iter().next().is_none());
    let knows = prior.get("systems") == planned.get("systems") || is_empty(planned.get("systems"));
    prior.text("archive").is_some() && prior.get("archive") == planned.get("archive") && knows
}
