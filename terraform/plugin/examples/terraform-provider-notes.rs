//! A provider that keeps notes as files in a directory: what the library's tests drive with a real Terraform, and the shortest whole
//! example of one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use terraform_plugin::{
    Attribute, Change, DataSource, Diagnostic, Object, Outcome, Provider, Resource, Schema, SetBy, Type, Unfinished,
    Value, Warnings, serve,
};

/// Where notes lie, once that is known.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<Option<PathBuf>>>);

impl Place {
    fn of(&self, title: &str) -> Outcome<PathBuf> {
        let directory = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unknown = || Diagnostic::error("It is not known yet where notes lie").into();
        directory.map(|directory| directory.join(title)).ok_or_else(unknown)
    }
}

#[derive(Default)]
struct Notes(Place);

impl Provider for Notes {
    fn schema(&self) -> Schema {
        Schema::new("Keeps notes.").with("directory", Attribute::new(SetBy::User, Type::String, "Where."))
    }

    fn resources(&self) -> BTreeMap<&'static str, Arc<dyn Resource>> {
        BTreeMap::from([("notes_note", Arc::new(Note(self.0.clone())) as Arc<dyn Resource>)])
    }

    fn data_sources(&self) -> BTreeMap<&'static str, Arc<dyn DataSource>> {
        BTreeMap::from([("notes_note", Arc::new(Read(self.0.clone())) as Arc<dyn DataSource>)])
    }

    fn configure(&self, config: &Object, _: &mut Warnings) -> Outcome<()> {
        let directory = config.text("directory").map(PathBuf::from);
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = directory;
        Ok(())
    }

    fn stop(&self) {}
}

struct Note(Place);

fn failed(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("The note cannot be kept").detail(format!("{}: {error}", path.display())).at(["title"])
}

fn read(path: &Path) -> Outcome<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(read.map_err(|error| failed(path, &error))?)),
    }
}

impl Resource for Note {
    fn schema(&self) -> Schema {
        Schema::new("A note.")
            .with("title", Attribute::new(SetBy::User, Type::String, "What it is called.").replaces())
            .with("text", Attribute::new(SetBy::UserOrProvider, Type::String, "What it says; nothing, unless said."))
            .with("tags", Attribute::new(SetBy::UserOrNobody, Type::String.set(), "What it is about."))
            .with("length", Attribute::new(SetBy::Provider, Type::Number, "Of the text, in bytes."))
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        match config.text("title") {
            Some(title) if title.contains('/') => {
                Err(Diagnostic::error("A title has no slash").detail("It is a file's name.").at(["title"]).into())
            }
            _ => Ok(()),
        }
    }

    fn read(&self, state: Object, _: &mut Warnings) -> Outcome<Option<Object>> {
        let path = self.0.of(state.text("title").unwrap_or_default())?;
        Ok(read(&path)?.map(|text| {
            let length = text.len() as u64;
            state.with("text", text).with("length", length)
        }))
    }

    fn plan(&self, change: Change, warnings: &mut Warnings) -> Outcome<Object> {
        let mut planned = change.proposed;
        if change.config.get("text").is_null() {
            planned.set("text", "");
        }
        assert_ne!(planned.text("text"), Some("panic"), "a note that nobody can plan");
        if planned.text("text") == Some("") {
            warnings.tell("The note is empty", "Nobody will learn anything from it.");
        }
        let length = planned.text("text").map(|text| text.len() as u64);
        planned.set("length", length.map_or(Value::Unknown, Value::from));
        Ok(planned)
    }

    fn apply(&self, change: Change, _: &mut Warnings) -> Result<Object, Unfinished> {
        let mut state = change.proposed;
        let path = self.0.of(state.text("title").unwrap_or_default())?;
        let text = state.text("text").unwrap_or_default().to_owned();
        fs::write(&path, &text).map_err(|error| failed(&path, &error))?;
        state.set("length", text.len() as u64);
        if text == "unfinished" {
            let errors = Diagnostic::error("The note was not finished").into();
            return Err(Unfinished { state: Some(state), errors });
        }
        Ok(state)
    }

    fn remove(&self, state: Object, _: &mut Warnings) -> Outcome<()> {
        let path = self.0.of(state.text("title").unwrap_or_default())?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, &error).into()),
            _ => Ok(()),
        }
    }

    fn import(&self, id: &str) -> Outcome<Object> {
        Ok(Object::default().with("title", id))
    }
}

struct Read(Place);

impl DataSource for Read {
    fn schema(&self) -> Schema {
        Schema::new("A note that is there.")
            .with("title", Attribute::new(SetBy::User, Type::String, "What it is called."))
            .with("text", Attribute::new(SetBy::Provider, Type::String, "What it says."))
    }

    fn read(&self, config: Object, _: &mut Warnings) -> Outcome<Object> {
        let path = self.0.of(config.text("title").unwrap_or_default())?;
        let Some(text) = read(&path)? else {
            return Err(Diagnostic::error("There is no such note").at(["title"]).into());
        };
        Ok(config.with("text", text))
    }
}

fn main() -> ExitCode {
    match serve(Notes::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
