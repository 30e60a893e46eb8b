//! What strace saw: which paths a program looked at, read and listed.
//!
//! The format is that of `strace -f -y` (strace(1)): one call a line, `PID name(arguments) = result`; a call that another
//! thread interrupted is told in two lines, `PID name(arguments <unfinished ...>` and `PID <... name resumed>rest`.
//! Strings are quoted with C's escapes; descriptors are followed by what they stand for, in angle brackets.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The calls to trace; `?` is for those that this strace or this kernel may not know.
pub(super) const CALLS: &str = "trace=?open,openat,?openat2,?stat,?lstat,?newfstatat,?statx,?access,?faccessat,\
                                ?faccessat2,?readlink,?readlinkat,?getdents,?getdents64,?execve,write";

/// How much of what is written is shown: enough for [`BEGIN`].
pub(super) const SHOWN_BYTES: &str = "32";

/// What Nix says, with `-vv`, before it evaluates its first file that is not its own.
const BEGIN: &[u8] = b"evaluating file '/";

/// How strace tells that a program ended: `+++ exited with 0 +++`, `+++ killed by SIGKILL +++`.
const END: &[u8] = b"+++ ";

/// How a path was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// Only whether it is there, and what it is.
    Look,
    /// Likewise, through a link in the last place.
    LookThrough,
    /// It was opened.
    Open,
    /// The names in it were listed.
    List,
}

/// One use of a path below the traced directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Access {
    /// The path, relative to the directory.
    pub(super) path: PathBuf,
    /// How it was used.
    pub(super) how: Use,
}

/// What was done below a directory.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// In the order of time, since the evaluation began.
    pub(super) accesses: Vec<Access>,
    /// Whether the directory was walked before the evaluation began. Some versions of Nix (2.20 and later) hash the whole
    /// flake first; from then on they know what exists without asking again.
    pub(super) walked_before: bool,
}

