//! The agent's configuration file.

use npc_agent::settings::{Activation, Settings};

use crate::Verdict;

/// The text of a configuration.
pub(crate) fn settings(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
    let parsed = Settings::parse(text, "web-1");
    if let Ok(settings) = &parsed {
        is_in_order(settings);
        // In front, before any table begins.
        assert!(Settings::parse(&format!("surprise = 1\n{text}"), "web-1").is_err(), "an unknown setting is ignored");
        assert!(Settings::parse(&format!("remote = \"prod\"\n{text}"), "web-1").is_err(), "a setting is given twice");
    }
    Verdict::of(&parsed)
}

fn is_in_order(settings: &Settings) {
    let anchor = &settings.anchor;
    assert!((1..=anchor.root_keys.len()).contains(&anchor.root_threshold), "{anchor:?}");
    assert!((1..=3600).contains(&settings.poll_interval.as_secs()));
    match &settings.activation {
        Activation::NixOs { root, .. } => assert!(root.is_absolute()),
        Activation::Command(command) => assert!(!command.is_empty()),
    }
    let written = settings.store.to_string();
    let again = written.parse().expect("an address that is told can be read");
    assert_eq!(settings.store, again, "`{written}` is another address");
}
