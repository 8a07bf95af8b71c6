//! How is a request sent to the kernel and its answer read?
//!
//! Owns the socket and the dialogue of netlink(7): sequence numbers, acknowledgements, dumps in
//! several parts, and the kernel's own words about an error. It knows no kind of message.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::message::{Attributes, HEADER, Message};
use crate::error::{Context, Result, SysError};
use crate::netns::Netns;
use crate::sockopt;

/// The kernel sends no datagram longer than 32 KiB (`NLMSG_GOODSIZE`, netlink_dump).
const BUFFER: usize = 64 << 10;

/// What fits any send buffer: the kernel's default is three times as much.
const DEFAULT_SEND_BUFFER: usize = 64 << 10;

/// The kernel answers at once; this bounds the wait should an answer ever be lost.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often an interrupted dump is asked for again before what came is taken.
const DUMP_ATTEMPTS: usize = 5;

const NETLINK_CAP_ACK: libc::c_int = 10;
const NETLINK_EXT_ACK: libc::c_int = 11;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// A socket to the kernel's configuration of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// What the kernel says when it refuses.
#[derive(Debug)]
struct Refusal {
    error: io::Error,
    text: Option<String>,
}

impl Refusal {
    fn into_error(self, what: String) -> SysError {
        let error = SysError::new(what, self.error);
        match self.text {
            Some(text) => error.with_hint(format!("the kernel says: {text}")),
            None => error,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { error, text: None }
    }
}

/// What one datagram of answers brought.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: usize,
    interrupted: bool,
}

impl Netlink {
    /// A socket to rtnetlink in the calling thread's namespace.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn open() -> Result<Self> {
        Self::open_protocol(libc::NETLINK_ROUTE)
    }

    /// A socket to rtnetlink in `netns`; it works from any thread afterwards.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        netns.run(Self::open)?
    }

    pub(crate) fn open_protocol(protocol: libc::c_int) -> Result<Self> {
        let socket = open_socket(protocol).context(|| "open a netlink socket".to_owned())?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            sequence: 0,
        })
    }

    /// Sends a change and waits until the kernel has made it.
    pub(crate) fn request(
        &mut self,
        message: Message,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        self.transaction(vec![message], 1, what)
    }

    /// Sends several messages as one datagram and waits for `acknowledgements`.
    pub(crate) fn transaction(
        &mut self,
        messages: Vec<Message>,
        acknowledgements: usize,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        let exchanged = self.exchange(messages, acknowledgements, &mut Vec::new());
        match exchanged {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.into_error(what())),
        }
    }

    /// Sends a question and returns the payloads of all answers; again, if the kernel says that they changed
    /// while they were read.
    pub(crate) fn ask(
        &mut self,
        message: impl Fn() -> Message,
        what: impl FnOnce() -> String,
    ) -> Result<Vec<Vec<u8>>> {
        let mut replies = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            replies.clear();
            match self.exchange(vec![message()], 1, &mut replies) {
                Ok(interrupted) if interrupted => {}
                Ok(_) => break,
                Err(refusal) => return Err(refusal.into_error(what())),
            }
        }
        Ok(replies)
    }

    /// Sends `messages` and reads until `wanted` of them are acknowledged or a dump has ended.
    fn exchange(
        &mut self,
        messages: Vec<Message>,
        wanted: usize,
        replies: &mut Vec<Vec<u8>>,
    ) -> Result<bool, Refusal> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            datagram.extend_from_slice(&message.finish(self.sequence));
        }
        make_room(&self.socket, datagram.len())?;
        self.socket.send(&datagram)?;
        let (mut acknowledged, mut interrupted) = (0, false);
        while acknowledged < wanted {
            let len = (&self.socket).read(&mut self.buffer)?;
            let bytes = self.buffer.get(..len).unwrap_or_default();
            let progress = read_datagram(bytes, first..=self.sequence, replies)?;
            acknowledged += progress.acknowledged;
            interrupted |= progress.interrupted;
        }
        Ok(interrupted)
    }
}

fn open_socket(protocol: libc::c_int) -> io::Result<Socket> {
    let domain = Domain::from(libc::AF_NETLINK);
    let socket = Socket::new(domain, Type::RAW.cloexec(), Some(Protocol::from(protocol)))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    // Both only improve error texts; kernels before 4.12 do without.
    for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK] {
        let _ = sockopt::set_int(socket.as_fd(), libc::SOL_NETLINK, option, 1);
    }
    Ok(socket)
}

