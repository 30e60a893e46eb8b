//! A store in an S3 bucket, or in whatever speaks S3's protocol.
//!
//! Credentials come from the AWS SDK's standard chain. The SDK retries what may pass (throttling, 5xx, broken connections)
//! with exponential back-off and jitter, and watches for stalled bodies.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryPartition, TokenBucket};
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_smithy_http_client::{Builder, tls};
use bytes::BytesMut;

use super::error::Asked;
use super::transport::{Arrival, unasked, upload_patience};
use super::{
    Answer, Content, ETag, Fault, Listed, Opened, Operation, Options, Patience, Precondition, Read, Retries, S3Url,
    Store, StoreError, StoreUrl,
};
use crate::Timestamp;
use crate::layout::ObjectKey;
use crate::limits;

/// How often a write is tried again that S3 refuses with 409: "a conflicting operation occurred during the upload"
/// (Amazon S3 User Guide, conditional writes), which asks for another try.
const CONTENDED_ATTEMPTS: u32 = 5;

/// A store in a bucket.
#[derive(Debug)]
pub struct S3Store {
    address: S3Url,
    url: StoreUrl,
    client: Client,
    retries: Retries,
    patience: Patience,
}

/// The SDK takes throttling for what S3's error code says it is; other services only say 429 (RFC 6585, section 4).
#[derive(Debug)]
struct TooManyRequests;

impl ClassifyRetry for TooManyRequests {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().as_u16() == 429 => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "429"
    }
}

/// An answer that began and did not end.
struct BodyBroke(StoreError);

impl S3Store {
    /// The store at `address`, with credentials from the SDK's standard chain.
    pub async fn new(address: S3Url, options: &Options) -> Self {
        let (retries, patience) = (options.retries, options.patience);
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .pool_max_idle_per_host(options.connections.0)
            .build_https();
        let retry = RetryConfig::standard()
            .with_max_attempts(retries.attempts)
            .with_initial_backoff(retries.first_pause)
            .with_max_backoff(retries.longest_pause);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(retry)
            .timeout_config(timeouts(patience, patience.stall))
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(patience.stall).build());
        if let Some(region) = &address.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let shared = loader.load().await;
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .retry_classifier(TooManyRequests)
            // Each request has its own bound; a quota for all of them is used up by an outage, and wanted right after it.
            .retry_partition(RetryPartition::custom("npc").token_bucket(TokenBucket::unlimited()).build())
            // Content is checked against signed digests; checksums of the SDK's own only trouble older services.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &address.endpoint {
            config = config.endpoint_url(endpoint.as_str()).force_path_style(true);
        }
        Self {
            url: StoreUrl::S3(address.clone()),
            client: Client::from_conf(config.build()),
            address,
            retries,
            patience,
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.address.prefix)
    }

    fn asked<'a>(&'a self, operation: Operation, object: &'a str) -> Asked<'a> {
        Asked { operation, object, store: &self.url }
    }

    /// Reads once. The SDK tries again until an answer begins, but not if its body then breaks off.
    async fn read_once(&self, key: &ObjectKey, read: Read<'_>) -> Result<Result<Answer, StoreError>, BodyBroke> {
        let asked = self.asked(Operation::Read, key.as_str());
        let request = self.client.get_object().bucket(&self.address.bucket).key(self.key(key.as_str()));
        let object = match request.set_if_none_match(read.unless.map(ETag::to_string)).send().await {
            Ok(object) => object,
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 304) => {
                let unchanged = Answer::Unchanged { waited: false };
                return Ok(if read.unless.is_some() { Ok(unchanged) } else { Err(unasked(asked)) });
            }
            Err(error) => return Ok(Err(asked.s3(error))),
        };
        let mut body = object.body;
        let mut bytes = BytesMut::new();
        let mut arrival = Arrival::begin();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| BodyBroke(asked.failed(Fault::Unavailable, error)))?;
            if let Err(error) = arrival.takes(&piece, asked, limits::STALL_TIMEOUT) {
                return Ok(Err(error));
            }
            if (bytes.len() + piece.len()) as u64 > read.limit {
                let message = format!("it has more than the {} bytes allowed", read.limit);
                return Ok(Err(asked.failed(Fault::TooLarge, message)));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Ok(Answer::Found { bytes: bytes.freeze(), etag: object.e_tag.and_then(ETag::new), waited: false }))
    }

    async fn write_once(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: &Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let asked = self.asked(Operation::Write, key.as_str());
        let broken = |error: Box<dyn Error + Send + Sync>| asked.failed(Fault::Broken, error);
        let (body, length) = match content {
            Content::Bytes(bytes) => (ByteStream::from(bytes.to_vec()), bytes.len() as u64),
            Content::File(path) => {
                let length = tokio::fs::metadata(path).await.map_err(|error| broken(error.into()))?.len();
                (ByteStream::from_path(path).await.map_err(|error| broken(error.into()))?, length)
            }
        };
        let mut request = self.client.put_object().bucket(&self.address.bucket).key(self.key(key.as_str())).body(body);
        request = match precondition {
            Precondition::None => request,
            Precondition::Absent => request.if_none_match("*"),
            Precondition::Version(etag) => request.if_match(etag.as_str()),
        };
        let patience = aws_sdk_s3::config::Builder::new()
            .timeout_config(timeouts(self.patience, upload_patience(self.patience, length)));
        let written = request.customize().config_override(patience).send().await.map_err(|error| asked.s3(error))?;
        Ok(written.e_tag.and_then(ETag::new))
    }
}

/// The SDK's time as everybody else's.
fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

