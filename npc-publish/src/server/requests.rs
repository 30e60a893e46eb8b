//! Answering requests.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use npc_core::digest::Hashing;
use npc_core::layout::{self, ObjectKey};
use npc_core::limits;
use npc_core::store::{ETag, Fault, Listed, PREFER, PREFERENCE_APPLIED, Precondition, Store as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::access::{self, Act, Bearer};
use super::changes::Woken;
use super::{Server, Shared};

/// What an error is answered with: a status and a sentence.
type Refused = (StatusCode, &'static str);

/// Told to whoever bears no token that is known.
const TOKEN_NEEDED: Refused = (StatusCode::UNAUTHORIZED, "a token is needed");

pub(super) async fn answer(State(server): Shared, request: Request) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix('/').unwrap_or(path).to_owned();
    let answered = match server.settings.tokens.get().bearer(request.headers()) {
        None => Err(TOKEN_NEEDED),
        Some(_) => match *request.method() {
            Method::GET if path.is_empty() || path.ends_with('/') => list(&server, request.headers(), &path).await,
            Method::GET | Method::HEAD => read(server, request, &path).await,
            Method::PUT => write(server, request, &path).await,
            Method::DELETE => remove(&server, request.headers(), &path).await,
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD, PUT and DELETE")),
        },
    };
    let mut response = answered.unwrap_or_else(|(status, sentence)| (status, format!("{sentence}\n")).into_response());
    if response.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110, section 15.5.2, and RFC 6750, section 3.
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Lets a request go on, by the tokens of this moment, as its bearer's; whoever is refused learns nothing of what there is.
fn admit(server: &Server, headers: &HeaderMap, act: Act<'_>) -> Result<Bearer, Refused> {
    let tokens = server.settings.tokens.get();
    match tokens.bearer(headers) {
        Some(bearer) if access::allows(&bearer, act) => Ok(bearer),
        Some(Bearer::Anyone) if !tokens.are_there() => Err((StatusCode::FORBIDDEN, "this store can only be read")),
        Some(Bearer::Anyone) | None => Err(TOKEN_NEEDED),
        Some(_) => Err((StatusCode::FORBIDDEN, "this token does not allow it")),
    }
}

fn parse(path: &str) -> Result<ObjectKey, Refused> {
    path.parse().map_err(|_| (StatusCode::NOT_FOUND, "no such object"))
}

fn broken(error: &io::Error) -> Refused {
    tracing::error!(%error, "the store's directory failed");
    (StatusCode::INTERNAL_SERVER_ERROR, "the store's directory failed")
}

/// Runs file work where it does not hold up other connections.
async fn off_the_reactor<T: Send + 'static>(
    server: &Arc<Server>,
    work: impl FnOnce(&Server) -> io::Result<T> + Send + 'static,
) -> Result<T, Refused> {
    let server = Arc::clone(server);
    match tokio::task::spawn_blocking(move || work(&server)).await {
        Ok(result) => result.map_err(|error| broken(&error)),
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

async fn version(server: &Arc<Server>, key: &ObjectKey) -> Result<Option<ETag>, Refused> {
    let key = key.clone();
    off_the_reactor(server, move |server| server.versions.of(&server.store, &key)).await
}

/// RFC 9110, section 13.1.2: a list of tags, or `*`; weak comparison.
fn names(header: Option<&HeaderValue>, etag: &ETag) -> bool {
    let tags = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == "*" || tag == etag.as_str())
}

/// RFC 7240, section 4.3: `wait=N`, in seconds.
fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';']));
    let seconds = preferences.find_map(|preference| preference.trim().strip_prefix("wait="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

async fn read(server: Arc<Server>, request: Request, path: &str) -> Result<Response, Refused> {
    let key = parse(path)?;
    let headers = request.headers();
    admit(&server, headers, Act::Read(&key))?;
    let unless = headers.get(header::IF_NONE_MATCH);
    let wait = wait_asked(headers).map(|wait| wait.min(server.settings.longest_wait)).filter(|wait| !wait.is_zero());
    let mut place = wait.and_then(|wait| Some((wait, server.place_to_wait()?, server.listen(&key))));
    let applied = place.as_ref().map(|(wait, ..)| *wait);
    let mut etag = version(&server, &key).await?;
    if let Some((wait, _, listener)) = &mut place {
        let deadline = tokio::time::Instant::now() + *wait;
        while etag.as_ref().is_some_and(|etag| names(unless, etag)) {
            tracing::debug!(%key, "waiting for a change");
            match tokio::time::timeout_at(deadline, listener.next()).await {
                Ok(Woken::Changed) => etag = version(&server, &key).await?,
                Ok(Woken::Stopped) | Err(_) => break,
            }
        }
        // Meanwhile a token may have been revoked.
        admit(&server, headers, Act::Read(&key))?;
    }
    let Some(etag) = etag else { return Err((StatusCode::NOT_FOUND, "no such object")) };
    let mut response = if names(unless, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content(&server, &key, request.method(), headers, &etag).await?
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_str(etag.as_str()).expect("a version is a header's value"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(wait) = applied {
        headers.insert(PREFERENCE_APPLIED, format!("wait={}", wait.as_secs()).try_into().expect("digits"));
    }
    Ok(response)
}

async fn content(
    server: &Arc<Server>,
    key: &ObjectKey,
    method: &Method,
    headers: &HeaderMap,
    etag: &ETag,
) -> Result<Response, Refused> {
    let same = headers.get(header::IF_RANGE).is_none_or(|value| names(Some(value), etag));
    let start = if same { range_start(headers) } else { None };
    let path = server.store.root().join(key.as_str());
    let (file, size) = off_the_reactor(server, move |_| {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start.unwrap_or(0)))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    })
    .await?;
    let start = match start {
        Some(start) if start >= size => return Err((StatusCode::RANGE_NOT_SATISFIABLE, "nothing there")),
        start => start,
    };
    let length = size - start.unwrap_or(0);
    let body = if *method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file).take(length)))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(start) = start {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {start}-{}/{size}", size - 1);
        response.headers_mut().insert(header::CONTENT_RANGE, range.try_into().expect("digits and dashes"));
    }
    Ok(response)
}

