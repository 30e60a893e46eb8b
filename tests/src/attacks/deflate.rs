//! Just enough of deflate to compress by hand: fixed Huffman codes (RFC 1951, section 3.2.6) and copies of what stood before.
//!
//! A library would do it better and, some day, otherwise: then the archives in the corpus would have other names.

/// A deflate stream that consists of one block.
#[derive(Debug, Default)]
pub(super) struct Deflate {
    bytes: Vec<u8>,
    held: u64,
    bits: u32,
}

/// The first length of each length code from 257 on.
const LENGTHS: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];

/// The longest copy.
const LONGEST: usize = 258;

/// The shortest copy.
const SHORTEST: usize = 3;

impl Deflate {
    /// A stream that begins its only block.
    pub(super) fn new() -> Self {
        let mut stream = Self::default();
        stream.push(0b011, 3);
        stream
    }

    /// Adds bits, the least significant first.
    fn push(&mut self, bits: u32, count: u32) {
        self.held |= u64::from(bits) << self.bits;
        self.bits += count;
        while self.bits >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.bits -= 8;
        }
    }

    /// Adds a Huffman code, the most significant bit first.
    fn code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }

    fn symbol(&mut self, symbol: u32) {
        match symbol {
            0..144 => self.code(0x30 + symbol, 8),
            144..256 => self.code(0x190 + symbol - 144, 9),
            256..280 => self.code(symbol - 256, 7),
            _ => self.code(0xc0 + symbol - 280, 8),
        }
    }

    /// Adds a byte as it is.
    pub(super) fn literal(&mut self, byte: u8) {
        self.symbol(byte.into());
    }

    /// Adds a copy of 3 to 258 bytes from either one byte or one tar block before.
    fn copy(&mut self, length: usize, from: Distance) {
        let length = u16::try_from(length).expect("a copy is short");
        let code = LENGTHS.iter().rposition(|first| *first <= length).expect("a copy has three bytes or more");
        self.symbol(257 + u32::try_from(code).expect("29 codes"));
        // Codes come in groups of four with as many more bits each; 258 has a code of its own, and no bits.
        let extra = if code < 8 || code == 28 { 0 } else { u32::try_from(code / 4 - 1).expect("5 at most") };
        self.push(u32::from(length - LENGTHS[code]), extra);
        match from {
            Distance::Byte => self.code(0, 5),
            Distance::Block => {
                self.code(17, 5);
                self.push(512 - 385, 7);
            }
        }
    }

    /// Adds a copy of any length; what is too short for one is returned to be added otherwise.
    pub(super) fn copies(&mut self, mut length: usize, from: Distance) -> usize {
        while length >= SHORTEST {
            // What remains must not be too short for a copy, if that can be helped.
            let now = match length {
                0..=LONGEST => length,
                _ if length - LONGEST < SHORTEST => LONGEST - SHORTEST,
                _ => LONGEST,
            };
            self.copy(now, from);
            length -= now;
        }
        length
    }

    /// Adds the same copy `count` times, quickly: eight times the bits of one are whole bytes.
    pub(super) fn repeat(&mut self, count: u64, length: usize, from: Distance) {
        for _ in 0..count % 8 {
            self.copies(length, from);
        }
        let begun = self.bytes.len();
        for _ in 0..8.min(count / 8 * 8) {
            self.copies(length, from);
        }
        let unit = self.bytes[begun..].to_vec();
        for _ in 1..count / 8 {
            self.bytes.extend_from_slice(&unit);
        }
    }

    /// The finished stream.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.symbol(256);
        if self.bits > 0 {
            self.push(0, 8 - self.bits);
        }
        self.bytes
    }
}

/// How far back a copy begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// One byte: runs of one byte.
    Byte,
    /// One tar block: what the header before had in the same place.
    Block,
}
