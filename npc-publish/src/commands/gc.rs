//! `npc-publish gc`: removes what nobody needs any more.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use npc_core::store;
use npc_operator::failure::Failure;
use npc_operator::session::Session;
use npc_operator::voice::Progress;
use npc_operator::words;
use serde_json::{Value, json};

use crate::cli;
use crate::console;
use crate::gc::{Bounds, Collector, Object, Plan, Silent, Stored};

/// How far the clocks may be apart before it is worth a word.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

pub(crate) async fn gc(arguments: cli::Gc) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let now = if arguments.yes { slower_clock(&session).await? } else { Timestamp::now() };
    let bounds = Bounds { now, since: before(now, arguments.keep_releases)?, last: arguments.keep_last };
    let mut collector = Collector::new(&session.fleet, bounds);
    let progress = Progress::begin("looking for what names archives");
    let (survey, plan) = collector.decide().await?;
    drop(progress);
    let all =
        Total { archives: survey.archives.len(), bytes: survey.archives.values().map(|stored| stored.size).sum() };
    if !arguments.yes {
        return show(&arguments, &plan, all, now);
    }
    let row = |object: &Object| if arguments.json { Ok(()) } else { console::data(line(object, &plan, now)) };
    let mut told = Ok(());
    let removal =
        collector.remove(&plan, |object| told = std::mem::replace(&mut told, Ok(())).and_then(|()| row(object))).await;
    for object in &removal.spared {
        console::say(format_args!("spared: {} is needed since", object.key()));
    }
    if arguments.json {
        console::json(&value(&arguments, &removal.removed, all))?;
    }
    console::say(summary("removed", &removal.removed, all));
    told.and(removal.failure.map_or(Ok(()), Err))
}

/// A number of archives.
#[derive(Clone, Copy)]
struct Total {
    archives: usize,
    bytes: u64,
}

/// The time by the store's clock or by this machine's, whichever is behind: by that, everything is younger.
async fn slower_clock(session: &Session) -> Result<Timestamp, Failure> {
    let Some(there) = store::clock(&*session.fleet.store).await? else {
        console::warn("the store does not say how old anything is, so nothing can be removed from it");
        return Ok(Timestamp::now());
    };
    let here = Timestamp::now();
    let apart = here.duration_since(there).abs();
    if apart > CLOCK_TOLERANCE {
        console::warn(format_args!(
            "the clocks of this machine ({here}) and of the store ({there}) differ by {apart:#}: the earlier one counts"
        ));
    }
    Ok(here.min(there))
}

/// The time a span ago; spans of days are days of 24 hours.
fn before(now: Timestamp, span: Span) -> Result<Timestamp, Failure> {
    let wrong = |error: jiff::Error| Failure::usage(format!("no release can be that old: {error}"));
    let then = now.to_zoned(TimeZone::UTC).checked_sub(span).map_err(wrong)?.timestamp();
    if then > now {
        return Err(Failure::usage("releases cannot be kept for less than no time"));
    }
    Ok(then)
}

/// Says what would be done.
fn show(arguments: &cli::Gc, plan: &Plan, all: Total, now: Timestamp) -> Result<(), Failure> {
    if arguments.json {
        console::json(&value(arguments, plan, all))?;
    } else {
        plan.objects().try_for_each(|object| console::data(line(&object, plan, now)))?;
    }
    console::say(summary("would remove", plan, all));
    if plan.objects().next().is_some() {
        console::say("nothing was removed; say --yes to do so");
    }
    Ok(())
}

/// `archives/….tar.gz  4.59 KiB  45d`
fn line(object: &Object, plan: &Plan, now: Timestamp) -> String {
    let (stored, since) = match object {
        Object::Archive(digest) => {
            let stored = plan.archives.get(digest).copied();
            (stored, stored.and_then(|stored| stored.modified))
        }
        Object::Report(host) => {
            let silent = plan.reports.get(host);
            (silent.map(|silent| silent.stored), silent.map(|silent| silent.seen))
        }
    };
    let size = stored.map_or_else(String::new, |stored| words::bytes(stored.size));
    let age = since.map_or_else(String::new, |since| words::ago(since, now));
    format!("{}  {size:>10}  {age:>4}", object.key())
}

/// How much that is, and how much stays.
fn summary(done: &str, plan: &Plan, all: Total) -> String {
    let archives = |number: usize, bytes: u64| match number {
        1 => format!("1 archive ({})", words::bytes(bytes)),
        _ => format!("{number} archives ({})", words::bytes(bytes)),
    };
    let (gone, bytes) = (plan.archives.len(), plan.bytes());
    let of_archives = (gone > 0).then(|| archives(gone, bytes));
    let of_reports = match plan.reports.len() {
        0 => None,
        1 => Some("the report of a machine that has left".to_owned()),
        number => Some(format!("the reports of {number} machines that have left")),
    };
    let what: Vec<_> = of_archives.into_iter().chain(of_reports).collect();
    let stay = archives(all.archives.saturating_sub(gone), all.bytes.saturating_sub(bytes));
    let what = if what.is_empty() { "nothing".to_owned() } else { what.join(" and ") };
    format!("{done} {what}; {stay} stay")
}

fn value(arguments: &cli::Gc, plan: &Plan, all: Total) -> Value {
    let archive =
        |(digest, stored): (_, &Stored)| json!({ "archive": digest, "size": stored.size, "modified": stored.modified });
    let report = |silent: &Silent| json!({ "host": silent.host, "size": silent.stored.size, "seen": silent.seen });
    json!({
        "dry_run": !arguments.yes,
        "archives": plan.archives.iter().map(archive).collect::<Vec<_>>(),
        "reports": plan.reports.values().map(report).collect::<Vec<_>>(),
        "bytes": plan.bytes(),
        "kept": {
            "archives": all.archives.saturating_sub(plan.archives.len()),
            "bytes": all.bytes.saturating_sub(plan.bytes()),
        },
    })
}
