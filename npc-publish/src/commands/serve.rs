//! `npc-publish serve`: a directory as an HTTP store.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use npc_core::store::DirectoryStore;
use npc_operator::failure::{Exit, Failure};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli;
use crate::console;
use crate::server::{Current, Server, Settings, Sources, TokensError};

pub(crate) async fn serve(arguments: cli::Serve) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let cannot =
        |error: std::io::Error| Failure::new(Exit::Store, format!("cannot serve `{}`: {error}", directory.display()));
    let sources = Sources { operators: arguments.tokens, hosts: arguments.host_tokens };
    let has_tokens = !sources.is_empty();
    let tokens = Arc::new(Current::read(sources)?);
    if has_tokens && !arguments.listen.ip().is_loopback() && !arguments.behind_tls_proxy {
        return Err(Failure::usage(format!(
            "{} can be reached from elsewhere, where tokens would travel in the clear",
            arguments.listen
        ))
        .hint("listen on 127.0.0.1 behind a proxy that speaks TLS, or say --behind-tls-proxy if one is in front"));
    }
    fs::create_dir_all(directory).map_err(cannot)?;
    let store = DirectoryStore::new(fs::canonicalize(directory).map_err(cannot)?);
    store.clean().map_err(cannot)?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| Failure::usage(format!("cannot listen on {}: {error}", arguments.listen)))?;
    let address = listener.local_addr().map_err(Failure::other)?;
    let settings = Settings {
        tokens,
        longest_wait: Duration::from_secs(arguments.longest_wait),
        most_waiting: arguments.most_waiting,
    };
    let server = Server::new(store, settings)
        .map_err(|error| Failure::other(error).hint("raise fs.inotify.max_user_watches"))?;
    console::say(format_args!("serving `{}` at http://{address}/", directory.display()));
    console::data(format_args!("http://{address}/"))?;
    Arc::new(server).run(listener, stopped()?).await;
    Ok(())
}

impl From<TokensError> for Failure {
    fn from(error: TokensError) -> Self {
        let hint = error.hint();
        Self::usage(error).hint(hint)
    }
}

/// Resolves at SIGINT or SIGTERM.
fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
