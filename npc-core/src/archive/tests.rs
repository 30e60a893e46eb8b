use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;

fn paths_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            found.push(path.strip_prefix(root).expect("below the root").to_owned());
            if path.is_dir() && !path.is_symlink() {
                ahead.push(path);
            }
        }
    }
    found
}

fn packed(root: &Path) -> Result<(Vec<u8>, Packed), PackError> {
    pack(root, paths_below(root), Vec::new(), |_| {})
}

#[derive(Debug, Clone)]
enum Node {
    Directory(BTreeMap<String, Node>),
    File(Vec<u8>, bool),
    Link(String),
}

fn tree() -> impl Strategy<Value = BTreeMap<String, Node>> {
    let name = prop_oneof![
        8 => "[a-zA-Z0-9._ äß-]{1,12}",
        1 => "[a-z]{101,200}",
    ]
    .prop_filter("a name of its own", |name| name != "." && name != "..");
    let leaf = prop_oneof![
        (proptest::collection::vec(any::<u8>(), 0..600), any::<bool>()).prop_map(|(bytes, run)| Node::File(bytes, run)),
        prop_oneof!["[a-z]{1,8}", "\\./[a-z]{1,8}", "[a-z]{101,150}"].prop_map(Node::Link),
    ];
    let node = leaf.prop_recursive(4, 40, 6, {
        let name = name.clone();
        move |inner| proptest::collection::btree_map(name.clone(), inner, 0..6).prop_map(Node::Directory)
    });
    proptest::collection::btree_map(name, node, 0..8)
}

fn write_tree(tree: &BTreeMap<String, Node>, root: &Path) {
    for (name, node) in tree {
        let path = root.join(name);
        match node {
            Node::Directory(inner) => {
                fs::create_dir(&path).expect("created");
                write_tree(inner, &path);
            }
            Node::File(bytes, executable) => {
                fs::write(&path, bytes).expect("written");
                let mode = if *executable { 0o700 } else { 0o600 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            }
            Node::Link(target) => symlink(target, &path).expect("linked"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_survives_packing_and_has_one_form(tree in tree()) {
        let folder = tempfile::tempdir().expect("a folder");
        let (here, there) = (folder.path().join("here"), folder.path().join("somewhere/else"));
        fs::create_dir(&here).expect("created");
        write_tree(&tree, &here);
        let (bytes, first) = packed(&here).expect("packed");
        fs::create_dir(folder.path().join("somewhere")).expect("created");
        unpack(&bytes[..], &there, Limits::default()).expect("unpacked");
        let (again, second) = packed(&there).expect("packed");
        prop_assert_eq!(first, second);
        prop_assert_eq!(&bytes, &again);
        prop_assert_eq!(
            manifest(&bytes[..], Limits::default()).expect("listed").len() as u64,
            first.content.entries
        );
        for path in paths_below(&there) {
            let metadata = fs::symlink_metadata(there.join(&path)).expect("there");
            prop_assert_eq!(metadata.mtime(), 0);
            if metadata.is_file() {
                prop_assert!(matches!(metadata.mode() & 0o777, 0o644 | 0o755));
                prop_assert_eq!(fs::read(there.join(&path)).expect("read"), fs::read(here.join(&path)).expect("read"));
            }
        }
    }

    #[test]
    fn damaged_archives_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&bytes).expect("compressed");
        for archive in [bytes, gzip.finish().expect("compressed")] {
            if unpack(&archive[..], &folder.path().join("x"), Limits::default()).is_ok() {
                fs::remove_dir_all(folder.path().join("x")).expect("removed");
            }
        }
    }
}

/// The digest of a fixed tree: another one here means that every flake in every store gets a new name.
#[test]
fn the_form_does_not_drift() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::create_dir_all(root.join("modules/empty")).expect("created");
    fs::write(root.join("flake.nix"), "{ outputs = _: { }; }\n".repeat(500)).expect("written");
    fs::write(root.join("modules/run"), "#!/bin/sh\n").expect("written");
    fs::set_permissions(root.join("modules/run"), fs::Permissions::from_mode(0o755)).expect("set");
    symlink("../flake.nix", root.join("modules/link")).expect("linked");
    let (_, packed) = packed(root).expect("packed");
    assert_eq!(packed.archive.sha256.to_string(), "f147d4c40e3ec0a19aadde01e29c7998a0e15248fad9aa8104f4d87b22412da7");
}

#[test]
fn touching_chmodding_and_moving_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    for root in [&one, &two] {
        fs::create_dir(root).expect("created");
        fs::write(root.join("b"), "b").expect("written");
        fs::write(root.join("a"), "a").expect("written");
    }
    fs::set_permissions(two.join("a"), fs::Permissions::from_mode(0o400)).expect("set");
    fs::set_permissions(&two, fs::Permissions::from_mode(0o700)).expect("set");
    let old = std::time::SystemTime::UNIX_EPOCH;
    let file = fs::File::options().write(true).open(two.join("b")).expect("opened");
    file.set_times(fs::FileTimes::new().set_modified(old)).expect("set");
    assert_eq!(packed(&one).expect("packed").1.archive, packed(&two).expect("packed").1.archive);
}