/// Reads a trace, keeping what happened below `directory`, which Nix calls by its name and the kernel by its real path.
///
/// Strace works on when it cannot write any more, as on a full disk, and ends well: a trace without the end of the program
/// that it began with is an error ([`io::ErrorKind::UnexpectedEof`]).
pub(super) fn read(mut trace: impl BufRead, directory: &Path) -> io::Result<Trace> {
    let real = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let mut found = Trace::default();
    let mut evaluating = false;
    let (mut first, mut has_ended) = (None, false);
    let mut unfinished: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if trace.read_until(b'\n', &mut line)? == 0 {
            return if has_ended { Ok(found) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let Some((pid, call)) = split_pid(line.trim_ascii_end()) else { continue };
        let first = first.get_or_insert_with(|| pid.to_owned());
        has_ended |= pid == first.as_slice() && call.starts_with(END);
        let whole = if let Some(begun) = call.strip_suffix(b"<unfinished ...>") {
            unfinished.insert(pid.to_owned(), begun.to_owned());
            continue;
        } else if let Some(resumed) = call.strip_prefix(b"<... ") {
            let Some(mut begun) = unfinished.remove(pid) else { continue };
            let rest = resumed.windows(8).position(|window| window == b"resumed>").map_or(resumed.len(), |at| at + 8);
            begun.extend_from_slice(&resumed[rest..]);
            begun
        } else {
            call.to_owned()
        };
        match parse(&whole) {
            Some(Call::Said(text)) => evaluating |= text.starts_with(BEGIN),
            Some(Call::Used(path, how)) => {
                let below = path.strip_prefix(directory).or_else(|_| path.strip_prefix(&real));
                let Ok(relative) = below else { continue };
                if evaluating {
                    found.accesses.push(Access { path: relative.to_owned(), how });
                } else if how == Use::List {
                    found.walked_before = true;
                }
            }
            None => {}
        }
    }
}

enum Call {
    Used(PathBuf, Use),
    Said(Vec<u8>),
}

fn split_pid(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    let (pid, call) = line.split_at(end);
    pid.iter().all(u8::is_ascii_digit).then(|| (pid, call.trim_ascii_start()))
}

fn parse(call: &[u8]) -> Option<Call> {
    let open = call.iter().position(|byte| *byte == b'(')?;
    let name = call[..open].trim_ascii();
    let mut arguments = Arguments(&call[open + 1..]);
    match name {
        b"write" => {
            // The second descriptor is where Nix talks.
            let (number, _) = arguments.descriptor()?;
            (number == b"2").then_some(())?;
            arguments.comma()?;
            arguments.string().map(Call::Said)
        }
        b"getdents" | b"getdents64" => {
            let (_, path) = arguments.descriptor()?;
            Some(Call::Used(path?, Use::List))
        }
        b"open" | b"execve" => Some(Call::Used(path(arguments.string()?), Use::Open)),
        b"stat" | b"access" => Some(Call::Used(path(arguments.string()?), Use::LookThrough)),
        b"lstat" | b"readlink" => Some(Call::Used(path(arguments.string()?), Use::Look)),
        b"openat" | b"openat2" | b"newfstatat" | b"statx" | b"faccessat" | b"faccessat2" | b"readlinkat" => {
            let (_, directory) = arguments.descriptor()?;
            arguments.comma()?;
            let string = arguments.string()?;
            let path = match directory {
                Some(directory) if string.is_empty() => directory,
                Some(directory) => directory.join(path(string)),
                None => path(string),
            };
            Some(Call::Used(path, use_at(name, arguments.0)))
        }
        _ => None,
    }
}

fn use_at(name: &[u8], rest: &[u8]) -> Use {
    let has = |flag: &[u8]| rest.windows(flag.len()).any(|window| window == flag);
    match name {
        // A directory that is opened is only then listed when its names are asked for, or when something in it is.
        b"openat" | b"openat2" if has(b"O_DIRECTORY") || has(b"O_PATH") => Use::LookThrough,
        b"openat" | b"openat2" => Use::Open,
        b"readlinkat" => Use::Look,
        _ if has(b"AT_SYMLINK_NOFOLLOW") => Use::Look,
        _ => Use::LookThrough,
    }
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// What is left of a call's arguments.
struct Arguments<'a>(&'a [u8]);

impl Arguments<'_> {
    /// `AT_FDCWD</place>` or `7</place>`: the name and the place.
    fn descriptor(&mut self) -> Option<(Vec<u8>, Option<PathBuf>)> {
        let end = self.0.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_' && *byte != b'-')?;
        let name = self.0[..end].to_owned();
        self.0 = &self.0[end..];
        let place = if self.0.first() == Some(&b'<') { Some(path(self.quoted(b'>')?)) } else { None };
        Some((name, place))
    }

    fn comma(&mut self) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(b",")?.trim_ascii_start();
        Some(())
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        if self.0.first() == Some(&b'"') { self.quoted(b'"') } else { None }
    }

    /// What stands between the first byte and the next `end` that is not escaped.
    fn quoted(&mut self, end: u8) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut at = 1;
        loop {
            match *self.0.get(at)? {
                byte if byte == end => break,
                b'\\' => {
                    let (byte, length) = unescape(&self.0[at + 1..])?;
                    bytes.push(byte);
                    at += 1 + length;
                }
                byte => {
                    bytes.push(byte);
                    at += 1;
                }
            }
        }
        self.0 = &self.0[at + 1..];
        Some(bytes)
    }
}