/// Only `bytes=N-` is understood, which is how downloads are resumed; RFC 9110, section 14.2, allows to ignore the rest.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

async fn write(server: Arc<Server>, request: Request, path: &str) -> Result<Response, Refused> {
    let key = parse(path)?;
    let bearer = admit(&server, request.headers(), Act::Write(&key))?;
    let precondition = precondition(request.headers())?;
    let temporary = off_the_reactor(&server, |server| server.store.temporary()).await;
    let (file, temporary) = temporary.map_err(|_| (StatusCode::INSUFFICIENT_STORAGE, "there is no room"))?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let most = access::most_bytes(&bearer);
    let received = receive(request.into_body().into_data_stream(), &mut file, most).await?;
    let temporary = tempfile::NamedTempFile::from_parts(file.into_std().await, temporary);
    let ((), digest, _) = received.finish();
    if key.as_str().starts_with("archives/") && key != layout::archive(&digest) {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "an archive is named by its SHA-256"));
    }
    let (worker, target) = (Arc::clone(&server), key.clone());
    let written = tokio::task::spawn_blocking(move || worker.store.settle(temporary, &target, &precondition)).await;
    let etag = match written {
        Ok(Ok(etag)) => etag,
        Ok(Err(error)) => {
            return Err(match error.fault {
                Fault::Conflict => (StatusCode::PRECONDITION_FAILED, "someone else wrote it first"),
                Fault::Full => (StatusCode::INSUFFICIENT_STORAGE, "the disk is full"),
                _ => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot write an object");
                    (StatusCode::INTERNAL_SERVER_ERROR, "the store's directory failed")
                }
            });
        }
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(etag) = etag {
        let value = HeaderValue::from_str(etag.as_str()).expect("a version is a header's value");
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, Refused> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default().to_owned());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::None),
        (None, Some(any)) if any == "*" => Ok(Precondition::Absent),
        (Some(tag), None) => ETag::new(tag).map(Precondition::Version).ok_or((StatusCode::BAD_REQUEST, "not a tag")),
        _ => Err((StatusCode::BAD_REQUEST, "a write takes If-Match with one tag or If-None-Match: *")),
    }
}

/// Takes in a body: bounded in length, and in how long its sender may be silent.
async fn receive(mut body: BodyDataStream, file: &mut tokio::fs::File, most: u64) -> Result<Hashing<()>, Refused> {
    use tokio::io::AsyncWriteExt as _;
    let write_failed = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (StatusCode::INSUFFICIENT_STORAGE, "the disk is full")
        }
        _ => broken(&error),
    };
    let mut hashing = Hashing::new(());
    loop {
        let next = tokio::time::timeout(limits::STALL_TIMEOUT, body.next()).await;
        let piece = match next.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body stalled"))? {
            None => break,
            Some(Ok(piece)) => piece,
            Some(Err(_)) => return Err((StatusCode::BAD_REQUEST, "the body broke off")),
        };
        if hashing.length() + piece.len() as u64 > most {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "no such object is so large"));
        }
        file.write_all(&piece).await.map_err(write_failed)?;
        hashing.update(&piece);
    }
    file.flush().await.map_err(write_failed)?;
    Ok(hashing)
}

async fn remove(server: &Server, headers: &HeaderMap, path: &str) -> Result<Response, Refused> {
    let key = parse(path)?;
    admit(server, headers, Act::Remove(&key))?;
    // What was signed once stays: its serial could be signed again for something else. An archive is its digest's.
    if key.is_immutable() && !key.as_str().starts_with("archives/") {
        return Err((StatusCode::FORBIDDEN, "this object is never removed"));
    }
    let removed = server.store.remove(&key).await;
    removed.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot remove an object");
        (StatusCode::INTERNAL_SERVER_ERROR, "the store's directory failed")
    })
}

async fn list(server: &Arc<Server>, headers: &HeaderMap, prefix: &str) -> Result<Response, Refused> {
    admit(server, headers, Act::List)?;
    let safe = prefix.split('/').all(|segment| !segment.starts_with('.'));
    if !safe || prefix.is_empty() {
        return Err((StatusCode::NOT_FOUND, "no such prefix"));
    }
    let listed = server.store.list(prefix).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot list");
        (StatusCode::INTERNAL_SERVER_ERROR, "the store's directory failed")
    })?;
    let objects: Vec<_> =
        off_the_reactor(server, move |server| listed.iter().map(|object| described(server, object)).collect()).await?;
    let body = serde_json::to_vec(&objects).expect("text and numbers are valid JSON");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// An object as listings have it. What never changes needs no version, and archives would take long to hash.
fn described(server: &Server, object: &Listed) -> io::Result<Value> {
    let etag = if object.key.is_immutable() { None } else { server.versions.of(&server.store, &object.key)? };
    let etag = etag.as_ref().map(ETag::as_str);
    Ok(json!({ "key": object.key.as_str(), "size": object.size, "modified": object.modified, "etag": etag }))
}
