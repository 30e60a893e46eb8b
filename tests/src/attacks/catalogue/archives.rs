//! Archives that the right keys signed for, and that no packer would write.

use super::{FORGED, Forged, POINTER, archive_key};
use crate::attacks::archives::{Member, archive, gzip, octal, tar};
use crate::attacks::documents::Statement;
use crate::attacks::fleet::PROD;
use crate::attacks::host::{OUTSIDE, SMUGGLED};
use crate::attacks::layer::Layer;

/// A release of this archive, signed by the right keys, and the archive.
fn store(bytes: Vec<u8>) -> Layer {
    let release = Statement::release(FORGED, &bytes).signed(&PROD).to_bytes();
    Layer::default().with(POINTER, release).with(archive_key(&bytes), bytes)
}

fn path(name: &'static str, claim: &str, members: &[Member]) -> Forged {
    Forged::refused(name, "archive-illegal-path", claim, store(archive(members)))
}

fn link(name: &'static str, claim: &str, members: &[Member]) -> Forged {
    Forged::refused(name, "archive-escaping-link", claim, store(archive(members)))
}

fn kind(name: &'static str, claim: &str, members: &[Member]) -> Forged {
    Forged::refused(name, "archive-illegal-entry", claim, store(archive(members)))
}

fn damaged(name: &'static str, claim: &str, bytes: Vec<u8>) -> Forged {
    Forged::refused(name, "archive-damaged", claim, store(bytes))
}

fn harmless(name: &'static str, claim: &str, bytes: Vec<u8>) -> Forged {
    Forged::harmless(name, claim, store(bytes))
}

/// A file that must never be unpacked.
fn smuggled() -> Member {
    Member::file(SMUGGLED)
}

fn flake() -> Member {
    Member::file("flake.nix")
}

pub(super) fn attacks() -> Vec<Forged> {
    [paths(), duplicates(), links(), kinds(), records(), sizes(), streams(), modes()].into_iter().flatten().collect()
}

fn paths() -> Vec<Forged> {
    let deep = (0..200).map(|_| "d").collect::<Vec<_>>().join("/");
    vec![
        path("path-absolute", "An absolute path leaves the tree.", &[Member::file(OUTSIDE)]),
        path("path-upwards", "A path upwards leaves the tree.", &[Member::file(format!("../{SMUGGLED}"))]),
        path(
            "path-upwards-from-below",
            "A path upwards leaves the tree wherever it begins, and is refused also where it does not.",
            &[Member::directory("d"), Member::file(format!("d/../../{SMUGGLED}"))],
        ),
        path("path-of-one-dot", "The tree itself is no member of it.", &[Member::directory(".")]),
        path("path-of-two-dots", "What is above the tree is no member of it.", &[Member::directory("..")]),
        path(
            "path-with-escape-sequences",
            "A name does not reach a terminal as it is.",
            &[Member::file("../\x1b]0;got out\x07")],
        ),
        path("path-from-a-dot", "A path has one spelling.", &[Member::file("./x")]),
        path("path-empty", "A member has a name.", &[Member::file("")]),
        path(
            "path-long-upwards",
            "A long name is held to what a short one is.",
            &[Member::long_name(format!("../{SMUGGLED}\0")), Member::file("x")],
        ),
        path(
            "path-long-with-a-zero",
            "A name with a zero in it would be another for whoever reads it in C.",
            &[Member::long_name(format!("{SMUGGLED}\0/x\0")), Member::file("x")],
        ),
        path(
            "path-too-long",
            "A name longer than any file system takes is read no further.",
            &[Member::long_name("x".repeat(60_000)), Member::file("x")],
        ),
        path(
            "path-too-deep",
            "Directories are not followed down without end.",
            &[Member::long_name(format!("{deep}\0")), Member::file("x")],
        ),
        path(
            "path-with-two-long-names",
            "A member has one name.",
            &[Member::long_name("x\0"), Member::long_name("y\0"), Member::file("z")],
        ),
        harmless(
            "path-that-is-not-text",
            "A name that is no text is a name to Linux, and stays in the tree.",
            archive(&[flake(), Member::file(b"\xff\xfe\x80")]),
        ),
    ]
}