/// The byte that an escape stands for, and how long the escape is after its backslash.
fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let first = *text.first()?;
    let simple = match first {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'0'..=b'7' => {
            let digits = text.iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let value = text[..digits].iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            return Some((u8::try_from(value).ok()?, digits));
        }
        other => other,
    };
    Some((simple, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accesses(trace: &str) -> Vec<(String, Use)> {
        let text =
            format!("1 write(2</log>, \"evaluating file '/nix/s\", 20) = 20\n{trace}\n1 +++ exited with 0 +++\n");
        let found = read(text.as_bytes(), Path::new("/s")).expect("read");
        found.accesses.into_iter().map(|access| (access.path.display().to_string(), access.how)).collect()
    }

    fn one(path: &str, how: Use) -> Vec<(String, Use)> {
        vec![(path.to_owned(), how)]
    }

    #[test]
    fn calls_are_understood() {
        let at = "AT_FDCWD</home/me>";
        let cases = [
            (format!("7 openat({at}, \"/s/a\", O_RDONLY|O_CLOEXEC) = 11</s/a>"), one("a", Use::Open)),
            (format!("7 openat({at}, \"/s/a\", O_RDONLY|O_DIRECTORY) = 11</s/a>"), one("a", Use::LookThrough)),
            ("7 getdents64(11</s/a>, 0x55 /* 5 entries */, 32768) = 136".to_owned(), one("a", Use::List)),
            (
                format!("7 newfstatat({at}, \"/s/x/y\", 0x7f, AT_SYMLINK_NOFOLLOW) = -1 ENOENT (No)"),
                one("x/y", Use::Look),
            ),
            (format!("7 newfstatat({at}, \"/s\", {{st_mode=S_IFDIR}}, 0) = 0"), one("", Use::LookThrough)),
            ("7 openat(11</s/a>, \"b\", O_RDONLY) = 12</s/a/b>".to_owned(), one("a/b", Use::Open)),
            ("7 execve(\"/s/tool\", [\"tool\"], 0x1 /* 3 vars */) = 0".to_owned(), one("tool", Use::Open)),
            ("7 readlink(\"/s/link\", \"../x\", 13) = 4".to_owned(), one("link", Use::Look)),
            ("7 stat(\"/elsewhere\", 0x1) = 0".to_owned(), Vec::new()),
            ("7 write(1</out>, \"evaluating file '\", 1) = 1".to_owned(), Vec::new()),
            ("7 +++ exited with 0 +++".to_owned(), Vec::new()),
            ("7 --- SIGCHLD {si_signo=SIGCHLD} ---".to_owned(), Vec::new()),
        ];
        for (line, expected) in cases {
            assert_eq!(accesses(&line), expected, "{line}");
        }
    }

    #[test]
    fn odd_names_are_unescaped() {
        let line = r#"7 openat(AT_FDCWD</h>, "/s/a\"b\\c\nd\303\244 \1x", O_RDONLY) = 3</s/x>"#;
        assert_eq!(accesses(line), one("a\"b\\c\nd\u{e4} \u{1}x", Use::Open));
        let line = "7 getdents64(3</s/a\\76b>, 0x1 /* 0 entries */, 32768) = 0";
        assert_eq!(accesses(line), one("a>b", Use::List));
    }

    #[test]
    fn interrupted_calls_are_put_together() {
        let trace = "7 openat(AT_FDCWD</h>, \"/s/a\", O_RDONLY <unfinished ...>\n\
                     8 openat(AT_FDCWD</h>, \"/s/b\", O_RDONLY) = 3</s/b>\n\
                     7 <... openat resumed>) = 4</s/a>\n";
        assert_eq!(accesses(trace), [("b".to_owned(), Use::Open), ("a".to_owned(), Use::Open)]);
    }

    #[test]
    fn what_comes_before_the_evaluation_is_told_apart() {
        let before = "7 write(2</e>, \"evaluating file '<nix/derivation-internal.nix>'\"..., 30) = 30\n\
                      7 openat(AT_FDCWD</h>, \"/s\", O_RDONLY|O_DIRECTORY) = 3</s>\n\
                      7 getdents64(3</s>, 0x1 /* 3 entries */, 32768) = 80\n\
                      7 openat(AT_FDCWD</h>, \"/s/a\", O_RDONLY) = 3</s/a>\n";
        let after = "7 write(2</e>, \"evaluating file '/s/flake.nix'\"..., 30) = 30\n\
                     7 openat(AT_FDCWD</h>, \"/s/flake.nix\", O_RDONLY) = 3</s/flake.nix>\n\
                     7 +++ exited with 0 +++\n";
        let found = read(format!("{before}{after}").as_bytes(), Path::new("/s")).expect("read");
        assert!(found.walked_before);
        assert_eq!(found.accesses, [Access { path: "flake.nix".into(), how: Use::Open }]);
        assert!(!read(after.as_bytes(), Path::new("/s")).expect("read").walked_before);
    }

    #[test]
    fn a_trace_that_was_cut_off_is_no_trace() {
        let whole = "7 openat(AT_FDCWD</h>, \"/s/a\", O_RDONLY) = 3</s/a>\n\
                     8 +++ exited with 0 +++\n\
                     7 +++ killed by SIGSEGV (core dumped) +++\n";
        assert!(read(whole.as_bytes(), Path::new("/s")).is_ok());
        for lines in 0..3 {
            let cut: String = whole.split_inclusive('\n').take(lines).collect();
            let kind = read(cut.as_bytes(), Path::new("/s")).map_err(|error| error.kind());
            assert_eq!(kind.expect_err("cut off"), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }
}
