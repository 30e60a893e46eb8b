//! Which archives a document names, whether or not it is to be believed.
//!
//! What is signed by nobody may still be what a host goes by: one that knows a newer trust, or a newer npc. So a digest anywhere
//! in a document keeps its archive, whatever the field is called, and a forged document can only ever keep more.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use npc_core::digest::Digest;
use npc_core::envelope::Envelope;
use serde_json::Value;

/// The length of a digest as text.
const DIGITS: usize = 64;

/// What a document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Archives that are there.
    pub(super) archives: BTreeSet<Digest>,
    /// Whether that is all: an envelope around a JSON object, which was read whole.
    pub(super) is_legible: bool,
}

impl Named {
    /// Those of `known` that these bytes name.
    pub(super) fn by(bytes: &[u8], known: &BTreeSet<Digest>) -> Self {
        let mut search = Search { known, found: BTreeSet::new() };
        search.text(bytes);
        search.encoded(bytes);
        let envelope = Envelope::parse(bytes).ok();
        let payload = envelope.as_ref().map_or(&[][..], Envelope::payload);
        search.text(payload);
        let content: Value = serde_json::from_slice(payload).unwrap_or_default();
        // Once more without what JSON may have escaped.
        search.value(&content);
        Self { archives: search.found, is_legible: content.is_object() }
    }
}

/// A search for the digests of known archives.
struct Search<'a> {
    known: &'a BTreeSet<Digest>,
    found: BTreeSet<Digest>,
}

impl Search<'_> {
    /// Every 64 hexadecimal digits in a row, wherever they begin.
    fn text(&mut self, text: &[u8]) {
        let mut digits = 0;
        for (place, byte) in text.iter().enumerate() {
            digits = if matches!(byte, b'0'..=b'9' | b'a'..=b'f') { digits + 1 } else { 0 };
            if digits >= DIGITS {
                let digest = std::str::from_utf8(&text[place + 1 - DIGITS..=place]).ok().and_then(|it| it.parse().ok());
                self.found.extend(digest.filter(|digest| self.known.contains(digest)));
            }
        }
    }

    /// Likewise in what is encoded in base64, also where an envelope is cut off or otherwise not in order.
    fn encoded(&mut self, text: &[u8]) {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
        for run in text.split(|byte| !is_base64(*byte)).filter(|run| run.len() > DIGITS) {
            // Four characters are three bytes; what is left over at the end is too short for any digest.
            let whole = &run[..run.len() - run.len() % 4];
            if let Ok(decoded) = STANDARD.decode(whole).or_else(|_| URL_SAFE.decode(whole)) {
                self.text(&decoded);
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text.as_bytes()),
            Value::Array(values) => values.iter().for_each(|value| self.value(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.text(name.as_bytes());
                    self.value(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An envelope that nobody signed.
    fn envelope(payload: &[u8]) -> Vec<u8> {
        Envelope::sign("application/vnd.npc.something.v9+json", payload.to_vec(), &[]).to_bytes()
    }

    fn archive() -> Digest {
        Digest::of(b"archive")
    }

    fn named(bytes: &[u8]) -> Named {
        Named::by(bytes, &BTreeSet::from([archive(), Digest::of(b"another")]))
    }

    #[test]
    fn a_digest_keeps_its_archive_wherever_it_stands() {
        let digest = archive().to_string();
        let (head, tail) = digest.split_at(1);
        for payload in [
            format!(r#"{{"archive":"{digest}"}}"#),
            format!(r#"{{"a":[{{"b":{{"sha256":"{digest}"}}}}]}}"#),
            format!(r#"{{"{digest}":1}}"#),
            format!(r#"{{"quarantined":"{digest}#web-1"}}"#),
            format!(r#"{{"a":1,"a":"{digest}"}}"#),
            format!(r#"{{"archive":"\u{:04x}{tail}"}}"#, head.as_bytes()[0]),
            format!(r#"{{"archive":"cafe{digest}cafe"}}"#),
        ] {
            let found = named(&envelope(payload.as_bytes()));
            assert_eq!(found, Named { archives: BTreeSet::from([archive()]), is_legible: true }, "{payload}");
        }
    }

    #[test]
    fn what_cannot_be_read_whole_is_said_to_be_illegible_and_names_what_can_be_read() {
        let payload = format!(r#"{{"archive":"{}","more":"{}"}}"#, archive(), "x".repeat(300));
        let whole = envelope(payload.as_bytes());
        let cut = &whole[..whole.len() - 100];
        let not_json = envelope(format!("archive {}", archive()).as_bytes());
        let a_list = envelope(format!(r#"["{}"]"#, archive()).as_bytes());
        let bare = format!("plain words about {}", archive());
        for bytes in [cut, &not_json, &a_list, bare.as_bytes()] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(named(bytes), Named { archives: BTreeSet::from([archive()]), is_legible: false }, "{text}");
        }
        assert_eq!(named(b""), Named { archives: BTreeSet::new(), is_legible: false });
        assert_eq!(named(&envelope(b"{}")), Named { archives: BTreeSet::new(), is_legible: true });
    }

    proptest! {
        #[test]
        fn no_bytes_around_a_digest_hide_it(before in ".{0,200}", after in ".{0,200}") {
            let payload = serde_json::json!({ "words": before, "archive": archive(), "more": after }).to_string();
            prop_assert!(named(&envelope(payload.as_bytes())).archives.contains(&archive()));
            prop_assert!(named(payload.as_bytes()).archives.contains(&archive()));
        }

        #[test]
        fn any_bytes_can_be_searched(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            named(&bytes);
        }
    }
}
