//! What systemd is told: readiness, a status line, and signs of life (`sd_notify(3)`).

use std::time::Duration;

use sd_notify::NotifyState;

use crate::activation::unit;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Supervisor {
    status: String,
    starts_us_again: bool,
}

impl Supervisor {
    /// The manager that runs this process as its service, if one does.
    ///
    /// Whether it starts an agent that ends well again is asked now: a new system may not know the agent's unit any more,
    /// and just then this agent has to go.
    pub async fn of_this_process() -> Self {
        let starts_us_again = match unit::own_unit().filter(|_| unit::is_booted()) {
            // Where the manager is too busy to tell, it is taken to do so, as the timer sees to the contrary.
            Some(unit) => matches!(unit::show(&unit, "Restart").await.as_str(), "always" | "on-success" | ""),
            None => false,
        };
        Self { status: String::new(), starts_us_again }
    }

    /// Whether an agent that ends well is started again.
    pub fn starts_us_again(&self) -> bool {
        self.starts_us_again
    }

    /// Says that the agent is up.
    pub fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    /// Shows a sentence in `systemctl status`, and in the log where it is news.
    pub fn status(&mut self, sentence: String) {
        if self.status == sentence {
            return;
        }
        tracing::info!("{sentence}");
        notify(&[NotifyState::Status(&sentence)]);
        self.status = sentence;
    }

    /// Says that the agent ends.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// How often a sign of life is due: twice within the time after which systemd would kill the agent.
    pub fn watchdog_interval() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
    }

    /// Gives a sign of life.
    pub fn alive() {
        notify(&[NotifyState::Watchdog]);
    }
}

/// A manager that does not listen is no reason to stop.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot tell systemd");
    }
}
