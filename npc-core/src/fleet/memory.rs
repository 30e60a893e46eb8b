//! Documents that were read before, so that of a fleet of thousands only what has changed is read again.
//!
//! A listing says which version each object has, and what is remembered of that version need not be read. Nothing here is
//! trusted: each document is verified as if it had just come, and one that is not believed is read from the store after all.
//! So whoever tampers with the file shows at most what was signed once, as the store itself could.

use std::collections::{HashMap, HashSet};
use std::fs::DirBuilder;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::digest::Digest;
use crate::files;
use crate::layout::ObjectKey;
use crate::limits;
use crate::name::FleetId;
use crate::store::{ETag, Listed, StoreUrl};

/// The most bytes that are remembered, what says which document they are included.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// The longest line that says which document follows.
const LINE_BYTES: usize = 1024;

/// Documents by the version that they were read at.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where it outlives the process.
    file: Option<MemoryFile>,
    /// Read from there when it is first asked.
    documents: OnceLock<Mutex<Documents>>,
}

#[derive(Debug)]
struct MemoryFile {
    path: PathBuf,
    /// The first line, which says of which fleet in which store the file is.
    head: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Documents {
    by_key: HashMap<ObjectKey, Remembered>,
    bytes: usize,
    /// Whether the file says something else.
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    etag: ETag,
    bytes: Bytes,
}

impl Remembered {
    fn line(&self, key: &ObjectKey) -> String {
        format!("{} {key} {}\n", self.bytes.len(), self.etag)
    }

    fn size(&self, key: &ObjectKey) -> usize {
        self.line(key).len() + self.bytes.len()
    }
}

impl Memory {
    /// What a file below `directory` remembers of this fleet in this store. It is read when something is first asked of it.
    pub fn below(directory: &Path, fleet: &FleetId, store: &StoreUrl) -> Self {
        let digest = Digest::of(format!("{fleet} {store}").as_bytes());
        let file = MemoryFile { path: directory.join(digest.short()), head: format!("npc documents 1 {digest}\n") };
        Self { file: Some(file), documents: OnceLock::new() }
    }

    /// What is remembered of this version.
    pub(super) fn recall(&self, key: &ObjectKey, version: &ETag) -> Option<Bytes> {
        let documents = self.documents();
        documents.by_key.get(key).filter(|found| found.etag == *version).map(|found| found.bytes.clone())
    }

    /// Remembers what was read, and at which version.
    pub(super) fn learn(&self, key: &ObjectKey, etag: ETag, bytes: Bytes) {
        self.documents().learn(key.clone(), Remembered { etag, bytes });
    }

    /// Forgets what lies in this folder no longer.
    pub(super) fn keep_only(&self, folder: &str, listed: &[Listed]) {
        let mut documents = self.documents();
        let there: HashSet<_> = listed.iter().map(|object| &object.key).collect();
        let is_gone = |key: &&ObjectKey| key.as_str().starts_with(folder) && !there.contains(key);
        let gone: Vec<_> = documents.by_key.keys().filter(is_gone).cloned().collect();
        for key in gone {
            documents.forget(&key);
        }
    }

    /// Writes down what has changed since the file was read. No more than its owner may read it: reports tell much of hosts.
    ///
    /// It is not made to survive a power cut, which would take longer than reading a document anew.
    pub fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let documents = {
            let mut documents = self.documents();
            if !std::mem::take(&mut documents.changed) {
                return Ok(());
            }
            documents.by_key.clone()
        };
        let Some(directory) = file.path.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(directory)?;
        let mut writer = BufWriter::with_capacity(256 * 1024, temporary.as_file_mut());
        writer.write_all(file.head.as_bytes())?;
        for (key, remembered) in &documents {
            writer.write_all(remembered.line(key).as_bytes())?;
            writer.write_all(&remembered.bytes)?;
        }
        writer.flush()?;
        drop(writer);
        temporary.persist(&file.path).map_err(|error| error.error).map(drop)
    }

