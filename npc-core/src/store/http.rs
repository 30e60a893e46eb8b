//! A store behind HTTP: `npc-publish serve`, or, for reading, any web server.
//!
//! Conditional requests follow RFC 9110 (sections 13 and 14), waiting follows RFC 7240 (`Prefer: wait=N`).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use serde::Deserialize;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use super::error::Asked;
use super::transport::{Arrival, install_crypto, unasked, upload_patience};
use super::url::is_loopback;
use super::{
    Answer, Content, ETag, Fault, Listed, Opened, Operation, Options, Patience, Precondition, Read, Retries, Store,
    StoreError, StoreUrl,
};
use crate::layout::{ObjectKey, ObjectKeyError};
use crate::limits;

/// RFC 7240, section 2.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// RFC 7240, section 3.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest listing, in bytes.
const LISTING_BYTES: u64 = 64 * 1024 * 1024;

/// A bearer token. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

/// A token that is none, or that would be sent in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Empty, or with characters that cannot stand in a header.
    #[error("a store token is 16 or more visible ASCII characters without spaces")]
    Form,
    /// Off this machine, whoever sees the traffic could write to the store.
    #[error("a token would be sent to {0} in the clear; use https://")]
    Clear(String),
}

impl Token {
    /// The token of this text, less white space around it.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() < 16 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Form);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The text to be sent or compared.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// One object in the answer of npc's own server to a listing.
#[derive(Debug, Deserialize)]
struct ListedObject {
    key: String,
    size: u64,
    /// As RFC 3339 has it. Older servers say neither this nor the version, and what cannot be read is not known either.
    modified: Option<String>,
    etag: Option<String>,
}

impl ListedObject {
    fn parse(self) -> Result<Listed, ObjectKeyError> {
        let modified = self.modified.and_then(|time| time.parse().ok());
        Ok(Listed { key: self.key.parse()?, size: self.size, modified, etag: self.etag.and_then(ETag::new) })
    }
}

/// A store behind HTTP.
#[derive(Debug)]
pub struct HttpStore {
    base: Url,
    url: StoreUrl,
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
    retries: Retries,
    patience: Patience,
}

impl HttpStore {
    /// The store whose keys are relative to `base`.
    pub fn new(base: Url, options: Options) -> Result<Self, TokenError> {
        let authorization = match options.token {
            Some(_) if base.scheme() == "http" && !is_loopback(&base) => {
                return Err(TokenError::Clear(base.to_string()));
            }
            Some(token) => {
                let mut value =
                    HeaderValue::try_from(format!("Bearer {}", token.reveal())).map_err(|_| TokenError::Form)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        install_crypto();
        let mut client = reqwest::Client::builder();
        if is_loopback(&base) {
            // What is meant for this machine must not leave it by way of a proxy, least of all with a token.
            client = client.no_proxy();
        }
        let client = client
            .user_agent(concat!("npc/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.patience.connect)
            .redirect(redirect::Policy::limited(5))
            .https_only(base.scheme() == "https")
            .pool_max_idle_per_host(options.connections.0)
            .build()
            .expect("a client without exotic options can be built");
        Ok(Self {
            url: StoreUrl::Http(base.clone()),
            base,
            client,
            authorization,
            retries: options.retries,
            patience: options.patience,
        })
    }

    fn asked<'a>(&'a self, operation: Operation, object: &'a str) -> Asked<'a> {
        Asked { operation, object, store: &self.url }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.base.join(path).expect("a key is a relative path");
        let request = self.client.request(method, url);
        match &self.authorization {
            Some(value) => request.header(header::AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends a request and waits at most `patience` for the answer's head. An error status becomes an error.
    async fn send(
        &self,
        asked: Asked<'_>,
        request: RequestBuilder,
        patience: Duration,
    ) -> Result<Response, StoreError> {
        let answer = tokio::time::timeout(patience, request.send())
            .await
            .map_err(|_| asked.failed(Fault::Unavailable, format!("no answer within {} s", patience.as_secs())))?;
        let response = answer.map_err(|error| asked.failed(fault_of_transport(&error), error.without_url()))?;
        match fault_of_status(response.status()) {
            Some(fault) => Err(asked.failed(fault, status_message(&response))),
            None => Ok(response),
        }
    }

    async fn read_once(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        let asked = self.asked(Operation::Read, key.as_str());
        let mut request = self.request(Method::GET, key.as_str());
        let mut patience = self.patience.stall;
        // Asked also where there is nothing to wait for yet: the answer says whether the store would.
        if let Some(wait) = read.wait.map(|wait| wait.min(limits::LONGEST_WAIT)) {
            request = request.header(PREFER, format!("wait={}", wait.as_secs()));
            patience += wait;
        }
        if let Some(etag) = read.unless {
            request = request.header(header::IF_NONE_MATCH, etag.as_str());
        }
        let response = self.send(asked, request, patience).await?;
        let waited = honours_wait(response.headers());
        if response.status() == StatusCode::NOT_MODIFIED {
            return if read.unless.is_some() { Ok(Answer::Unchanged { waited }) } else { Err(unasked(asked)) };
        }
        let etag = etag_of(response.headers());
        let bytes = self.collect(asked, response, read.limit).await?;
        Ok(Answer::Found { bytes, etag, waited })
    }

    async fn collect(&self, asked: Asked<'_>, mut response: Response, limit: u64) -> Result<Bytes, StoreError> {
        let too_large = || asked.failed(Fault::TooLarge, format!("it has more than the {limit} bytes allowed"));
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut bytes = BytesMut::new();
        let mut arrival = Arrival::begin();
        while let Some(piece) = next_piece(asked, &mut response, self.patience.stall).await? {
            arrival.takes(&piece, asked, self.patience.stall)?;
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    async fn open_once(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        let asked = self.asked(Operation::Read, key.as_str());
        let mut request = self.request(Method::GET, key.as_str());
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
            if let Some(version) = version {
                request = request.header(header::IF_RANGE, version.as_str());
            }
        }
        let response = self.send(asked, request, self.patience.stall).await?;
        let start = if response.status() == StatusCode::PARTIAL_CONTENT { start } else { 0 };
        let etag = etag_of(response.headers());
        let (store, object, patience) = (self.url.clone(), key.to_string(), self.patience.stall);
        let state = (response, Arrival::begin());
        let body = futures_util::stream::try_unfold(state, move |(mut response, mut arrival)| {
            let (store, object) = (store.clone(), object.clone());
            async move {
                let asked = Asked { operation: Operation::Read, object: &object, store: &store };
                let Some(piece) = next_piece(asked, &mut response, patience).await? else { return Ok(None) };
                arrival.takes(&piece, asked, patience)?;
                Ok(Some((piece, (response, arrival))))
            }
        });
        Ok(Opened { etag, start, body: Box::pin(body) })
    }

    async fn write_once(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: &Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let asked = self.asked(Operation::Write, key.as_str());
        let mut request = self.request(Method::PUT, key.as_str());
        request = match precondition {
            Precondition::None => request,
            Precondition::Absent => request.header(header::IF_NONE_MATCH, "*"),
            Precondition::Version(etag) => request.header(header::IF_MATCH, etag.as_str()),
        };
        let length;
        request = match content {
            Content::Bytes(bytes) => {
                length = bytes.len() as u64;
                request.body(bytes.to_vec())
            }
            Content::File(path) => {
                let failed = |error: std::io::Error| asked.failed(Fault::Broken, error);
                let file = tokio::fs::File::open(path).await.map_err(failed)?;
                length = file.metadata().await.map_err(failed)?.len();
                request.header(header::CONTENT_LENGTH, length).body(file)
            }
        };
        let response = self.send(asked, request, upload_patience(self.patience, length)).await?;
        Ok(etag_of(response.headers()))
    }

    async fn list_once(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let asked = self.asked(Operation::List, prefix);
        let request = self.request(Method::GET, prefix).header(header::ACCEPT, "application/json");
        let response = self.send(asked, request, self.patience.stall).await.map_err(|mut error| {
            if error.fault == Fault::NotFound {
                error.fault = Fault::Unsupported;
            }
            error
        })?;
        let bytes = self.collect(asked, response, LISTING_BYTES).await?;
        let objects: Vec<ListedObject> =
            serde_json::from_slice(&bytes).map_err(|error| asked.failed(Fault::Unsupported, error))?;
        let listed: Result<_, _> = objects.into_iter().map(ListedObject::parse).collect();
        listed.map_err(|error| asked.failed(Fault::Broken, error))
    }
}

fn honours_wait(headers: &HeaderMap) -> bool {
    headers
        .get_all(PREFERENCE_APPLIED)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|applied| applied.trim().starts_with("wait")))
}

fn etag_of(headers: &HeaderMap) -> Option<ETag> {
    headers.get(header::ETAG).and_then(|value| value.to_str().ok()).and_then(ETag::new)
}

fn fault_of_status(status: StatusCode) -> Option<Fault> {
    Some(match status {
        StatusCode::NOT_MODIFIED => return None,
        status if status.is_success() => return None,
        StatusCode::NOT_FOUND | StatusCode::GONE => Fault::NotFound,
        StatusCode::UNAUTHORIZED => Fault::BadCredentials,
        StatusCode::FORBIDDEN => Fault::Denied,
        StatusCode::PRECONDITION_FAILED => Fault::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE => Fault::TooLarge,
        StatusCode::INSUFFICIENT_STORAGE => Fault::Full,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Fault::Unsupported,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Fault::Unavailable,
        status if status.is_server_error() => Fault::Unavailable,
        _ => Fault::Broken,
    })
}

fn status_message(response: &Response) -> String {
    format!("the server answered {}", response.status())
}

/// What is wrong with the request itself stays wrong; a broken connection may pass, also in the middle of a body.
fn fault_of_transport(error: &reqwest::Error) -> Fault {
    if error.is_builder() || error.is_redirect() || is_about_a_certificate(error) {
        Fault::Broken
    } else {
        Fault::Unavailable
    }
}

/// TLS errors arrive wrapped in I/O errors, one inside another, which do not show them among their causes.
fn is_about_a_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
        return true;
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(inner) => is_about_a_certificate(inner),
        None => error.source().is_some_and(is_about_a_certificate),
    }
}

async fn next_piece(
    asked: Asked<'_>,
    response: &mut Response,
    patience: Duration,
) -> Result<Option<Bytes>, StoreError> {
    tokio::time::timeout(patience, response.chunk())
        .await
        .map_err(|_| asked.failed(Fault::Unavailable, "the body stalled"))?
        .map_err(|error| asked.failed(fault_of_transport(&error), error.without_url()))
}

#[async_trait]
impl Store for HttpStore {
    fn url(&self) -> &StoreUrl {
        &self.url
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        self.retries.run(|| self.read_once(key, read)).await
    }

    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        self.retries.run(|| self.open_once(key, start, version)).await
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        self.retries.run(|| self.write_once(key, content, &precondition)).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let asked = self.asked(Operation::Remove, key.as_str());
        let request = || self.send(asked, self.request(Method::DELETE, key.as_str()), self.patience.stall);
        match self.retries.run(request).await {
            Err(error) if error.fault != Fault::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.retries.run(|| self.list_once(prefix)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_says_no_times_and_versions_or_none_that_can_be_read_is_a_listing() {
        let text = r#"[{"key":"archives/a","size":1},{"key":"archives/b","size":2,"modified":null},
            {"key":"archives/c","size":3,"modified":"yesterday"},
            {"key":"archives/d","size":4,"modified":"2026-01-01T00:00:00Z","etag":"\"1\"","more":true},
            {"key":"archives/e","size":5,"etag":""}]"#;
        let objects: Vec<ListedObject> = serde_json::from_str(text).expect("a listing");
        let known = |listed: Listed| (listed.modified, listed.etag.map(|etag| etag.to_string()));
        let known: Vec<_> = objects.into_iter().map(|object| known(object.parse().expect("keys"))).collect();
        let dated = (Some("2026-01-01T00:00:00Z".parse().expect("a time")), Some("\"1\"".to_owned()));
        assert_eq!(known, [(None, None), (None, None), (None, None), dated, (None, None)]);
    }
}
