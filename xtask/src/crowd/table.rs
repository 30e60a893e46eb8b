//! The figures of a crowd as tables.

use npc_tests::agents::{Class, Figures, Latency, Verb};

use super::{INTERVAL, Measured, SOAK, WAVES, number};

/// Prints what was measured, one column for each store.
pub(super) fn print_tables(measured: &[&Measured], hosts: usize) {
    let table = Table { measured };
    table.head(&format!("{hosts} agents, asking every {INTERVAL} s"));
    table.row("requests of a poll that finds nothing new", |one| format!("{:.2}", one.reads_of_a_poll()));
    table.row("polls of a host in an interval", |one| format!("{:.2}", one.polls_in_an_interval()));
    table.row("GETs of a host in an hour, asking every minute: assignment, remote", reads_in_an_hour);
    table.row("other requests while nothing happens", |one| other_requests(&one.steady).to_string());
    table.row("a poll while nothing happens: half, 99 %, all within", |one| latency(one.steady.polls.latency));
    table.row("a poll after the store's return: half, 99 %, all within", |one| latency(one.back.polls.latency));
    table.row("until all run the first release, begun in the same moment", |one| {
        format!("{:.1} s", one.first_settled.seconds)
    });
    table.row("until all run the next release, 5 s of probation included", |one| {
        format!("{:.1} s", one.next_settled.seconds)
    });
    table.row("requests of a host for that, beside its polls", |one| {
        format!("{:.1} GET, {:.1} PUT", one.reads_of_a_release(), one.writes_of_a_release())
    });
    table.row(&format!("a rollout over all of them, waves {WAVES}, each well for {SOAK}"), |one| {
        format!("{:.0} s", one.rollout.seconds)
    });
    table.row("requests of a host in an hour meanwhile", |one| {
        let [reads, writes] = [Verb::Read, Verb::Write].map(|verb| in_an_hour(&one.rollout, verb));
        format!("{reads:.0} GET, {writes:.0} PUT")
    });
    table.row("a poll meanwhile: half, 99 %, all within", |one| latency(one.rollout.polls.latency));
    table.row("finishing it: the release becomes `prod`'s, and all go back there", |one| {
        format!("{:.1} s", one.finish.seconds)
    });
    table.row("memory of all agents together", |one| format!("{} MB", one.back.resident / 1000));
    table.head("polls begun in the busiest second (in any, most by chance)");
    table.row("all agents begin in the same moment", |one| spread(&one.begin));
    table.row("two intervals after that", |one| spread(&one.apart));
    table.row("nothing happens for a minute", |one| spread(&one.steady));
    table.row("a release is published and taken in", |one| spread(&one.release));
    table.row("two intervals after that", |one| spread(&one.after_release));
    table.row("the store is away for 20 s", |one| spread(&one.away));
    table.row("two intervals after its return", |one| spread(&one.back));
    table.row("a rollout", |one| spread(&one.rollout));
    println!();
}

/// A table with a column for each store.
struct Table<'a> {
    measured: &'a [&'a Measured],
}

impl Table<'_> {
    fn head(&self, what: &str) {
        println!();
        self.row(what, |one| one.store.to_owned());
        println!("|---|{}", "---|".repeat(self.measured.len()));
    }

    fn row(&self, what: &str, figure: impl Fn(&Measured) -> String) {
        let figures: Vec<_> = self.measured.iter().map(|one| figure(one)).collect();
        println!("| {what} | {} |", figures.join(" | "));
    }
}

fn reads_in_an_hour(measured: &Measured) -> String {
    let of = |class| {
        let of_a_poll = number(measured.steady.count(Verb::Read, Some(class))) / number(measured.steady.polls.count);
        of_a_poll * measured.polls_in_an_interval() * 60.0
    };
    format!("{:.0}, {:.0}", of(Class::Assignment), of(Class::Remote))
}

/// What a host asks in an hour, at the pace of this while.
fn in_an_hour(figures: &Figures, verb: Verb) -> f64 {
    number(figures.count(verb, None)) / number(figures.hosts) / figures.seconds * 3600.0
}

fn other_requests(figures: &Figures) -> usize {
    let all: usize = figures.requests.iter().map(|requests| requests.count).sum();
    let polls = [Class::Assignment, Class::Remote].map(|class| figures.count(Verb::Read, Some(class)));
    all - polls.iter().sum::<usize>()
}

fn latency(latency: Option<Latency>) -> String {
    latency.map_or("-".to_owned(), |Latency { p50, p99, max }| format!("{p50:.1}, {p99:.1}, {max:.1} ms"))
}

fn spread(figures: &Figures) -> String {
    let spread = figures.polls.spread;
    format!("{} ({:.0}, {})", spread.busiest, spread.mean, spread.by_chance)
}
