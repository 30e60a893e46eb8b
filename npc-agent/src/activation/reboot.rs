//! Rebooting, with a look at who would mind.

use serde::Deserialize;

use super::unit::{ask, is_booted, tell};
use crate::machine::Failed;

/// The kind of a reboot that waits for users to log out.
pub(crate) const USERS: &str = "users-logged-in";

/// A session, as `loginctl list-sessions --output=json` has it.
#[derive(Debug, Deserialize)]
struct Session {
    session: String,
    user: Option<String>,
}

/// Reboots, unless a user is logged in and nobody insists.
pub(super) async fn begin(command: &[String], insist: bool) -> Result<(), Failed> {
    if !insist {
        match users().await {
            Ok(users) if users.is_empty() => {}
            Ok(users) => return Err(Failed::new(USERS, format!("still logged in: {}", users.join(", ")))),
            Err(failed) => return Err(Failed::new(USERS, format!("who is logged in cannot be told: {failed}"))),
        }
    }
    let (program, arguments) =
        command.split_first().ok_or_else(|| Failed::new("reboot-failed", "there is no command"))?;
    tell(program, arguments).await.map_err(|failed| Failed::new("reboot-failed", failed.message))
}

/// Who is logged in. Where nobody keeps account of that, nobody.
async fn users() -> Result<Vec<String>, Failed> {
    let listed = match ask("loginctl", ["list-sessions", "--no-pager", "--output=json"]).await {
        Ok(listed) => listed,
        Err(_) if !is_booted() => return Ok(Vec::new()),
        Err(failed) => return Err(failed),
    };
    let sessions: Vec<Session> = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    let mut users = Vec::new();
    for session in sessions {
        // Greeters and background services have sessions of other classes.
        let class = ask("loginctl", ["show-session", "--value", "--property=Class", &session.session]).await;
        if class?.stdout.starts_with(b"user") {
            users.push(session.user.unwrap_or(session.session));
        }
    }
    users.sort();
    users.dedup();
    Ok(users)
}
