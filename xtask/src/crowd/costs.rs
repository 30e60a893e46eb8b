//! What requests cost on S3 in a month.

use super::Measured;

/// US dollars for a GET: S3 Standard in us-east-1, <https://aws.amazon.com/s3/pricing/>.
const GET: f64 = 0.0004 / 1000.0;

/// US dollars for a PUT or a LIST.
const PUT: f64 = 0.005 / 1000.0;

/// Hours in a month, on the average.
const HOURS: f64 = 730.0;

/// Polls in an hour with the default interval of a minute.
const INTERVALS_IN_AN_HOUR: f64 = 60.0;

/// Reports in an hour in which nothing changes, with the default heartbeat of half an hour.
const REPORTS_IN_AN_HOUR: f64 = 2.0;

/// The sizes of fleets.
const FLEETS: [u32; 3] = [100, 1_000, 10_000];

/// What one host costs, in US dollars.
struct Host {
    /// For a month of polls.
    polls: f64,
    /// For a month of reports in which nothing changes.
    reports: f64,
    /// For taking in one release.
    release: f64,
}

impl Host {
    /// A host with the default settings, whose polls and releases take as many requests as was measured.
    fn of(measured: &Measured) -> Self {
        let polls = measured.polls_in_an_interval() * INTERVALS_IN_AN_HOUR * HOURS;
        Self {
            polls: polls * measured.reads_of_a_poll() * GET,
            reports: REPORTS_IN_AN_HOUR * HOURS * PUT,
            release: measured.reads_of_a_release() * GET + measured.writes_of_a_release() * PUT,
        }
    }
}

/// Prints the costs of fleets of several sizes, as measured with a store that makes nobody wait.
pub(super) fn print_costs(measured: &Measured) {
    let host = Host::of(measured);
    println!("| S3 requests in a month, in US dollars | polls | reports | both | each release |");
    println!("|---|---|---|---|---|");
    for hosts in FLEETS.map(f64::from) {
        let Host { polls, reports, release } = host;
        println!(
            "| {hosts} hosts | {:.2} | {:.2} | {:.2} | {:.4} |",
            polls * hosts,
            reports * hosts,
            (polls + reports) * hosts,
            release * hosts
        );
    }
}
