//! Servers that lie about what they send, or never stop sending it.

use super::{FORGED, Forged, POINTER, archive_key};
use crate::attacks::Behaviour;
use crate::attacks::archives::good;
use crate::attacks::documents::Statement;
use crate::attacks::expectation::Before;
use crate::attacks::fleet::PROD;
use crate::attacks::large;
use crate::attacks::layer::Layer;

/// Three gigabytes, of which an agent may unpack two.
const ZEROS: u64 = 3 << 30;

fn release() -> Vec<u8> {
    Statement::release(FORGED, &good("published")).signed(&PROD).to_bytes()
}

/// The pointer, answered for in some way.
fn pointer(name: &'static str, refusal: &str, claim: &str, behaviour: Behaviour) -> Forged {
    Forged::refused(name, refusal, claim, Layer::default().with(POINTER, release()).answering(POINTER, behaviour))
}

/// A good release, and these bytes in its archive's place, answered for in some way.
fn served(bytes: Vec<u8>, behaviour: Behaviour) -> Layer {
    let key = archive_key(&good("published"));
    Layer::default().with(POINTER, release()).with(&key, bytes).answering(key, behaviour)
}

/// The archive of a good release, answered for in some way.
fn archive(name: &'static str, refusal: &str, claim: &str, behaviour: Behaviour) -> Forged {
    Forged::refused(name, refusal, claim, served(good("published"), behaviour))
}

/// A large archive, signed by the right keys.
fn large(name: &'static str, claim: &str, behaviour: Behaviour) -> Forged {
    let bytes = large::archive(&behaviour).expect("it describes an archive");
    let release = Statement::release(FORGED, &bytes).signed(&PROD).to_bytes();
    let layer = Layer::default().with(POINTER, release).answering(archive_key(&bytes), behaviour);
    Forged::refused(name, "too-large", claim, layer).only(Before::Running)
}

pub(super) fn attacks() -> Vec<Forged> {
    [answers(), slow(), endless(), lengths(), bombs()].into_iter().flatten().collect()
}

fn answers() -> Vec<Forged> {
    vec![
        pointer("pointer-deleted", "not-found", "A pointer that is gone changes nothing.", Behaviour::Status(404)),
        pointer("pointer-denied", "denied", "A pointer that may not be read changes nothing.", Behaviour::Status(403)),
        pointer("pointer-failing", "unavailable", "A store that fails changes nothing.", Behaviour::Status(500)),
        pointer(
            "pointer-unchanged-unasked",
            "broken",
            "A store that calls unchanged what nobody has seen has said nothing.",
            Behaviour::Status(304),
        ),
        Forged::refused(
            "trust-unchanged-unasked",
            "broken",
            "Nor does it say so that there is no newer trust.",
            Layer::default().with(POINTER, release()).answering("trust/2.json", Behaviour::Status(304)),
        ),
        pointer(
            "pointer-redirected-for-ever",
            "broken",
            "Redirections that lead in a circle are left after a few.",
            Behaviour::Redirect(POINTER.to_owned()),
        ),
        pointer(
            "pointer-redirected-to-another-remote",
            "bad-signature",
            "Wherever a redirection leads, what lies there must be what was asked for.",
            Behaviour::Redirect("remotes/staging.json".to_owned()),
        )
        .beside("remotes/staging.json", &Statement::release_of("staging", FORGED, &"0".repeat(64), 1)),
    ]
}

fn endless() -> Vec<Forged> {
    let trust = Layer::default().answering("trust/2.json", Behaviour::EndlessBody);
    vec![
        pointer("endless-pointer", "too-large", "A document without end is left at its limit.", Behaviour::EndlessBody),
        pointer(
            "endless-head",
            "unavailable",
            "A head without end is left before it fills the memory.",
            Behaviour::EndlessHead,
        ),
        Forged::refused(
            "endless-trust",
            "too-large",
            "A trust without end is left at its limit, and nothing is judged without it.",
            trust.with(POINTER, release()),
        ),
        archive(
            "endless-archive",
            "too-large",
            "An archive without end is left at the length that was signed.",
            Behaviour::EndlessBody,
        ),
    ]
}