    fn documents(&self) -> MutexGuard<'_, Documents> {
        let documents =
            self.documents.get_or_init(|| Mutex::new(self.file.as_ref().map(Documents::read).unwrap_or_default()));
        // A panic elsewhere leaves at worst a wrong count of bytes.
        documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Documents {
    /// A file that is not there, too long, or another's, remembers nothing.
    fn read(file: &MemoryFile) -> Self {
        match files::read_limited(&file.path, (MOST_BYTES + file.head.len()) as u64) {
            Ok(bytes) => Self::parse(&bytes.into(), &file.head),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(path = %file.path.display(), %error, "cannot read what is remembered");
                }
                Self::default()
            }
        }
    }

    /// As much as can be understood: what follows a damaged place is read from the store anew.
    fn parse(file: &Bytes, head: &str) -> Self {
        let mut documents = Self::default();
        if !file.starts_with(head.as_bytes()) {
            return documents;
        }
        let mut rest = file.slice(head.len()..);
        while let Some((key, remembered)) = next_document(&mut rest) {
            documents.learn(key, remembered);
        }
        documents.changed = !rest.is_empty();
        documents
    }

    fn learn(&mut self, key: ObjectKey, remembered: Remembered) {
        self.forget(&key);
        let size = remembered.size(&key);
        if self.bytes + size <= MOST_BYTES {
            self.bytes += size;
            self.by_key.insert(key, remembered);
            self.changed = true;
        }
    }

    fn forget(&mut self, key: &ObjectKey) {
        if let Some(forgotten) = self.by_key.remove(key) {
            self.bytes -= forgotten.size(key);
            self.changed = true;
        }
    }
}

