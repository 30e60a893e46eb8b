//! The life of a provider: Terraform starts it, reads from its standard output where to call it, calls it, and tells it to end.
//!
//! A Terraform that is killed, or interrupted twice, tells nobody. A provider ends with the process that started it.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getppid, pidfd_open};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::listen::Socket;
use crate::messages::plugin::grpc_controller_server::{GrpcController, GrpcControllerServer};
use crate::messages::plugin::grpc_stdio_server::{GrpcStdio, GrpcStdioServer};
use crate::messages::plugin::{Empty, StdioData};
use crate::messages::provider_server::ProviderServer;
use crate::provider::Provider;
use crate::service::Service;

/// What Terraform sets in a provider's environment so that nobody starts one by mistake (internal/plugin/serve.go of Terraform).
const COOKIE: (&str, &str) =
    ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");

/// The version of go-plugin's own protocol, and the one of Terraform's that this library speaks.
const CORE_PROTOCOL: u32 = 1;
const PROTOCOL: u32 = 6;

/// No message is longer, in bytes: configurations and states of one resource are far smaller.
const MESSAGE: usize = 64 << 20;

/// How long calls that nobody waits for any more may clean up behind themselves.
const CLEANING: Duration = Duration::from_secs(10);

/// Why a provider cannot be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// It was not started by Terraform.
    #[error("this program is a provider for Terraform, which starts it by itself")]
    NotTerraform,
    /// Terraform is too old, or too new.
    #[error("this provider speaks plugin protocol {PROTOCOL}, and this Terraform only {0}")]
    Protocol(String),
    /// The socket cannot be made, or standard output is closed.
    #[error("the provider cannot be reached by Terraform")]
    Io(#[from] io::Error),
    /// The connection to Terraform broke.
    #[error("the provider was cut off from Terraform")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves a provider until Terraform tells it to end.
///
/// Ctrl-C reaches a provider too, and whatever it has started: it stops what it does, and Terraform tells it when to end.
pub fn serve(provider: impl Provider) -> Result<(), ServeError> {
    if std::env::var(COOKIE.0).as_deref() != Ok(COOKIE.1) {
        return Err(ServeError::NotTerraform);
    }
    let spoken = std::env::var("PLUGIN_PROTOCOL_VERSIONS").unwrap_or_default();
    if !spoken.split(',').any(|version| version.trim().parse() == Ok(PROTOCOL)) {
        return Err(ServeError::Protocol(spoken));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(until_told_to_end(Arc::new(provider)));
    runtime.shutdown_timeout(CLEANING);
    served
}

async fn until_told_to_end(provider: Arc<dyn Provider>) -> Result<(), ServeError> {
    stop_at_interrupts(Arc::clone(&provider))?;
    let (socket, callers) = Socket::open()?;
    announce(&socket)?;
    let end = Arc::new(Notify::new());
    end_with_terraform(Arc::clone(&provider), Arc::clone(&end));
    let service = ProviderServer::new(Service::new(provider)).max_decoding_message_size(MESSAGE);
    Server::builder()
        .add_service(service)
        .add_service(GrpcControllerServer::new(Controller(Arc::clone(&end))))
        .add_service(GrpcStdioServer::new(Stdio))
        .serve_with_incoming_shutdown(callers, end.notified())
        .await?;
    Ok(())
}

/// The one line that a provider writes: versions, where it listens, how it is called, and what it is known by.
fn announce(socket: &Socket) -> io::Result<()> {
    let (path, certificate) = (socket.path(), STANDARD_NO_PAD.encode(socket.certificate()));
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{CORE_PROTOCOL}|{PROTOCOL}|unix|{}|grpc|{certificate}", path.display())?;
    stdout.flush()
}

/// A signal that tokio listens to no longer ends the process.
fn stop_at_interrupts(provider: Arc<dyn Provider>) -> io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        while interrupts.recv().await.is_some() {
            provider.stop();
        }
    });
    Ok(())
}

/// Waits for the end of the process that started this one, on a thread that nobody waits for. Where the kernel cannot tell it, the
/// provider waits to be told.
fn end_with_terraform(provider: Arc<dyn Provider>, end: Arc<Notify>) {
    let Some(terraform) = getppid() else { return };
    let Ok(process) = pidfd_open(terraform, PidfdFlags::empty()) else { return };
    thread::spawn(move || {
        // It may have ended, and its id be another's, before it was watched.
        while getppid() == Some(terraform) {
            if poll(&mut [PollFd::new(&process, PollFlags::IN)], None).is_err_and(|error| error != Errno::INTR) {
                return;
            }
        }
        provider.stop();
        end.notify_one();
    });
}

struct Controller(Arc<Notify>);

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.notify_one();
        Ok(Response::new(Empty {}))
    }
}

/// The provider writes nothing more to standard output, and Terraform reads standard error by itself.
struct Stdio;

#[tonic::async_trait]
impl GrpcStdio for Stdio {
    type StreamStdioStream = tokio_stream::Empty<Result<StdioData, Status>>;

    async fn stream_stdio(&self, _: Request<Empty>) -> Result<Response<Self::StreamStdioStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}