fn duplicates() -> Vec<Forged> {
    let twice = |first: Member, second: Member| [flake(), first, second];
    vec![
        path(
            "duplicate-file",
            "Of two files with one name nobody may choose.",
            &twice(Member::file("x"), Member::file("x")),
        ),
        path("duplicate-directory", "Nor of two directories.", &twice(Member::directory("x"), Member::directory("x"))),
        path(
            "duplicate-in-another-spelling",
            "Names that differ in their spelling alone are one name.",
            &[Member::directory("x"), Member::file("x/y"), Member::file("x/.//y")],
        ),
        path(
            "duplicate-through-a-link",
            "Nothing is written to where a link stands.",
            &twice(Member::link("x", "flake.nix"), Member::file("x")),
        ),
        path("below-a-file", "Nothing lies below a file.", &twice(Member::file("x"), Member::file("x/y"))),
        path(
            "below-a-link",
            "Nothing is written through a link.",
            &[Member::directory("d"), Member::link("x", "d"), Member::file(format!("x/{SMUGGLED}"))],
        ),
        path("below-nothing", "Nothing lies below a directory that is not there.", &[flake(), Member::file("x/y")]),
    ]
}

fn links() -> Vec<Forged> {
    vec![
        link(
            "link-absolute",
            "A link to an absolute path leaves the tree.",
            &[flake(), Member::link("x", "/etc/passwd")],
        ),
        link("link-upwards", "A link upwards leaves the tree.", &[flake(), Member::link("x", "../../replay.json")]),
        link("link-to-above", "A link to what is above the tree leaves it.", &[flake(), Member::link("x", "..")]),
        link(
            "link-upwards-after-downwards",
            "A link that goes down first leaves the tree as well.",
            &[Member::directory("d"), Member::link("x", "d/../../y")],
        ),
        link(
            "link-through-another",
            "A link leaves the tree by way of another that stays in it.",
            &[Member::directory("a"), Member::link("a/up", ".."), Member::link("x", "a/up/../y")],
        ),
        link(
            "link-through-a-later-one",
            "It does so also where the other comes later.",
            &[Member::link("a", "b/../../y"), Member::link("b", "c"), Member::directory("c")],
        ),
        path("link-to-nothing", "A link points somewhere.", &[flake(), Member::link("x", "")]),
        kind("hard-link", "A hard link is nothing that is packed.", &[flake(), Member::new(b'1', "x").to("flake.nix")]),
        kind(
            "hard-link-outside",
            "A hard link would take in what lies outside.",
            &[flake(), Member::new(b'1', "x").to("/etc/passwd")],
        ),
        kind(
            "hard-link-to-a-link",
            "A hard link to a link would be written through.",
            &[Member::link("x", "flake.nix"), Member::new(b'1', SMUGGLED).to("x")],
        ),
    ]
}

fn kinds() -> Vec<Forged> {
    vec![
        kind("device-of-characters", "A device is nothing that is packed.", &[flake(), Member::new(b'3', SMUGGLED)]),
        kind("device-of-blocks", "Nor one of blocks.", &[flake(), Member::new(b'4', SMUGGLED)]),
        kind("pipe", "Nor a pipe, which whoever reads it would wait at.", &[flake(), Member::new(b'6', SMUGGLED)]),
        kind("contiguous-file", "Nor what nobody has used since.", &[flake(), Member::new(b'7', SMUGGLED)]),
        kind("sparse-file", "A sparse file is longer than its bytes.", &[flake(), sparse()]),
        kind(
            "kind-of-tomorrow",
            "A kind that is not known is not guessed at.",
            &[flake(), Member::new(b'Z', SMUGGLED)],
        ),
    ]
}

