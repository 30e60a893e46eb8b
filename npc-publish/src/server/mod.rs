//! The embedded HTTP store: a directory behind conditional requests (RFC 9110) and `Prefer: wait` (RFC 7240).
//!
//! Objects live in a [`DirectoryStore`], so that what it promises holds here: no torn object after a kill, and one winner
//! among writers, also with a publisher that writes to the same directory without asking this server. What changes in the
//! directory is noticed through the kernel and wakes those who wait ([`changes`]).

mod access;
mod changes;
mod current;
mod requests;
mod stamp;
mod tokens;
mod versions;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use npc_core::layout::ObjectKey;
use npc_core::store::DirectoryStore;
use tokio::net::TcpListener;

use self::changes::{Changes, Listener};
pub(crate) use self::current::Current;
pub(crate) use self::tokens::{Sources, TokensError};
use self::versions::Versions;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests under way may take after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How to serve.
pub(crate) struct Settings {
    /// Who is known by which token.
    pub(crate) tokens: Arc<Current>,
    /// The longest wait for a change that is granted.
    pub(crate) longest_wait: Duration,
    /// How many may wait at once.
    pub(crate) most_waiting: usize,
}

/// The server.
pub(crate) struct Server {
    store: DirectoryStore,
    settings: Settings,
    changes: Changes,
    versions: Versions,
    waiting: AtomicUsize,
}

impl Server {
    /// Begins to watch the store's directory.
    pub(crate) fn new(store: DirectoryStore, settings: Settings) -> notify::Result<Self> {
        let changes = Changes::watch(store.root())?;
        Ok(Self { store, settings, changes, versions: Versions::default(), waiting: AtomicUsize::new(0) })
    }

    /// Serves until `stopped`, then lets requests under way end, but not for long; who waits is answered at once.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener, stopped: impl Future<Output = ()>) {
        let router = Router::new()
            .fallback(requests::answer)
            .layer(middleware::from_fn(access_log))
            .with_state(Arc::clone(&self));
        let service = TowerToHyperService::new(router);
        let keeping_up = tokio::spawn(Arc::clone(&self.settings.tokens).keep_up());
        let graceful = GracefulShutdown::new();
        tokio::pin!(stopped);
        loop {
            let (stream, client) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, mostly: connections that end make room.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                () = &mut stopped => break,
            };
            // A head and a body in two packets, the second held back until the first is acknowledged, take 40 ms.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot have answers sent at once");
            }
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), told_of(client, service.clone()));
            let watched = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = watched.await {
                    tracing::debug!(%error, "a connection broke");
                }
            });
        }
        keeping_up.abort();
        self.changes.stop();
        if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
    }

    /// A listener that hears of everything that happens to an object from now on.
    fn listen(&self, key: &ObjectKey) -> Listener {
        self.changes.listen(self.store.root().join(key.as_str()))
    }

    /// A place among those who wait, if one is free.
    fn place_to_wait(&self) -> Option<Place<'_>> {
        let taken = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.waiting);
        (taken < self.settings.most_waiting).then_some(place)
    }
}

/// A place among those who wait, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
struct Client(SocketAddr);

/// A service whose requests know their client.
fn told_of(
    client: SocketAddr,
    service: TowerToHyperService<Router>,
) -> impl Service<hyper::Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Client(client));
        service.call(request)
    })
}

/// One line a request: the client, what it asked for, the answer's status, the bytes sent or, of a write, received.
async fn access_log(request: Request, next: Next) -> Response {
    let (method, path, begun) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let client = request.extensions().get::<Client>().map_or("-".to_owned(), |client| client.0.ip().to_string());
    let length_in = |headers: &HeaderMap| {
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    let received = (method == Method::PUT).then(|| length_in(request.headers()));
    let response = next.run(request).await;
    let length = received.unwrap_or_else(|| length_in(response.headers()));
    let milliseconds = begun.elapsed().as_millis();
    tracing::info!(
        target: "npc_publish::access",
        "{client} {method} {path} {} {length} B {milliseconds} ms",
        response.status().as_u16()
    );
    response
}

/// What handlers share.
type Shared = State<Arc<Server>>;
