//! A plan that lies in a file, as far as it tells what a resource was planned to be.
//!
//! The file is a ZIP archive whose member `tfplan` is a protobuf message (internal/plans/planfile and internal/plans/planproto of
//! Terraform). The format is Terraform's own affair: where it is another one than here, nothing is known of the plan.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::DeflateDecoder;
use prost::Message as _;
use terraform_plugin::Object;

/// No plan that is larger is read, in bytes.
const LONGEST: u64 = 256 << 20;

/// The methods of a ZIP archive that Go writes: as it is, and deflated.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// What a resource that is removed is planned with: what it was.
const DELETE: i32 = 5;

#[derive(Clone, PartialEq, prost::Message)]
struct Plan {
    #[prost(message, repeated, tag = "3")]
    resource_changes: Vec<ResourceChange>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceChange {
    #[prost(message, optional, tag = "9")]
    change: Option<Change>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Change {
    #[prost(int32, tag = "1")]
    action: i32,
    /// How the resource was, where it was there before, and how it is to be.
    #[prost(message, repeated, tag = "2")]
    values: Vec<DynamicValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DynamicValue {
    #[prost(bytes = "vec", tag = "1")]
    msgpack: Vec<u8>,
}

/// How the resources of a plan are to be; nothing, where the file tells nothing.
pub(crate) fn planned(path: &Path) -> Vec<Object> {
    let read = || {
        let is_read = fs::metadata(path).ok()?.len() <= LONGEST;
        let bytes = is_read.then(|| fs::read(path)).and_then(Result::ok)?;
        Plan::decode(&*member(&bytes, b"tfplan")?).ok()
    };
    let changes = read().unwrap_or_default().resource_changes.into_iter().filter_map(|resource| resource.change);
    let last = changes.filter(|change| change.action != DELETE).filter_map(|mut change| change.values.pop());
    last.filter_map(|value| Object::read(&value.msgpack).ok().flatten()).collect()
}

/// Whether a file begins as a ZIP archive does.
pub(crate) fn is_plan(path: &str) -> bool {
    let mut begin = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == *LOCAL
}

/// What the parts of a ZIP archive begin with (APPNOTE.TXT of PKWARE, 4.3): a member, its entry in the directory, and the directory's
/// end.
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";

/// The content of a member. Go writes lengths behind the members, so only the directory at the archive's end tells them beforehand.
fn member(zip: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let end = zip.windows(END.len()).rposition(|window| window == END)?;
    let mut at = long(zip, end + 16)?;
    loop {
        let entry = zip.get(at..).filter(|entry| entry.starts_with(ENTRY))?;
        let lengths = [short(entry, 28)?, short(entry, 30)?, short(entry, 32)?].map(usize::from);
        if entry.get(46..46 + lengths[0])? == name {
            let local = zip.get(long(entry, 42)?..).filter(|local| local.starts_with(LOCAL))?;
            let begin = 30 + usize::from(short(local, 26)?) + usize::from(short(local, 28)?);
            let packed = local.get(begin..begin.checked_add(long(entry, 20)?)?)?;
            return unpacked(short(entry, 10)?, packed);
        }
        at += 46 + lengths.iter().sum::<usize>();
    }
}

fn unpacked(method: u16, packed: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    match method {
        STORED => content.extend(packed),
        DEFLATED => {
            DeflateDecoder::new(packed).take(LONGEST).read_to_end(&mut content).ok()?;
        }
        _ => return None,
    }
    Some(content)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ZIP archive with one member that is not packed, as far as it is read.
    fn archive(name: &str, content: &[u8]) -> Vec<u8> {
        let (name_length, length) =
            (u16::try_from(name.len()).expect("short"), u32::try_from(content.len()).expect("short"));
        let mut zip = [&LOCAL[..], &[0; 22], &name_length.to_le_bytes(), &[0; 2], name.as_bytes(), content].concat();
        let directory = u32::try_from(zip.len()).expect("short");
        zip.extend(
            [&ENTRY[..], &[0; 16], &length.to_le_bytes(), &[0; 4], &name_length.to_le_bytes(), &[0; 16]].concat(),
        );
        zip.extend(name.as_bytes());
        zip.extend([&END[..], &[0; 12], &directory.to_le_bytes(), &[0; 2]].concat());
        zip
    }

    #[test]
    fn what_is_planned_is_read_out_of_a_plan() {
        let value = |text: &str| DynamicValue {
            msgpack: terraform_plugin::Value::from(Object::default().with("name", text)).to_message_pack(),
        };
        let change = |action, values| ResourceChange { change: Some(Change { action, values }) };
        let changes = vec![change(3, vec![value("before"), value("after")]), change(DELETE, vec![value("gone")])];
        let zip = archive("tfplan", &Plan { resource_changes: changes }.encode_to_vec());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("planned");
        fs::write(&path, &zip).expect("written");
        assert_eq!(planned(&path), [Object::default().with("name", "after")]);
        assert!(is_plan(&path.to_string_lossy()));
    }

    #[test]
    fn nothing_is_known_of_what_is_no_plan() {
        let zip = archive("tfplan", b"\xff\xff\xff");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("planned");
        assert!(planned(&path).is_empty());
        for length in 0..=zip.len() {
            fs::write(&path, &zip[..length]).expect("written");
            assert!(planned(&path).is_empty(), "{length}");
        }
        assert!(member(&zip, b"tfstate").is_none());
    }
}