/// A file with a hole, as GNU tar wrote it.
fn sparse() -> Member {
    Member::new(b'S', SMUGGLED).holding("x")
}

fn records() -> Vec<Forged> {
    let local = |records: &[(&str, &str)]| [Member::records(b'x', records), flake()];
    let global = |records: &[(&str, &str)]| [Member::records(b'g', records), flake()];
    let long = "x".repeat(60_000);
    vec![
        kind("pax-path", "A PAX record could name another path than the header.", &local(&[("path", OUTSIDE)])),
        kind("pax-size", "A PAX record could tell another size than the header.", &local(&[("size", "0")])),
        kind("pax-link", "A PAX record could name another target.", &local(&[("linkpath", "/etc/passwd")])),
        kind("pax-long", "A PAX record is not read at all, however long.", &local(&[("comment", &long)])),
        kind("pax-global", "Global PAX records would be about every member.", &global(&[("path", OUTSIDE)])),
        kind(
            "pax-global-commit",
            "Not even what git writes in front of its archives is taken.",
            &global(&[("comment", "0000000000000000000000000000000000000000")]),
        ),
        kind(
            "pax-sparse",
            "A PAX record could make a file sparse.",
            &local(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "1099511627776")]),
        ),
    ]
}

fn sizes() -> Vec<Forged> {
    // GNU's way to write what octal digits cannot: the first bit set, then a binary number.
    let mut huge = [0xff; 12];
    huge[0] = 0x80;
    let mut negative = [0xff; 12];
    negative[11] = 0;
    let mut forged_sum = tar(&[flake()]);
    forged_sum[0] ^= 1;
    vec![
        damaged(
            "size-of-more-than-there-is",
            "A file that ends before it should is half a file.",
            archive(&[Member::file("x").sized(octal(1 << 20))]),
        ),
        damaged(
            "size-beyond-all-numbers",
            "A size that no number holds does not become a small one.",
            archive(&[Member::file("x").sized(huge), smuggled()]),
        ),
        damaged(
            "size-below-zero",
            "A size below zero does not lead backwards.",
            archive(&[Member::file("x").sized(negative), smuggled()]),
        ),
        damaged(
            "size-that-is-no-number",
            "A size that is no number is not taken for zero.",
            archive(&[Member::file("x").sized(*b"99999999999\0"), smuggled()]),
        ),
        damaged("header-with-a-wrong-sum", "A header that does not add up is damaged.", gzip(&forged_sum)),
    ]
}

fn streams() -> Vec<Forged> {
    let good = archive(&[flake()]);
    let more = archive(&[smuggled()]);
    let mut wrong_sum = good.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    vec![
        damaged("gzip-cut-off", "Half an archive is none.", good[..good.len() / 2].to_vec()),
        damaged("gzip-without-its-sum", "An archive without its end is none.", good[..good.len() - 8].to_vec()),
        damaged("gzip-with-a-wrong-sum", "An archive that does not add up is damaged.", wrong_sum),
        damaged("not-gzip", "A tar that is not compressed is no archive.", tar(&[flake()])),
        harmless(
            "garbage-behind-gzip",
            "What follows the compressed part is covered by the digest, and means nothing.",
            [&good[..], b"garbage"].concat(),
        ),
        harmless(
            "gzip-of-two-parts",
            "A second compressed part is covered by the digest, and is not unpacked.",
            [good, more].concat(),
        ),
        harmless(
            "tar-behind-tar",
            "What follows the end of the tar is not unpacked.",
            gzip(&[tar(&[flake()]), tar(&[smuggled()])].concat()),
        ),
    ]
}

fn modes() -> Vec<Forged> {
    vec![harmless(
        "setuid-bits",
        "Of a mode only whether its owner may execute the file is kept.",
        archive(&[
            flake().mode(0o4755),
            Member::file("group").mode(0o2777),
            Member::directory("sticky").mode(0o1777),
            Member::file("sticky/closed").mode(0),
        ]),
    )]
}
