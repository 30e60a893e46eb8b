//! One request and its answer, as bytes with just enough understood to cut them in the right place.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Passed;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// An answer, split where its head ends.
#[derive(Debug)]
pub(crate) struct Answer {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    /// The answer of something that is not the store, such as a network that wants its visitors to log in first.
    pub(super) fn portal() -> Self {
        let body = b"<!doctype html><title>Welcome</title><p>Please accept our terms.\n".to_vec();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\netag: \"portal\"\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Self { head: head.into_bytes(), body }
    }

    /// An error of the server's. It asks clients to stay away in both ways that are in use.
    pub(super) fn error(code: u16, stay_away: Option<u32>) -> Self {
        let stay_away = stay_away.map_or_else(String::new, |seconds| {
            format!("retry-after: {seconds}\r\nx-amz-retry-after: {}\r\n", u64::from(seconds) * 1000)
        });
        let head = format!("HTTP/1.1 {code} Fault\r\n{stay_away}content-length: 0\r\n\r\n");
        Self { head: head.into_bytes(), body: Vec::new() }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Vec<u8> {
        [&self.head[..], &self.body].concat()
    }

    /// Whether the server did what it was asked.
    pub(crate) fn is_success(&self) -> bool {
        self.head.split(|byte| *byte == b' ').nth(1).is_some_and(|status| status.starts_with(b"2"))
    }

    /// As much as passes.
    pub(super) fn part(&self, passed: Passed) -> Vec<u8> {
        match passed {
            Passed::Nothing => Vec::new(),
            Passed::Half if self.body.is_empty() => self.head[..self.head.len() / 2].to_vec(),
            Passed::Half => [&self.head[..], &self.body[..self.body.len() / 2]].concat(),
            Passed::Everything => self.whole(),
        }
    }

    /// The same head before a body of the same length in which every byte is another.
    pub(super) fn garbled(&self) -> Self {
        Self { head: self.head.clone(), body: self.body.iter().map(|byte| byte ^ 0x55).collect() }
    }

    /// Whether a client can tell where it ends without the connection's end.
    pub(crate) fn is_framed(&self) -> bool {
        let head = String::from_utf8_lossy(&self.head).to_lowercase();
        let bodiless = head.split(' ').nth(1).is_some_and(|status| matches!(status, "204" | "304"));
        bodiless || head.contains("\r\ncontent-length:") || head.contains("\r\ntransfer-encoding:")
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD).map(|at| at + END_OF_HEAD.len())
}

/// Reads one request, body and all; none where the client has gone.
pub(crate) async fn read_request(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    loop {
        if let Some(end) = end_of_head(&request)
            && request.len() >= end + body_length(&request[..end])
        {
            return Ok(Some(request));
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
}

fn body_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.unwrap_or(0)
}

/// Asks the server on a connection of its own, which ends with the answer: so its end needs no understanding.
pub(crate) async fn ask(target: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let line = request.windows(2).position(|window| window == b"\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let mut server = TcpStream::connect(target).await?;
    server.write_all(&[&request[..line], b"\r\nconnection: close", &request[line..]].concat()).await?;
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).await?;
    let end = end_of_head(&bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
    let body = bytes.split_off(end);
    Ok(Answer { head: without_connection(&bytes), body })
}

/// What the server says of its own connection is not meant for the client.
fn without_connection(head: &[u8]) -> Vec<u8> {
    let lines = head.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.to_ascii_lowercase().starts_with(b"connection:")).flatten().copied().collect()
}
