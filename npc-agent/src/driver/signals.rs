//! What the agent is told from outside: SIGTERM and SIGINT to end, SIGHUP to look at what was said on the host.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the agent is told from outside.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// End.
    Stop,
    /// Take in what was said on the host.
    Reload,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the agent is told to end.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    pub(super) async fn next(&mut self) -> Said {
        tokio::select! {
            _ = self.terminate.recv() => Said::Stop,
            _ = self.interrupt.recv() => Said::Stop,
            _ = self.reload.recv() => Said::Reload,
        }
    }
}
