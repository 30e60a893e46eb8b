//! Figures for Prometheus, on a Unix socket or an address.
//!
//! | metric | meaning |
//! |---|---|
//! | `npc_last_poll_timestamp_seconds` | when the store last answered |
//! | `npc_last_change_timestamp_seconds` | when the committed system began to run |
//! | `npc_phase{phase}` | 1 for the phase that the agent is in |
//! | `npc_serial{remote}` | the committed release |
//! | `npc_polls_total{result}` | polls by result: `answered`, or the kind of error |
//! | `npc_outcomes_total{outcome,error}` | ends of attempts since the agent began to run, by kind and kind of error |
//! | `npc_quarantined_systems` | systems that are not tried again |
//! | `npc_reboot_needed` | 1 while a reboot is due |
//! | `npc_changed_by_hand` | 1 while a system runs that somebody activated by hand |
//! | `npc_paused` | 1 while the host is paused |
//! | `npc_poll_seconds` | how long asking takes, waiting for changes left out |
//! | `npc_agent_info{version}` | 1 |

use std::convert::Infallible;
use std::fs;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use npc_core::Timestamp;
use npc_core::document::Outcome;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::machine::Journal;
use crate::settings::Listen;

/// The content type of the text format (`OpenMetrics` 1.0.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many may ask at once.
const READERS: usize = 8;

/// How long a reader may take.
const READER_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RemoteLabel {
    remote: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: String,
    error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabel {
    version: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    last_poll: Seconds,
    last_change: Seconds,
    phase: Family<PhaseLabel, Gauge>,
    serial: Family<RemoteLabel, Gauge>,
    polls: Family<ResultLabel, Counter>,
    outcomes: Family<OutcomeLabel, Counter>,
    quarantined: Gauge,
    reboot_needed: Gauge,
    by_hand: Gauge,
    paused: Gauge,
    poll_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("npc");
        let metrics = Self {
            last_poll: Seconds::default(),
            last_change: Seconds::default(),
            phase: Family::default(),
            serial: Family::default(),
            polls: Family::default(),
            outcomes: Family::default(),
            quarantined: Gauge::default(),
            reboot_needed: Gauge::default(),
            by_hand: Gauge::default(),
            paused: Gauge::default(),
            // From a millisecond to half a minute.
            poll_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            registry: Registry::default(),
        };
        registry.register("last_poll_timestamp_seconds", "When the store last answered", metrics.last_poll.clone());
        let help = "When the committed system began to run";
        registry.register("last_change_timestamp_seconds", help, metrics.last_change.clone());
        registry.register("phase", "The phase that the agent is in", metrics.phase.clone());
        registry.register("serial", "The committed release", metrics.serial.clone());
        registry.register("polls", "Polls by result", metrics.polls.clone());
        registry.register("outcomes", "Ends of attempts", metrics.outcomes.clone());
        registry.register("quarantined_systems", "Systems that are not tried again", metrics.quarantined.clone());
        registry.register("reboot_needed", "Whether a reboot is due", metrics.reboot_needed.clone());
        registry.register("changed_by_hand", "Whether a system was activated by hand", metrics.by_hand.clone());
        registry.register("paused", "Whether the host is paused", metrics.paused.clone());
        registry.register("poll_seconds", "How long asking takes", metrics.poll_seconds.clone());
        let info: Family<InfoLabel, Gauge> = Family::default();
        info.get_or_create(&InfoLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("agent_info", "The agent", info);
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// A poll ended.
    pub fn polled(&self, error: Option<&str>, took: Option<Duration>, now: Timestamp) {
        let result = error.unwrap_or("answered").to_owned();
        self.polls.get_or_create(&ResultLabel { result }).inc();
        if error.is_none() {
            self.last_poll.set(seconds(now));
        }
        if let Some(took) = took {
            self.poll_seconds.observe(took.as_secs_f64());
        }
    }

    /// An attempt ended.
    pub fn ended(&self, outcome: &Outcome) {
        let kind = serde_json::to_value(outcome.kind).ok();
        let outcome_word = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
        let error = outcome.error.clone().unwrap_or_default();
        self.outcomes.get_or_create(&OutcomeLabel { outcome: outcome_word, error }).inc();
    }

    /// The journal says this now.
    pub fn reflect(&self, journal: &Journal, paused: bool) {
        self.phase.clear();
        self.phase.get_or_create(&PhaseLabel { phase: journal.phase.word() }).set(1);
        self.serial.clear();
        if let Some(committed) = &journal.committed {
            let label = RemoteLabel { remote: committed.target.remote.to_string() };
            self.serial.get_or_create(&label).set(i64::try_from(committed.target.serial.get()).unwrap_or(i64::MAX));
            self.last_change.set(seconds(committed.since));
        }
        self.quarantined.set(i64::try_from(journal.quarantine.len()).unwrap_or(i64::MAX));
        self.reboot_needed.set(journal.reboot.is_some().into());
        self.by_hand.set(journal.by_hand.is_some().into());
        self.paused.set(paused.into());
    }

    fn text(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("a string takes everything");
        page
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double for a long time yet")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// Serves the figures until the agent ends.
pub async fn serve(metrics: Rc<Metrics>, listen: &Listen) -> io::Result<Infallible> {
    let readers = Arc::new(Semaphore::new(READERS));
    match listen {
        Listen::Unix(path) => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            loop {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                answer_or_wait(&metrics, &readers, accepted).await;
            }
        }
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            loop {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                answer_or_wait(&metrics, &readers, accepted).await;
            }
        }
    }
}

/// A reader that could not be let in, for want of file descriptors or because it hung up, is no reason to shut out the rest.
async fn answer_or_wait(
    metrics: &Rc<Metrics>,
    readers: &Arc<Semaphore>,
    accepted: io::Result<impl AsyncRead + AsyncWrite + Unpin + 'static>,
) {
    match accepted {
        Ok(stream) => answer(Rc::clone(metrics), Arc::clone(readers), stream),
        Err(error) => {
            tracing::warn!(kind = "metrics", %error, "a reader of the figures could not be let in");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn answer(metrics: Rc<Metrics>, readers: Arc<Semaphore>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let Ok(permit) = readers.try_acquire_owned() else { return };
    tokio::task::spawn_local(async move {
        let page = service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(respond(&metrics, &request)));
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(READER_PATIENCE).keep_alive(false);
        let served = tokio::time::timeout(READER_PATIENCE, http.serve_connection(TokioIo::new(stream), page)).await;
        if let Ok(Err(error)) = served {
            tracing::debug!(%error, "a reader of the figures went away");
        }
        drop(permit);
    });
}

fn respond(metrics: &Metrics, request: &Request<Incoming>) -> Response<String> {
    let mut response = Response::new(String::new());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if request.method() != Method::GET {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    } else {
        *response.body_mut() = metrics.text();
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(OPEN_METRICS));
    }
    response
}
