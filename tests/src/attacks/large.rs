//! Archives that are too large to be files in the corpus. Each is made once, when it is first asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Crc;

use super::archives::{BLOCK, END, GZIP_HEAD, Member, gzip_tail, tar};
use super::deflate::{Deflate, Distance};
use super::recipe::Behaviour;

/// Entries up to here have names of their own. The rest repeats the last: no reader gets so far.
const DISTINCT: u64 = 210_000;

/// The archive that a behaviour describes, if it describes one.
pub(super) fn archive(behaviour: &Behaviour) -> Option<Arc<Vec<u8>>> {
    static MADE: Mutex<BTreeMap<String, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());
    let maker: &dyn Fn() -> Vec<u8> = match behaviour {
        Behaviour::Entries(count) => &|| entries(*count),
        Behaviour::Zeros(count) => &|| zeros(*count),
        Behaviour::ZerosBehind(count) => &|| zeros_behind(*count),
        _ => return None,
    };
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Arc::clone(made.entry(format!("{behaviour:?}")).or_insert_with(|| Arc::new(maker()))))
}

/// A gzip member in the making: what was compressed, and its sum.
struct Gzip {
    stream: Deflate,
    sum: Crc,
    length: u64,
}

impl Gzip {
    fn new() -> Self {
        Self { stream: Deflate::new(), sum: Crc::new(), length: 0 }
    }

    /// Adds bytes as they are.
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.stream.literal(*byte);
        }
        self.sum.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Adds a block, as what it has in common with the block before and what it has not.
    fn like_before(&mut self, before: &[u8; BLOCK], block: &[u8; BLOCK]) {
        let mut at = 0;
        while at < BLOCK {
            let same = in_common(&before[at..], &block[at..]);
            let left = self.stream.copies(same, Distance::Block);
            let until = (at + same + 1).min(BLOCK);
            for byte in &block[at + same - left..until] {
                self.stream.literal(*byte);
            }
            at = until;
        }
        self.sum.update(block);
        self.length += BLOCK as u64;
    }

    /// Adds zeros, behind a zero.
    fn zeros(&mut self, count: u64) {
        const RUN: [u8; 258] = [0; 258];
        let runs = count / RUN.len() as u64;
        self.stream.repeat(runs, RUN.len(), Distance::Byte);
        self.sum.combine(&sum_of_repeated(&RUN, runs));
        self.length += runs * RUN.len() as u64;
        let rest = usize::try_from(count % RUN.len() as u64).expect("less than a run");
        self.bytes(&RUN[..rest]);
    }

    fn finish(self) -> Vec<u8> {
        [&GZIP_HEAD[..], &self.stream.finish(), &gzip_tail(self.sum.sum(), self.length)].concat()
    }
}

/// How many bytes two slices have in common at their beginning; found a strip at a time, since most is.
fn in_common(one: &[u8], two: &[u8]) -> usize {
    const STRIP: usize = 64;
    let strips = one.chunks_exact(STRIP).zip(two.chunks_exact(STRIP)).take_while(|(one, two)| one == two).count();
    let begun = strips * STRIP;
    begun + one[begun..].iter().zip(&two[begun..]).take_while(|(one, two)| one == two).count()
}

/// An archive of so many links, which cost a host less than files.
fn entries(count: u64) -> Vec<u8> {
    let header = |number: u64| Member::link(format!("l{number:08}"), "x").header();
    let mut gzip = Gzip::new();
    let mut before = header(0);
    gzip.bytes(&before);
    for number in 1..count.min(DISTINCT) {
        let block = header(number);
        gzip.like_before(&before, &block);
        before = block;
    }
    let rest = count.saturating_sub(DISTINCT);
    gzip.stream.repeat(rest, BLOCK, Distance::Block);
    gzip.sum.combine(&sum_of_repeated(&before, rest));
    gzip.length += rest * BLOCK as u64;
    gzip.bytes(&END);
    gzip.finish()
}

/// The sum of `unit` `count` times, out of the sum of half as many.
fn sum_of_repeated(unit: &[u8], count: u64) -> Crc {
    let mut sum = Crc::new();
    if count > 0 {
        let half = sum_of_repeated(unit, count / 2);
        sum.combine(&half);
        sum.combine(&half);
    }
    if count % 2 == 1 {
        sum.update(unit);
    }
    sum
}

/// An archive of one file with so many zeros.
fn zeros(count: u64) -> Vec<u8> {
    let mut gzip = Gzip::new();
    gzip.bytes(&Member::new(b'0', "zeros").sized(super::archives::octal(count)).header());
    gzip.zeros(count.next_multiple_of(BLOCK as u64) + END.len() as u64);
    gzip.finish()
}

/// An archive of one small file, and so many zeros behind the end of the tar.
fn zeros_behind(count: u64) -> Vec<u8> {
    let mut gzip = Gzip::new();
    gzip.bytes(&tar(&[Member::file("flake.nix")]));
    gzip.zeros(count);
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut unpacked).expect("gzip with the right sum");
        unpacked
    }

    #[test]
    fn large_archives_are_what_they_seem() {
        let tar = unpacked(&entries(DISTINCT + 100));
        let mut archive = tar::Archive::new(&tar[..]);
        let mut names = archive.entries().expect("a tar").map(|entry| entry.expect("whole").path_bytes().into_owned());
        assert_eq!(names.nth(123_456).as_deref(), Some(&b"l00123456"[..]));
        assert_eq!(names.count() + 123_457, usize::try_from(DISTINCT).expect("small") + 100);

        let tar = unpacked(&zeros(1_000_001));
        let mut archive = tar::Archive::new(&tar[..]);
        let sizes: Vec<_> = archive.entries().expect("a tar").map(|entry| entry.expect("whole").size()).collect();
        assert_eq!(sizes, [1_000_001]);
        assert_eq!(tar.len() % BLOCK, 0);

        let tar = unpacked(&zeros_behind(100_000));
        assert_eq!(tar.len(), 2 * BLOCK + END.len() + 100_000);
    }
}