#[test]
fn what_an_agent_would_refuse_is_not_packed() {
    let folder = tempfile::tempdir().expect("a folder");
    symlink("/nix/store/x", folder.path().join("result")).expect("linked");
    assert!(matches!(packed(folder.path()), Err(PackError::EscapingLink(_))));
    fs::remove_file(folder.path().join("result")).expect("removed");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("bound");
    assert!(matches!(packed(folder.path()), Err(PackError::Special(_))));
}

#[test]
fn a_vanished_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = pack(folder.path(), [PathBuf::from("gone")], Vec::new(), |_| {}).expect_err("not there");
    assert!(matches!(error, PackError::Read { path, .. } if path == Path::new("gone")));
}

/// A writer with room for so many bytes.
struct FullDisk(usize);

impl std::io::Write for FullDisk {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let room = self.0.min(buffer.len());
        self.0 -= room;
        if room == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(room) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_no_fault_of_the_tree() {
    let folder = tempfile::tempdir().expect("a folder");
    let noise =
        (0..250_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).rotate_left(number % 31).to_be_bytes());
    let noise: Vec<u8> = noise.collect();
    fs::write(folder.path().join("noise"), noise).expect("written");
    let error = pack(folder.path(), paths_below(folder.path()), FullDisk(1000), |_| {}).err().expect("a full disk");
    assert!(matches!(error, PackError::Write(source) if source.kind() == std::io::ErrorKind::StorageFull));
}

/// Path, kind, link target and content of a member.
type Forged<'a> = (&'a str, EntryType, &'a str, &'a [u8]);

/// Builds an archive by hand, as nobody's packer would.
fn forged(members: &[Forged<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, target, content) in members {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().expect("a GNU header").name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().expect("a GNU header").linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, *content).expect("appended");
    }
    tar.into_inner().expect("finished").finish().expect("compressed")
}

fn refusal(archive: &[u8], limits: Limits) -> &'static str {
    let folder = tempfile::tempdir().expect("a folder");
    let error = unpack(archive, &folder.path().join("x"), limits).expect_err("refused");
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing is left behind");
    match error {
        UnpackError::Archive(error) => error.kind(),
        UnpackError::Write { .. } => panic!("the disk is not at fault: {error}"),
    }
}

