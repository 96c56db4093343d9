//! Bounded reading: the socket zbus reads from, which ends a connection before it can cost much.
//!
//! zbus itself takes messages of 128 MiB and a greeting of any length, and its reader panics on a
//! greeting line that is a bare line feed. All bytes pass through here first. No descriptor goes
//! through: the contract has no argument of that type, and what came along is closed. Only the hub
//! is sent any.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::Message;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::fdo::ConnectionCredentials;

use crate::sys::socket;

/// Longest message a client may send.
pub(crate) const MAX_MESSAGE: u64 = 512 * 1024;
/// Longest greeting before `BEGIN`.
const MAX_GREETING: usize = 4096;
/// Fixed part of a message's header.
const HEADER: usize = 16;

/// What has been read so far, as far as limits go.
#[derive(Debug)]
enum Phase {
    /// Lines of the SASL greeting: bytes in all, and the current line.
    Greeting { read: usize, line: Vec<u8> },
    /// Messages: the fixed header as far as it is there, then bytes still to come.
    Messages { header: Vec<u8>, left: u64 },
}

/// Watches a client's bytes go by.
#[derive(Debug)]
pub(crate) struct Meter(Phase);

impl Meter {
    pub(crate) const fn new() -> Self {
        Self(Phase::Greeting {
            read: 0,
            line: Vec::new(),
        })
    }

    /// Takes the next bytes; an error ends the connection.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match &mut self.0 {
                Phase::Greeting { read, line } => {
                    *read += 1;
                    if *read > MAX_GREETING {
                        return Err("the greeting is too long");
                    }
                    line.push(byte);
                    rest = after;
                    if byte == b'\n' {
                        let Some(text) = line.strip_suffix(b"\r\n") else {
                            return Err("a line of the greeting ends wrongly");
                        };
                        if text == b"BEGIN" {
                            self.0 = Phase::Messages {
                                header: Vec::with_capacity(HEADER),
                                left: 0,
                            };
                        } else {
                            line.clear();
                        }
                    }
                }
                Phase::Messages { left, .. } if *left > 0 => {
                    let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(*left);
                    *left -= here;
                    rest = &rest[usize::try_from(here).unwrap_or(rest.len())..];
                }
                Phase::Messages { header, left } => {
                    header.push(byte);
                    rest = after;
                    if header.len() == HEADER {
                        *left = remaining(header)?;
                        header.clear();
                    }
                }
            }
        }
        Ok(())
    }
}

/// How much of a message follows its fixed header.
fn remaining(header: &[u8]) -> Result<u64, &'static str> {
    let number = |at: usize| -> Option<u64> {
        let bytes: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
        match header.first()? {
            b'l' => Some(u64::from(u32::from_le_bytes(bytes))),
            b'B' => Some(u64::from(u32::from_be_bytes(bytes))),
            _ => None,
        }
    };
    let (Some(body), Some(fields)) = (number(4), number(12)) else {
        return Err("this is no D-Bus message");
    };
    let rest = fields.next_multiple_of(8) + body;
    if rest > MAX_MESSAGE {
        return Err("the message is too long");
    }
    Ok(rest)
}

/// A client's socket with a [`Meter`].
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) stream: UnixStream,
    pub(crate) uid: u32,
    /// Whether descriptors may be sent to this client.
    pub(crate) sends_fds: bool,
}

impl Socket for Metered {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.stream.into_split();
        let reader = Reader {
            stream: read,
            uid: self.uid,
            sends_fds: self.sends_fds,
            meter: Meter::new(),
        };
        Split::new(reader, Writer(write))
    }
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: OwnedReadHalf,
    uid: u32,
    sends_fds: bool,
    meter: Meter,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let stream: &UnixStream = self.stream.as_ref();
        let read = stream
            .async_io(Interest::READABLE, || {
                socket::receive_bytes(stream.as_fd(), buffer)
            })
            .await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        self.meter
            .pass(bytes)
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        Ok((read, Vec::new()))
    }

    // zbus asks the reading half about both directions.
    fn can_pass_unix_fd(&self) -> bool {
        self.sends_fds
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        Ok(ConnectionCredentials::default().set_unix_user_id(self.uid))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let stream: &UnixStream = self.stream.as_ref();
        socket::hang_up(stream.as_fd());
    }
}

/// Messages are written together until they are so many bytes.
const TOGETHER: usize = 64 << 10;

/// The writing half.
#[derive(Debug)]
pub(crate) struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn send_messages(&mut self, messages: &[Message]) -> zbus::Result<()> {
        let mut together = vec![];
        for message in messages {
            let data = message.data();
            if data.fds().is_empty() && together.len() < TOGETHER {
                together.extend_from_slice(data);
                continue;
            }
            self.0.write_all(&together).await?;
            together.clear();
            // Descriptors go with the first byte of a write.
            self.send_message(message).await?;
        }
        Ok(self.0.write_all(&together).await?)
    }

    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if fds.is_empty() {
            return self.0.write(buffer).await;
        }
        let stream: &UnixStream = self.0.as_ref();
        stream
            .async_io(Interest::WRITABLE, || {
                socket::send(stream.as_fd(), buffer, fds)
            })
            .await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &[u8] = b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

    fn message(fields: u32, body: u32) -> Vec<u8> {
        let mut bytes = b"l\x01\0\x01".to_vec();
        bytes.extend(body.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(fields.to_le_bytes());
        bytes
    }

    #[test]
    fn an_honest_client_passes_in_pieces_of_any_size() {
        let mut bytes = GREETING.to_vec();
        for body in [0, 5] {
            bytes.extend(message(13, body));
            bytes.extend(vec![7; 16 + body as usize]);
        }
        for size in 1..bytes.len() {
            let mut meter = Meter::new();
            for piece in bytes.chunks(size) {
                meter.pass(piece).unwrap();
            }
            let Phase::Messages { header, left } = meter.0 else {
                panic!("still greeting");
            };
            assert_eq!((header.len(), left), (0, 0), "pieces of {size}");
        }
    }

    #[test]
    fn limits_hold() {
        let after = |bytes: &[u8]| {
            let mut meter = Meter::new();
            meter.pass(GREETING).unwrap();
            meter.pass(bytes)
        };
        assert!(after(&message(0, 512 * 1024)).is_ok());
        assert!(after(&message(0, 512 * 1024 + 1)).is_err());
        assert!(after(&message(u32::MAX, u32::MAX)).is_err());
        assert!(after(&[b'x'; 16]).is_err());
        assert!(Meter::new().pass(&[b'A'; MAX_GREETING]).is_ok());
        assert!(Meter::new().pass(&[b'A'; MAX_GREETING + 1]).is_err());
        assert!(Meter::new().pass(b"\n").is_err());
        assert!(Meter::new().pass(b"\0AUTH\r\n\n").is_err());
    }
}
