//! How the person at work is told what goes on: as the program that this is part of wants it.

use std::fmt::Display;
use std::sync::OnceLock;

/// How people are told.
pub trait Voice: Send + Sync {
    /// Says something.
    fn say(&self, words: &str);

    /// Warns.
    fn warn(&self, words: &str);

    /// Shows that something takes long, until it is dropped.
    fn begin(&self, what: &str) -> Box<dyn Moving>;
}

/// Something that takes long.
pub trait Moving: Send {
    /// How far it has come.
    fn tell(&mut self, words: String);
}

static VOICE: OnceLock<Box<dyn Voice>> = OnceLock::new();

/// From now on people are told like this; the first that is set stays.
pub fn speak_through(voice: impl Voice + 'static) {
    // A program has one terminal, or one protocol.
    let _ = VOICE.set(Box::new(voice));
}

/// Says something to whoever watches.
pub fn say(words: impl Display) {
    if let Some(voice) = VOICE.get() {
        voice.say(&words.to_string());
    }
}

/// Warns whoever watches.
pub fn warn(words: impl Display) {
    if let Some(voice) = VOICE.get() {
        voice.warn(&words.to_string());
    }
}

/// Long work that is shown as long as this lives.
pub struct Progress(Option<Box<dyn Moving>>);

impl Progress {
    /// Begins to show that `what` is under way.
    pub fn begin(what: impl Into<String>) -> Self {
        Self(VOICE.get().map(|voice| voice.begin(&what.into())))
    }

    /// Shows how far it has come.
    pub fn tell(&mut self, words: impl Into<String>) {
        if let Some(moving) = &mut self.0 {
            moving.tell(words.into());
        }
    }
}
