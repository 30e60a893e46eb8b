//! Members whose hosts share an assignment, as the machines of a scaling group do.

use super::*;

/// How far a member with these hosts has got after so many seconds, of which these and others have fared like this.
fn progress_of(planned: &[&str], now: u32, said: &[(&str, Fate)], change: impl Fn(&str, &mut Heard)) -> MemberProgress {
    let (mut course, _) = one_host();
    course.intent.waves[0][0].hosts = planned.iter().map(|name| name.parse().expect("a name")).collect();
    let fates: BTreeMap<HostName, Fate> =
        said.iter().map(|(name, fate)| (name.parse().expect("a name"), *fate)).collect();
    let member = course.members().next().expect("a member").clone();
    let fleet = Fleet { course: &course, fates: &fates, told: BTreeMap::from([(member.assignment.clone(), 0)]) };
    let heard = fates.keys().map(|host| {
        let alone = Member { hosts: vec![host.clone()], ..member.clone() };
        let mut heard = fleet.heard(&alone, 0, now);
        change(host.as_str(), &mut heard);
        (host.clone(), heard)
    });
    let told = Told::Following { following: Box::new(fleet.following(&member)), serial: Serial::FIRST, created: at(0) };
    let sight = BTreeMap::from([(member.assignment.clone(), Seen { told, heard: heard.collect() })]);
    course.progress(&sight, at(now)).waves[0][0].clone()
}

fn unchanged(_: &str, _: &mut Heard) {}

#[test]
fn each_host_that_fails_counts_and_the_others_are_waited_for() {
    let said = [("a-1", Fate::Fails(1)), ("a-2", Fate::Runs(1)), ("a-3", Fate::Runs(30))];
    let planned = ["a-1", "a-2", "a-3"];
    let on_the_way = progress_of(&planned, 10, &said, unchanged);
    assert_eq!((on_the_way.reached, on_the_way.failures.len(), on_the_way.hosts), (Reached::Told, 1, 3));
    let settled = progress_of(&planned, 50, &said, unchanged);
    assert!(matches!(settled.reached, Reached::Failed(_)), "{settled:?}");
    assert_eq!(settled.failures.len(), 1);
    let late = progress_of(&planned, 70, &[said[0], said[1], ("a-3", Fate::FallsSilent)], unchanged);
    assert_eq!(late.failures.len(), 2, "{late:?}");
}

#[test]
fn a_host_that_fails_has_failed_before_the_others_have_soaked() {
    for (host, others) in [("a-1", &[][..]), ("a-1", &[("a-2", Fate::Runs(1))]), ("a-2", &[("a-1", Fate::Runs(1))])] {
        let planned: Vec<_> = others.iter().map(|(name, _)| *name).chain([host]).collect();
        let said = [others, &[(host, Fate::Fails(1))]].concat();
        let failed = progress_of(&planned, 2, &said, unchanged);
        assert!(matches!(failed.reached, Reached::Failed(_)), "{failed:?}");
        let lost = progress_of(&planned, 2, &said, |name, heard| {
            if let (true, Heard::Report { report, .. }) = (name == host, heard) {
                (report.outcomes, report.failed_units) = (Vec::new(), vec!["web.service".to_owned()]);
                report.runs = Some(Running {
                    archive: Some(Digest::of(b"archive")),
                    configuration: None,
                    system: String::new(),
                    rev: None,
                    remote: None,
                    serial: None,
                    since: Some(at(1)),
                });
            }
        });
        assert!(matches!(lost.reached, Reached::Lost(_)), "it may be out of order, and counts as such: {lost:?}");
    }
}

#[test]
fn a_host_that_runs_another_configuration_of_the_release_is_not_there_yet() {
    let built_as = |configuration: Option<&str>| {
        progress_of(&["a-1"], 2, &[("a-1", Fate::Runs(1))], |_, heard| {
            if let Heard::Report { report, .. } = heard {
                let runs = report.runs.as_mut().expect("it runs");
                runs.configuration = configuration.map(|name| name.parse().expect("a name"));
            }
        })
    };
    assert_eq!(built_as(Some("small")).reached, Reached::Told);
    assert_eq!(built_as(None).reached, Reached::Soaking, "an older agent does not say");
}

#[test]
fn the_failures_of_hosts_are_held_against_how_many_hosts_may_fail() {
    let (mut course, _) = one_host();
    course.intent.gates.max_failed = 1;
    let member = |failures: usize| MemberProgress {
        assignment: "a".parse().expect("a name"),
        reached: Reached::Told,
        hosts: 3,
        failures: vec!["no".to_owned(); failures],
    };
    let failure = |failures| course.failure(&Progress { waves: vec![vec![member(failures)]] });
    assert_eq!(failure(1), None);
    assert!(failure(2).is_some_and(|reason| reason.contains("and 1 more")));
}

#[test]
fn machines_that_come_later_are_not_waited_for_and_count_once_they_can_tell() {
    let planned = ("a-1", Fate::Runs(1));
    let with = |later| progress_of(&["a-1"], 50, &[planned, ("a-9", later)], unchanged);
    let (well, begun, broken) = (with(Fate::Runs(1)), with(Fate::Runs(55)), with(Fate::Fails(1)));
    assert_eq!((well.reached, well.hosts), (Reached::Done, 2));
    assert_eq!((begun.reached, begun.hosts), (Reached::Done, 1));
    assert_eq!((broken.failures.len(), broken.hosts), (1, 2));
}

#[test]
fn machines_that_were_ended_are_stood_in_for_by_those_that_came_later() {
    let end = |name: &str, heard: &mut Heard| {
        if let (Heard::Report { report, written, .. }, "a-1" | "a-2") = (heard, name) {
            report.ephemeral = true;
            *written = Some(at(0) - SignedDuration::from_hours(2));
        }
    };
    let planned = [("a-1", Fate::FallsSilent), ("a-2", Fate::FallsSilent)];
    let now = |more: &[(&str, Fate)]| progress_of(&["a-1", "a-2"], 50, &[&planned, more].concat(), end).reached;
    assert_eq!(now(&[]), Reached::Told, "that all are gone proves nothing");
    assert_eq!(now(&[("a-8", Fate::Runs(1)), ("a-9", Fate::Runs(1))]), Reached::Done);
}