fn timeouts(patience: Patience, answer: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(patience.connect).read_timeout(answer).build()
}

impl Asked<'_> {
    /// The error of an S3 call, sorted.
    fn s3<E>(&self, error: SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let fault = fault(&error);
        let message = error.code().map(|code| match error.message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        });
        match message {
            Some(message) if error.as_service_error().is_some() => self.failed(fault, message),
            _ if fault == Fault::NoCredentials => self.failed(fault, where_credentials_were_sought(&error)),
            _ => self.failed(fault, error),
        }
    }
}

fn fault<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, HttpResponse>) -> Fault {
    match error {
        SdkError::ServiceError(_) => {
            let status = error.raw_response().map_or(0, |response| response.status().as_u16());
            fault_of_answer(error.code().unwrap_or_default(), status)
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Fault::Unavailable,
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => fault_of_cause(error),
        _ => Fault::Broken,
    }
}

/// S3's error codes (Amazon S3 API Reference, "Error responses"), and those of services that speak its protocol.
fn fault_of_answer(code: &str, status: u16) -> Fault {
    match (code, status) {
        ("NoSuchBucket", _) => Fault::NoSuchStore,
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException", _)
        | (_, 301 | 307) => Fault::WrongRegion,
        ("NoSuchKey", _) | (_, 404) => Fault::NotFound,
        ("PreconditionFailed", _) | (_, 412) => Fault::Conflict,
        ("ConditionalRequestConflict" | "OperationAborted", _) | (_, 409) => Fault::Contended,
        (
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired",
            _,
        )
        | (_, 401) => Fault::BadCredentials,
        ("AccessDenied", _) | (_, 403) => Fault::Denied,
        ("SlowDown" | "RequestTimeout" | "RequestTimeTooSkewed", _) | (_, 429 | 500..=599) => Fault::Unavailable,
        _ => Fault::Broken,
    }
}

/// The SDK wraps what went wrong before a request left in several layers of its own.
fn fault_of_cause(error: &(dyn Error + 'static)) -> Fault {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let text = current.to_string().to_lowercase();
        if text.contains("credentials") || text.contains("identity") {
            return Fault::NoCredentials;
        }
        if text.contains("region") {
            return Fault::WrongRegion;
        }
        cause = current.source();
    }
    Fault::Unavailable
}

/// The SDK names every place in a line of its own.
fn where_credentials_were_sought(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text = format!("{text}: {current}");
        cause = current.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ").replacen(":; ", ": ", 1)
}

#[async_trait]
impl Store for S3Store {
    fn url(&self) -> &StoreUrl {
        &self.url
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        let mut failed = 0;
        loop {
            match self.read_once(key, read).await {
                Err(BodyBroke(error)) if failed + 1 >= self.retries.attempts => return Err(error),
                Err(BodyBroke(_)) => {
                    failed += 1;
                    tokio::time::sleep(self.retries.pause(failed)).await;
                }
                Ok(answered) => return answered,
            }
        }
    }

    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        let asked = self.asked(Operation::Read, key.as_str());
        let mut request = self.client.get_object().bucket(&self.address.bucket).key(self.key(key.as_str()));
        if start > 0 {
            request = request.range(format!("bytes={start}-")).set_if_match(version.map(ETag::to_string));
        }
        let object = request.send().await.map_err(|error| asked.s3(error))?;
        let start = if object.content_range.is_some() { start } else { 0 };
        let state = (object.body, Arrival::begin(), self.url.clone(), key.to_string());
        let body = futures_util::stream::try_unfold(state, async |(mut body, mut arrival, store, object)| {
            let asked = Asked { operation: Operation::Read, object: &object, store: &store };
            match body.next().await {
                None => Ok(None),
                Some(Ok(piece)) => {
                    arrival.takes(&piece, asked, limits::STALL_TIMEOUT)?;
                    Ok(Some((piece, (body, arrival, store, object))))
                }
                Some(Err(error)) => Err(asked.failed(Fault::Unavailable, error)),
            }
        });
        Ok(Opened { etag: object.e_tag.and_then(ETag::new), start, body: Box::pin(body) })
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let again = Retries { attempts: CONTENDED_ATTEMPTS, ..self.retries };
        let mut failed = 0;
        loop {
            match self.write_once(key, content, &precondition).await {
                // Everything else that may pass, the SDK has tried again already.
                Err(error) if error.fault == Fault::Contended && failed + 1 < again.attempts => {
                    failed += 1;
                    tokio::time::sleep(again.pause(failed)).await;
                }
                written => return written,
            }
        }
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let asked = self.asked(Operation::Remove, key.as_str());
        let request = self.client.delete_object().bucket(&self.address.bucket).key(self.key(key.as_str()));
        request.send().await.map(drop).map_err(|error| asked.s3(error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let asked = self.asked(Operation::List, prefix);
        let request = self.client.list_objects_v2().bucket(&self.address.bucket).prefix(self.key(prefix));
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(|error| asked.s3(error))?.contents.unwrap_or_default() {
                let key = object.key.as_deref().and_then(|key| key.strip_prefix(&self.address.prefix));
                let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                if let Some(key) = key.and_then(|key| key.parse().ok()) {
                    let modified = object.last_modified.as_ref().and_then(timestamp);
                    found.push(Listed { key, size, modified, etag: object.e_tag.and_then(ETag::new) });
                }
            }
            if found.len() > limits::LISTED_OBJECTS {
                return Err(asked.failed(Fault::TooLarge, "there are too many objects to list"));
            }
        }
        found.sort_by(|one, two| one.key.cmp(&two.key));
        Ok(found)
    }
}
