//! Where Terraform finds the provider: a Unix socket in a directory that nobody else may enter, with TLS on it.
//!
//! A provider holds credentials, so nobody but the user who started it may call it. Terraform authenticates what it calls by the
//! certificate that it is told on standard output; the other way round it offers a certificate on the curve P-521, which ring cannot
//! check. Who calls is therefore asked of the kernel.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;

/// How long a caller may take to introduce itself.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A provider's socket, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    directory: TempDir,
    certificate: CertificateDer<'static>,
}

impl Socket {
    /// Opens it; gives those who call.
    pub(crate) fn open() -> io::Result<(Self, Callers)> {
        let owner_alone = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("terraform-provider-").permissions(owner_alone).tempdir()?;
        let listener = UnixListener::bind(Self::path_in(directory.path()))?;
        let (certificate, acceptor) = tls()?;
        let (accepted, callers) = mpsc::channel(1);
        tokio::spawn(accept(listener, acceptor, accepted));
        Ok((Self { directory, certificate }, Callers(callers)))
    }

    fn path_in(directory: &Path) -> PathBuf {
        directory.join("provider.sock")
    }

    /// The socket's path.
    pub(crate) fn path(&self) -> PathBuf {
        Self::path_in(self.directory.path())
    }

    /// The certificate that callers are to expect.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

/// A certificate for this run alone, for the name that Terraform expects.
fn tls() -> io::Result<(CertificateDer<'static>, TlsAcceptor)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key);
    let mut config = config.map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((certificate, TlsAcceptor::from(Arc::new(config))))
}

/// A caller that hangs, or is somebody else, keeps nobody out.
async fn accept(
    listener: UnixListener,
    acceptor: TlsAcceptor,
    accepted: mpsc::Sender<io::Result<TlsStream<UnixStream>>>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for one, which passes.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if !is_our_users(&stream) {
            continue;
        }
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // Nobody waits for callers once the provider has ended.
                let _ = accepted.send(Ok(stream)).await;
            }
        });
    }
}

fn is_our_users(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// Those who call.
pub(crate) struct Callers(mpsc::Receiver<io::Result<TlsStream<UnixStream>>>);

impl Stream for Callers {
    type Item = io::Result<TlsStream<UnixStream>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
