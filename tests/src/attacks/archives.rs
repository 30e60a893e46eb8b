//! Archives made by hand, as nobody's packer would: tar headers byte by byte, in gzip without compression, so that they stay
//! the same whatever a compression library does next year.

use flate2::Crc;

/// The size of a tar block, in bytes.
pub(super) const BLOCK: usize = 512;

/// What ends a tar.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A member of a tar.
#[derive(Debug, Clone)]
pub(super) struct Member {
    path: Vec<u8>,
    kind: u8,
    target: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
    size: Option<[u8; 12]>,
}

impl Member {
    /// A member of any kind, by tar's letter for it.
    pub(super) fn new(kind: u8, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref().to_vec();
        Self { path, kind, target: Vec::new(), mode: 0o644, content: Vec::new(), size: None }
    }

    /// A small file.
    pub(super) fn file(path: impl AsRef<[u8]>) -> Self {
        Self::new(b'0', path).holding(b"forged\n")
    }

    /// A directory.
    pub(super) fn directory(path: impl AsRef<[u8]>) -> Self {
        Self::new(b'5', path).mode(0o755)
    }

    /// A symbolic link.
    pub(super) fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(b'2', path).to(target)
    }

    /// GNU's long name for the member behind it.
    pub(super) fn long_name(path: impl AsRef<[u8]>) -> Self {
        Self::new(b'L', "././@LongLink").holding(path)
    }

    /// PAX records for the member behind it, or for all.
    pub(super) fn records(kind: u8, records: &[(&str, &str)]) -> Self {
        let text: String = records.iter().map(|(key, value)| record(key, value)).collect();
        Self::new(kind, "PaxHeaders/x").holding(text)
    }

    /// With this target.
    pub(super) fn to(mut self, target: impl AsRef<[u8]>) -> Self {
        self.target = target.as_ref().to_vec();
        self
    }

    /// With this mode.
    pub(super) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// With this content.
    pub(super) fn holding(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = content.as_ref().to_vec();
        self
    }

    /// With these bytes where its size stands.
    pub(super) fn sized(mut self, size: [u8; 12]) -> Self {
        self.size = Some(size);
        self
    }

    /// The header block.
    pub(super) fn header(&self) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path);
        put(100, format!("{:07o}\0{:07o}\0{:07o}\0", self.mode, 0, 0).as_bytes());
        put(124, &self.size.unwrap_or_else(|| octal(self.content.len() as u64)));
        put(136, &octal(0));
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.target);
        put(257, b"ustar  \0");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }
}

/// A size as tar writes it.
pub(super) fn octal(number: u64) -> [u8; 12] {
    format!("{number:011o}\0").into_bytes().try_into().expect("eleven digits are enough")
}

/// A PAX record: its own length in decimal, a space, `key=value`, a newline.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (1..9).find(|digits| (rest.len() + digits).to_string().len() == *digits).expect("some length fits");
    format!("{}{rest}", rest.len() + length)
}

/// These members as a tar.
pub(super) fn tar(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        bytes.extend(member.header());
        bytes.extend(&member.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.extend(END);
    bytes
}

/// The ten bytes that a gzip member begins with (RFC 1952, section 2.3).
pub(super) const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What a gzip member ends with.
pub(super) fn gzip_tail(sum: u32, length: u64) -> [u8; 8] {
    let length = u32::try_from(length & u64::from(u32::MAX)).expect("masked");
    let mut tail = [0; 8];
    tail[..4].copy_from_slice(&sum.to_le_bytes());
    tail[4..].copy_from_slice(&length.to_le_bytes());
    tail
}

/// `content` as a gzip member of stored blocks (RFC 1951, section 3.2.4).
pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut bytes = GZIP_HEAD.to_vec();
    let mut pieces = content.chunks(usize::from(u16::MAX)).peekable();
    while let Some(piece) = pieces.next() {
        let length = u16::try_from(piece.len()).expect("a piece is short");
        bytes.push(u8::from(pieces.peek().is_none()));
        bytes.extend(length.to_le_bytes());
        bytes.extend((!length).to_le_bytes());
        bytes.extend(piece);
    }
    let mut sum = Crc::new();
    sum.update(content);
    bytes.extend(gzip_tail(sum.sum(), content.len() as u64));
    bytes
}

/// These members as an archive.
pub(super) fn archive(members: &[Member]) -> Vec<u8> {
    gzip(&tar(members))
}

/// A good archive, which differs from others by its words.
pub(super) fn good(words: &str) -> Vec<u8> {
    archive(&[Member::new(b'0', "flake.nix").holding(format!("{{ outputs = _: {{ }}; }} # {words}\n"))])
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_made_by_hand_is_gzip_and_tar() {
        let content = crate::noise(200_000, 1);
        let bytes = archive(&[Member::directory("d"), Member::new(b'0', "d/x").holding(&content)]);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).expect("gzip");
        let mut archive = tar::Archive::new(&unpacked[..]);
        let mut entries = archive.entries().expect("a tar");
        assert_eq!(entries.next().expect("a directory").expect("whole").path().expect("a path").to_str(), Some("d"));
        let mut file = entries.next().expect("a file").expect("whole");
        let mut read = Vec::new();
        file.read_to_end(&mut read).expect("readable");
        assert_eq!(read, content);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("path", "/etc/passwd"), "20 path=/etc/passwd\n");
        assert_eq!(record("a", &"x".repeat(93)).len(), 99);
        assert_eq!(record("a", &"x".repeat(94)).len(), 101);
    }
}
