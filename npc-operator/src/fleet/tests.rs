use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use npc_core::digest::Digest;
use npc_core::document::{
    Archive, Believed, Following, Header, Metadata, Obeyed, Outcome, OutcomeKind, Quarantined, Report, Running, Serial,
    Trouble,
};
use npc_core::fleet::KeyStanding;
use npc_core::name::FleetId;

use super::host::{Heard, NoRelease, Told, Wanted, WantedRelease};
use super::selector::{Selector, Strangers};
use super::standing::{clock_words, judge, why};
use super::*;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().expect("a time")
}

fn ago(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

fn serial(number: u64) -> Serial {
    Serial::new(number).expect("a serial")
}

/// `prod@2`, which came out ten minutes ago.
fn wanted() -> WantedRelease {
    WantedRelease {
        remote: "prod".parse().expect("a name"),
        serial: serial(2),
        digest: Digest::of(b"two"),
        created: ago(10),
        archive: Archive { sha256: Digest::of(b"archive two"), size: 1 },
        configuration: "web".parse().expect("a name"),
        rev: Some("0123456789abcdef".into()),
        systems: vec!["/nix/store/two".into()],
    }
}

/// A host that runs what it should, and said so a minute ago.
fn report() -> Report {
    let release = Some(Believed { serial: serial(2), digest: wanted().digest });
    let (remote, configuration) = ("prod".parse().expect("a name"), "web".parse().expect("a name"));
    Report {
        instance: "one".into(),
        phase: "steady".into(),
        obeys: Some(Obeyed { assignment: None, remote, configuration, release }),
        runs: Some(Running {
            archive: Some(wanted().archive.sha256),
            configuration: None,
            system: "/nix/store/two".into(),
            rev: None,
            remote: None,
            serial: None,
            since: None,
        }),
        ..Report::default()
    }
}

fn heard(report: Report, minutes: i64) -> Heard {
    let header = Header {
        fleet: FleetId::from_random([7; 16]),
        name: "web-1".into(),
        serial: serial(1),
        created: ago(minutes),
        trust: Serial::FIRST,
        requires: Vec::new(),
        expires: None,
    };
    let (header, report) = (Box::new(header), Box::new(report));
    Heard::Report { header, report, key: KeyStanding::Unpinned, written: None }
}

fn following() -> Following {
    Following::new("prod".parse().expect("a name"), "web".parse().expect("a name"))
}

fn host(name: &str, heard: Heard) -> Host {
    let Following { remote, configuration, .. } = following();
    let mut host = Host {
        name: name.parse().expect("a name"),
        assignment: name.parse().expect("a name"),
        told: Told::Nothing,
        heard,
        claimed: None,
        wanted: Some(Wanted { remote, configuration, release: Ok(wanted()) }),
        metadata: Metadata::default(),
        standing: Standing::Unknown,
    };
    host.standing = judge(&host, now());
    host
}

/// What becomes of a host that would be current, but for this.
fn but(change: impl FnOnce(&mut Report)) -> (&'static str, String) {
    let mut report = report();
    change(&mut report);
    let host = host("web-1", heard(report, 1));
    (host.standing.word(), why(&host, now()))
}

/// It has not got to know the release yet, and runs something older.
fn older(report: &mut Report) {
    let obeyed = report.obeys.as_mut().expect("it obeys");
    obeyed.release = Some(Believed { serial: serial(1), digest: Digest::of(b"one") });
    report.runs.as_mut().expect("it runs").archive = Some(Digest::of(b"archive one"));
}

/// It runs the release, built as this configuration.
fn built_as(report: &mut Report, configuration: &str) {
    let runs = report.runs.as_mut().expect("it runs");
    runs.configuration = Some(configuration.parse().expect("a name"));
}

fn outcome(kind: OutcomeKind) -> Outcome {
    let (serial, error) = (Some(serial(2)), Some("build-failed".to_owned()));
    Outcome { at: ago(1), remote: None, serial, kind, error, message: "no space left".into(), log: None }
}

#[test]
fn every_standing_has_a_reason_of_its_own() {
    let runs_one =
        |report: &mut Report| report.runs.as_mut().expect("it runs").archive = Some(Digest::of(b"archive one"));
    let quarantined = Quarantined {
        system: "/nix/store/two".into(),
        at: ago(5),
        kind: "units-failed".into(),
        message: "failed: web.service".into(),
    };
    let trouble = Trouble { since: ago(5), kind: "bad-signature".into(), message: "0 of 1 keys".into() };
    for ((word, sentence), expected, part) in [
        (but(|_| {}), "current", "runs prod@2, which is what it should"),
        (but(|report| report.boot_unproven = true), "current", "its boot is yet to prove itself"),
        (but(older), "behind", "has not taken in prod@2 yet, which was published 10m ago; it last reported 1m ago"),
        (
            but(|report| {
                older(report);
                report.paused = true;
            }),
            "paused",
            "on the host itself",
        ),
        (but(|report| report.paused = true), "current", ""),
        (
            but(|report| {
                runs_one(report);
                report.phase = "probation".into();
            }),
            "working",
            "in phase `probation`",
        ),
        (
            but(|report| {
                runs_one(report);
                report.quarantined = vec![quarantined.clone()];
            }),
            "failed",
            "(units-failed): failed: web.service",
        ),
        (
            but(|report| {
                runs_one(report);
                report.phase = "verified".into();
                report.outcomes = vec![outcome(OutcomeKind::Failed)];
            }),
            "failed",
            "(build-failed): no space left",
        ),
        // What failed was another release.
        (
            but(|report| {
                older(report);
                report.quarantined = vec![quarantined.clone()];
            }),
            "behind",
            "",
        ),
        (but(|report| built_as(report, "web")), "current", ""),
        (but(|report| built_as(report, "small")), "behind", ""),
        (
            but(|report| {
                built_as(report, "small");
                report.outcomes = vec![outcome(OutcomeKind::RolledBack)];
            }),
            "failed",
            "(build-failed): no space left",
        ),
        (but(|report| report.trouble = Some(trouble.clone())), "trouble", "(bad-signature): 0 of 1 keys"),
        (but(|report| report.runs.as_mut().expect("it runs").archive = None), "by-hand", "activated on it by hand"),
    ] {
        assert_eq!(word, expected, "{sentence}");
        assert!(sentence.contains(part) && sentence.starts_with("web-1 "), "{sentence}");
    }
}

#[test]
fn silence_is_judged_by_what_the_host_has_announced() {
    let standing = |heartbeat, minutes| {
        let report = Report { heartbeat, ..report() };
        host("web-1", heard(report, minutes)).standing.word()
    };
    assert_eq!((standing(None, 64), standing(None, 66)), ("current", "silent"));
    assert_eq!((standing(Some(60), 6), standing(Some(60), 8)), ("current", "silent"));
    assert_eq!(standing(Some(u64::MAX), 8), "current");
    assert_eq!(host("web-1", Heard::Nothing).standing, Standing::Unknown);
    assert!(why(&host("web-1", Heard::Nothing), now()).contains("has never reported"));
}

#[test]
fn the_clock_of_a_host_neither_makes_it_silent_nor_keeps_it_from_it() {
    let standing = |by_its_own: i64, by_the_stores: i64| {
        let Heard::Report { header, report, key, .. } = heard(report(), by_its_own) else { unreachable!("it reports") };
        let host = host("web-1", Heard::Report { header, report, key, written: Some(ago(by_the_stores)) });
        (host.standing.word(), host.heard.clock_differs().map(clock_words))
    };
    assert_eq!(standing(1, 1), ("current", None));
    assert_eq!(standing(180, 1), ("current", Some("2h behind".to_owned())));
    assert_eq!(standing(-1_000_000, 66), ("silent", Some("694d ahead".to_owned())));
}

#[test]
fn no_host_may_be_silent_for_days() {
    let report = Report { heartbeat: Some(u64::MAX), ..report() };
    let standing = |hours: i64| host("web-1", heard(report.clone(), hours * 60)).standing.word();
    assert_eq!((standing(48), standing(49)), ("current", "silent"));
}

#[test]
fn an_ephemeral_host_leaves_when_it_falls_silent() {
    let leaves = |ephemeral, minutes| host("web-1", heard(Report { ephemeral, ..report() }, minutes)).has_left(now());
    assert_eq!((leaves(true, 64), leaves(true, 66), leaves(false, 66)), (false, true, false));
}

#[test]
fn a_host_that_is_led_nowhere_is_not_current() {
    let mut host = host("web-1", heard(report(), 1));
    for reason in [NoRelease::NoSuchRemote, NoRelease::Removed, NoRelease::NoSuchConfiguration(serial(2))] {
        host.wanted.as_mut().expect("it follows").release = Err(reason);
        assert_eq!(judge(&host, now()), Standing::Misled);
    }
    host.standing = Standing::Misled;
    assert!(why(&host, now()).contains("prod@2 holds no configuration `web`"));
}

fn fleet() -> View {
    let with = |name: &str, role: &str, groups: &[&str]| {
        let mut host = host(name, heard(report(), 1));
        host.metadata.role = Some(role.to_owned());
        host.metadata.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        host
    };
    let mut hosts = vec![with("web-1", "web", &["eu"]), with("web-2", "web", &["us"]), with("db-1", "db", &["eu"])];
    hosts[1].assignment = "scaling-group".parse().expect("a name");
    View::of(now(), hosts)
}

fn selected(included: &[&str], excluded: &[&str]) -> Result<Vec<String>, String> {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a selector")).collect();
    let selection = Selection { included: parse(included), excluded: parse(excluded) };
    let names = selection.hosts(&fleet(), Strangers::Refused).map_err(|failure| format!("{failure:?}"))?;
    Ok(names.into_iter().map(|name| name.to_string()).collect())
}

#[test]
fn hosts_are_chosen_as_a_union_each_once_less_the_exceptions() {
    for (included, excluded, expected) in [
        (&["all"][..], &[][..], &["db-1", "web-1", "web-2"][..]),
        (&["group:eu", "web-1", "web-*"], &[], &["db-1", "web-1", "web-2"]),
        (&["role:web"], &["group:us"], &["web-1"]),
        (&["remote:prod"], &["web-?"], &["db-1"]),
        (&["scaling-group"], &[], &["web-2"]),
        (&[], &["db-1"], &["web-1", "web-2"]),
    ] {
        assert_eq!(selected(included, excluded).expect("hosts"), expected, "{included:?} less {excluded:?}");
    }
}

#[test]
fn a_selector_that_matches_nothing_is_a_mistake_with_a_hint() {
    for (included, excluded, part) in [
        (&["group:asia"][..], &[][..], "there are: eu, us"),
        (&["role:mail"], &[], "there are: db, web"),
        (&["remote:canary"], &[], "there are: prod"),
        (&["web-9"], &[], "`web-9` matches no host"),
        (&["all"], &["web-9"], "`web-9` matches no host"),
        (&["web-1"], &["web-*"], "nothing is left"),
    ] {
        let failure = selected(included, excluded).expect_err("a mistake");
        assert!(failure.contains(part), "{failure}");
    }
    for bad in ["grup:eu", "group:", "remote:A", "Web-1", "web-["] {
        assert!(bad.parse::<Selector>().is_err(), "{bad}");
    }
}

#[test]
fn a_shared_assignment_is_not_changed_for_some_of_its_hosts_alone() {
    let mut view = fleet();
    view.hosts.values_mut().for_each(|host| host.assignment = "scaling-group".parse().expect("a name"));
    let some = BTreeSet::from(["web-1".parse().expect("a name")]);
    let refused = amend::assignments_of(&view, &some, false).expect_err("refused");
    assert!(format!("{refused:?}").contains("shared with hosts that were not named"), "{refused:?}");
    assert_eq!(amend::assignments_of(&view, &some, true).expect("forced").len(), 1);
    let all = view.hosts.keys().cloned().collect();
    assert_eq!(amend::assignments_of(&view, &all, false).expect("all of them").len(), 1);
}