/// Takes the next document off what is left of a file: a line with its length, key and version, then its bytes.
fn next_document(rest: &mut Bytes) -> Option<(ObjectKey, Remembered)> {
    let end = rest.iter().take(LINE_BYTES).position(|byte| *byte == b'\n')?;
    let (length, line) = std::str::from_utf8(&rest[..end]).ok()?.split_once(' ')?;
    let (key, etag) = line.split_once(' ')?;
    let (key, etag) = (key.parse().ok()?, ETag::new(etag)?);
    let length: usize = length.parse().ok().filter(|length| *length as u64 <= limits::DOCUMENT_BYTES)?;
    if length > rest.len() - end - 1 {
        return None;
    }
    let bytes = rest.slice(end + 1..end + 1 + length);
    *rest = rest.slice(end + 1 + length..);
    Some((key, Remembered { etag, bytes }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        format!("reports/{name}.json").parse().expect("a key")
    }

    fn etag(text: &str) -> ETag {
        ETag::new(format!("\"{text}\"")).expect("a version")
    }

    fn listed(name: &str) -> Listed {
        Listed { key: key(name), size: 1, modified: None, etag: Some(etag("1")) }
    }

    fn below(directory: &Path, fleet: char) -> Memory {
        let fleet = fleet.to_string().repeat(32).parse().expect("an id");
        Memory::below(directory, &fleet, &"s3://bucket/".parse().expect("an address"))
    }

    fn recalled(memory: &Memory, name: &str, version: &str) -> Option<Bytes> {
        memory.recall(&key(name), &etag(version))
    }

    /// A file with two documents, as it was written, and its path.
    fn written(directory: &Path) -> (Vec<u8>, PathBuf) {
        let memory = below(directory, 'a');
        for name in ["one", "two"] {
            memory.learn(&key(name), etag("1"), Bytes::from(format!("{name}\nof all bytes \u{0}")));
        }
        memory.save().expect("saved");
        let path = memory.file.expect("a file").path;
        (std::fs::read(&path).expect("read"), path)
    }

    #[test]
    fn what_was_read_is_remembered_by_its_version_and_the_next_process_knows_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("documents");
        let (_, path) = written(&directory);
        let again = below(&directory, 'a');
        assert_eq!(recalled(&again, "one", "1").as_deref(), Some(&b"one\nof all bytes \0"[..]));
        assert_eq!(recalled(&again, "one", "2"), None, "another version");
        assert_eq!(recalled(&again, "three", "1"), None);
        again.learn(&key("one"), etag("2"), Bytes::from_static(b"changed"));
        assert_eq!(recalled(&again, "one", "1"), None, "one version each");
        again.save().expect("saved");
        assert_eq!(recalled(&below(&directory, 'a'), "one", "2").as_deref(), Some(&b"changed"[..]));
        assert!(!files::is_readable_by_others(&path).expect("there"));
        assert_eq!(std::fs::metadata(&directory).expect("there").permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(&directory).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_remembered_already_is_not_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, path) = written(folder.path());
        let again = below(folder.path(), 'a');
        assert!(recalled(&again, "one", "1").is_some());
        std::fs::remove_file(&path).expect("removed");
        again.save().expect("nothing to do");
        assert!(!path.exists());
    }

    #[test]
    fn another_fleets_file_is_not_believed_even_under_the_right_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bytes, path) = written(folder.path());
        let other = below(folder.path(), 'b');
        let its_own = other.file.as_ref().expect("a file").path.clone();
        assert_ne!(its_own, path);
        std::fs::write(its_own, bytes).expect("written");
        assert_eq!(recalled(&other, "one", "1"), None);
    }

    #[test]
    fn a_file_that_was_cut_short_or_damaged_anywhere_gives_what_is_whole_and_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bytes, path) = written(folder.path());
        for end in 0..bytes.len() {
            std::fs::write(&path, &bytes[..end]).expect("written");
            let memory = below(folder.path(), 'a');
            let known = ["one", "two"].iter().filter(|name| recalled(&memory, name, "1").is_some()).count();
            assert!(known < 2, "{end}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x80;
            std::fs::write(&path, &damaged).expect("written");
            let memory = below(folder.path(), 'a');
            memory.learn(&key("three"), etag("1"), Bytes::from_static(b"three"));
            memory.save().expect("saved");
            assert!(recalled(&below(folder.path(), 'a'), "three", "1").is_some(), "{place}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_no_documents() {
        let head = "head\n";
        for line in
            ["9 reports/a.json \"1\"\n", "99999999999999999999 reports/a.json \"1\"\n", "-1 reports/a.json \"1\"\n"]
        {
            let documents = Documents::parse(&format!("{head}{line}four").into(), head);
            assert!(documents.by_key.is_empty(), "{line}");
        }
        let documents = Documents::parse(&format!("{head}4 reports/a.json \"1\"\nfour").into(), head);
        assert_eq!(documents.by_key.len(), 1);
        assert!(!documents.changed, "the file says just that");
    }

    #[test]
    fn no_more_is_remembered_than_is_allowed() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = below(folder.path(), 'a');
        let large = Bytes::from(vec![b'x'; 1024 * 1024]);
        for number in 0..200 {
            memory.learn(&key(&number.to_string()), etag("1"), large.clone());
        }
        let bytes = memory.documents().bytes;
        assert!(bytes <= MOST_BYTES && bytes > MOST_BYTES - 2 * large.len(), "{bytes}");
        memory.keep_only("reports/", &[]);
        assert_eq!(*memory.documents(), Documents { changed: true, ..Documents::default() }, "room again");
        memory.learn(&key("1"), etag("2"), large);
        assert!(recalled(&memory, "1", "2").is_some());
        std::fs::write(&memory.file.as_ref().expect("a file").path, vec![b'x'; MOST_BYTES + 1000]).expect("written");
        assert_eq!(recalled(&below(folder.path(), 'a'), "1", "1"), None, "a file that is too long is not read");
    }

    #[test]
    fn what_is_listed_no_longer_is_forgotten_in_its_own_folder_alone() {
        let memory = Memory::default();
        let assignment: ObjectKey = "assignments/one.json".parse().expect("a key");
        memory.learn(&assignment, etag("1"), Bytes::from_static(b"assignment"));
        for name in ["one", "two"] {
            memory.learn(&key(name), etag("1"), Bytes::from_static(b"report"));
        }
        memory.keep_only("reports/", &[listed("two")]);
        assert_eq!(recalled(&memory, "one", "1"), None);
        assert!(recalled(&memory, "two", "1").is_some() && memory.recall(&assignment, &etag("1")).is_some());
        memory.save().expect("it has no file");
    }
}