/// Servers that never quite stop sending.
fn slow() -> Vec<Forged> {
    vec![
        pointer(
            "dripping-pointer",
            "unavailable",
            "A document that comes one byte a second is not waited for to its end.",
            Behaviour::Drip(1000),
        ),
        archive(
            "dripping-archive",
            "unavailable",
            "An archive that comes one byte a second is not waited for to its end.",
            Behaviour::Drip(1000),
        ),
        archive(
            "archive-anew-for-ever",
            "unavailable",
            "An archive that breaks off each time, a little earlier or later, is not begun anew for ever.",
            Behaviour::Anew,
        ),
    ]
}

fn lengths() -> Vec<Forged> {
    let bytes = good("published");
    vec![
        pointer(
            "length-beyond-the-limit",
            "too-large",
            "A document that announces more than its limit is not waited for.",
            Behaviour::Announce(1 << 40),
        ),
        pointer(
            "length-of-more-than-comes",
            "unavailable",
            "A document that ends before it should has not come.",
            Behaviour::Announce(100_000),
        ),
        pointer(
            "length-of-less-than-comes",
            "unreadable",
            "A document ends where it was said to end.",
            Behaviour::Announce(100),
        ),
        Forged::refused(
            "archive-that-breaks-off",
            "unavailable",
            "An archive that breaks off, every time, has not come.",
            served(bytes[..bytes.len() / 2].to_vec(), Behaviour::Announce(bytes.len() as u64)),
        ),
        archive(
            "archive-unchanged-unasked",
            "digest-mismatch",
            "A store that calls unchanged what nobody has fetched has sent nothing.",
            Behaviour::Status(304),
        ),
        Forged::harmless(
            "length-of-more-archive-than-comes",
            "An archive that has come in whole, as long as was signed, is the one, whatever its head announced.",
            served(bytes.clone(), Behaviour::Announce(1 << 20)),
        ),
        archive(
            "length-of-less-archive-than-comes",
            "digest-mismatch",
            "An archive that ends early, as it was said to, is not the one.",
            Behaviour::Announce(100),
        ),
        pointer(
            "many-small-values",
            "unreadable",
            "A document of values within its limit is no envelope, and costs no more memory than there is.",
            Behaviour::Elements { element: "0".to_owned(), count: 100_000 },
        ),
        pointer(
            "very-many-small-values",
            "unreadable",
            "Nor where it consists of as many values as its limit allows.",
            Behaviour::Elements { element: "0".to_owned(), count: 2_000_000 },
        ),
        pointer(
            "very-many-small-objects",
            "unreadable",
            "Nor where they are of the kind that takes the most memory.",
            Behaviour::Elements { element: "{\"\":0}".to_owned(), count: 500_000 },
        ),
    ]
}

fn bombs() -> Vec<Forged> {
    vec![
        large(
            "ten-million-entries",
            "An archive is unpacked up to the number of entries that is allowed, and what was unpacked is gone.",
            Behaviour::Entries(10_000_000),
        ),
        large(
            "gzip-bomb",
            "An archive is unpacked up to the size that is allowed, and what was unpacked is gone.",
            Behaviour::Zeros(ZEROS),
        ),
        large(
            "gzip-bomb-behind-the-end",
            "What follows the end of the tar counts as well.",
            Behaviour::ZerosBehind(ZEROS),
        ),
    ]
}

impl Forged {
    /// With another remote's release in the store.
    fn beside(mut self, key: &str, statement: &Statement) -> Self {
        let layer = self.folder.layers.remove("store").expect("the first step's");
        self.folder.layers.insert("store".to_owned(), layer.with(key, statement.honest()));
        self
    }
}