/// A datagram longer than the send buffer is refused; system-wide limits do not apply to this one.
fn make_room(socket: &Socket, len: usize) -> io::Result<()> {
    if len < DEFAULT_SEND_BUFFER {
        return Ok(());
    }
    let wanted = libc::c_int::try_from(len).unwrap_or(libc::c_int::MAX);
    sockopt::set_int(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_SNDBUFFORCE,
        wanted,
    )
}

/// Sorts the messages of one datagram; those of an earlier, given-up dialogue are skipped.
fn read_datagram(
    mut bytes: &[u8],
    sequences: std::ops::RangeInclusive<u32>,
    replies: &mut Vec<Vec<u8>>,
) -> Result<Progress, Refusal> {
    let mut progress = Progress::default();
    while let Some((header, message)) = split(bytes) {
        bytes = bytes
            .get(header.len.next_multiple_of(4)..)
            .unwrap_or_default();
        if !sequences.contains(&header.sequence) {
            continue;
        }
        progress.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
        match header.kind {
            NLMSG_ERROR | NLMSG_DONE => {
                check(&header, message)?;
                progress.acknowledged += 1;
            }
            _ => replies.push(message.to_vec()),
        }
    }
    Ok(progress)
}

/// The fields of `struct nlmsghdr` that matter in answers.
struct Header {
    len: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
}

fn split(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (flags, rest) = rest.split_first_chunk()?;
    let sequence = rest.first_chunk()?;
    let header = Header {
        len: usize::try_from(u32::from_ne_bytes(*len)).ok()?,
        kind: u16::from_ne_bytes(*kind),
        flags: u16::from_ne_bytes(*flags),
        sequence: u32::from_ne_bytes(*sequence),
    };
    let payload = bytes.get(HEADER..header.len)?;
    Some((header, payload))
}

/// An error message holds a negated errno (0 acknowledges), the header it is about (or the whole
/// message, unless capped), then attributes.
fn check(header: &Header, payload: &[u8]) -> Result<(), Refusal> {
    let number = payload.first_chunk().map_or(0, |n| i32::from_ne_bytes(*n));
    if number >= 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(number.saturating_neg());
    let echoed = match header.flags & NLM_F_CAPPED {
        0 => payload.get(4..).and_then(<[u8]>::first_chunk),
        _ => None,
    };
    let echoed = echoed.map_or(HEADER, |len| {
        usize::try_from(u32::from_ne_bytes(*len)).unwrap_or(HEADER)
    });
    let text = match header.flags & NLM_F_ACK_TLVS {
        0 => None,
        _ => Attributes::after(payload, echoed.saturating_add(4).next_multiple_of(4))
            .str(NLMSGERR_ATTR_MSG),
    };
    Err(Refusal { error, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: i32, sequence: u32) -> Vec<u8> {
        let flags = libc::c_int::from(NLM_F_CAPPED | NLM_F_ACK_TLVS);
        Message::new(NLMSG_ERROR, flags)
            .put(&number.to_ne_bytes())
            .put(&[0; HEADER])
            .attr_str(NLMSGERR_ATTR_MSG, "Invalid MTU")
            .finish(sequence)
    }

    #[test]
    fn errors_carry_the_kernels_words() {
        let refusal = read_datagram(&error(-22, 7), 7..=7, &mut Vec::new()).unwrap_err();
        assert_eq!(refusal.error.raw_os_error(), Some(22));
        assert_eq!(refusal.text.as_deref(), Some("Invalid MTU"));
    }

    #[test]
    fn answers_to_other_requests_are_skipped() {
        let progress = read_datagram(&error(-22, 6), 7..=8, &mut Vec::new()).unwrap();
        assert_eq!(progress.acknowledged, 0);
        let progress = read_datagram(&error(0, 8), 7..=8, &mut Vec::new()).unwrap();
        assert_eq!(progress.acknowledged, 1);
    }

    #[test]
    fn damaged_answers_are_not_followed() {
        let whole = error(-22, 7);
        for len in 0..whole.len() {
            let progress = read_datagram(&whole[..len], 7..=7, &mut Vec::new()).unwrap();
            assert_eq!(progress.acknowledged, 0);
        }
        assert!(read_datagram(&[0; 64], 0..=0, &mut Vec::new()).is_ok());
    }
}
