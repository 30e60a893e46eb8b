//! What scenarios read off an agent's journal.

use serde_json::Value;

/// The serial that is committed.
pub fn committed(journal: &Value) -> Option<u64> {
    journal.pointer("/committed/target/serial")?.as_u64()
}

/// Whether this serial is committed and nothing is under way.
pub fn is_steady_at(journal: &Value, serial: u64) -> bool {
    journal["phase"] == "steady" && committed(journal) == Some(serial)
}

/// Kind and error of the newest outcome, such as `rolled-back activation-failed`.
pub fn outcome(journal: &Value) -> Option<String> {
    let newest = journal.pointer("/outcomes/0")?;
    let kind = newest.get("kind")?.as_str()?;
    let error = newest.get("error").and_then(Value::as_str).unwrap_or("");
    Some(format!("{kind} {error}").trim().to_owned())
}