#[test]
fn every_trick_is_refused_and_leaves_nothing() {
    use EntryType as T;
    let file = |path| (path, T::Regular, "", &b"x"[..]);
    let cases: &[(&str, &[Forged<'_>])] = &[
        ("archive-illegal-path", &[file("/etc/passwd")]),
        ("archive-illegal-path", &[file("../x")]),
        ("archive-illegal-path", &[("a", T::Directory, "", b""), file("a/../../x")]),
        ("archive-illegal-path", &[file("x"), file("x")]),
        ("archive-illegal-path", &[file("x"), file("x/y")]),
        ("archive-illegal-path", &[("l", T::Symlink, "x", b""), file("l/y")]),
        ("archive-illegal-path", &[("l", T::Symlink, "x", b""), file("l")]),
        ("archive-illegal-path", &[file("never-made/y")]),
        ("archive-escaping-link", &[("l", T::Symlink, "/etc/passwd", b"")]),
        ("archive-escaping-link", &[("l", T::Symlink, "../x", b"")]),
        ("archive-illegal-path", &[("l", T::Symlink, "", b"")]),
        ("archive-illegal-entry", &[file("x"), ("h", T::Link, "x", b"")]),
        ("archive-illegal-entry", &[("d", T::Char, "", b"")]),
        ("archive-illegal-entry", &[("d", T::Block, "", b"")]),
        ("archive-illegal-entry", &[("d", T::Fifo, "", b"")]),
        ("archive-illegal-entry", &[("s", T::GNUSparse, "", b"")]),
        ("archive-illegal-entry", &[("p", T::XHeader, "", b"20 path=/etc/passwd\n")]),
        ("archive-illegal-entry", &[("p", T::XGlobalHeader, "", b"20 path=/etc/passwd\n")]),
    ];
    for (expected, members) in cases {
        assert_eq!(refusal(&forged(members), Limits::default()), *expected, "{members:?}");
    }
}

#[test]
fn a_long_name_has_a_limit_of_its_own() {
    let long = vec![b'a'; 1_000_000];
    let archive = forged(&[("././@LongLink", EntryType::GNULongName, "", &long), ("x", EntryType::Regular, "", b"")]);
    assert_eq!(refusal(&archive, Limits::default()), "archive-illegal-path");
}

#[test]
fn bombs_are_refused() {
    let bomb = forged(&[("zeros", EntryType::Regular, "", &vec![0; 10_000_000])]);
    assert!(bomb.len() < 100_000);
    assert_eq!(refusal(&bomb, Limits { bytes: 1_000_000, entries: 10 }), "too-large");
    let beginning = &bomb[..bomb.len() / 20];
    assert_eq!(refusal(beginning, Limits { bytes: 1_000_000, entries: 10 }), "too-large", "before it is written");
    let many: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), EntryType::Regular, "", &b""[..])).collect();
    assert_eq!(refusal(&forged(&many), Limits { bytes: 1_000_000, entries: 10 }), "too-large");
}

#[test]
fn a_truncated_archive_is_damaged() {
    let whole = forged(&[("x", EntryType::Regular, "", &[7; 5000])]);
    for length in [0, 5, whole.len() / 2, whole.len() - 9] {
        assert_eq!(refusal(&whole[..length], Limits::default()), "archive-damaged", "cut at {length}");
    }
}

#[test]
fn a_file_that_vanishes_while_packing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), name).expect("written");
    }
    let paths = [PathBuf::from("a"), PathBuf::from("b")];
    let error = pack(folder.path(), paths, Vec::new(), |done| {
        if done.entries == 1 {
            fs::remove_file(folder.path().join("b")).expect("removed");
        }
    });
    assert!(matches!(error, Err(PackError::Read { path, .. }) if path == Path::new("b")));
}

#[test]
fn what_is_kept_by_name_is_there_and_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("listed/below")).expect("made");
    fs::write(path("listed/read"), "content").expect("written");
    fs::write(path("listed/unread"), "content").expect("written");
    fs::write(path("listed/below/unseen"), "content").expect("written");
    symlink("/etc/passwd", path("listed/out")).expect("linked");
    symlink("read", path("listed/in")).expect("linked");
    let select = |path: &str, keep| Selected { path: path.into(), keep };
    let selected = [
        select("listed/unread", Keep::Name),
        select("listed/below", Keep::Name),
        select("listed/out", Keep::Name),
        select("listed/in", Keep::Name),
        select("listed/read", Keep::Name),
        select("listed/read", Keep::Content),
    ];
    let pack_now = || pack(folder.path(), selected.clone(), Vec::new(), |_| {}).expect("packed");
    let (bytes, before) = pack_now();
    let target = path("unpacked");
    unpack(bytes.as_slice(), &target, Limits::default()).expect("unpacked");
    assert_eq!(fs::read_to_string(target.join("listed/read")).expect("read"), "content");
    assert_eq!(fs::read_to_string(target.join("listed/unread")).expect("read"), "");
    assert!(target.join("listed/below").is_dir() && !target.join("listed/below/unseen").exists());
    assert_eq!(fs::read_link(target.join("listed/in")).expect("a link"), Path::new("read"));
    assert!(fs::read_link(target.join("listed/out")).expect("a link").is_relative());
    fs::write(path("listed/unread"), "changed").expect("written");
    fs::set_permissions(path("listed/unread"), fs::Permissions::from_mode(0o700)).expect("set");
    assert_eq!(pack_now().1, before, "what is not read does not change the archive");
}
