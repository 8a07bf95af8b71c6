//! How do open descriptors travel from one process to another?
//!
//! Owns SCM_RIGHTS (unix(7)): descriptors ride on the first byte of what is sent, are bounded in
//! number, and are closed on exec once received.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors one message carries.
pub const MAX_FDS: usize = 16;

const CONTROL_LEN: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// Sends all of `bytes`, with `fds` (at most [`MAX_FDS`]) travelling along with the first.
///
/// # Errors
/// `InvalidInput` for too many descriptors or for descriptors without a byte to carry them;
/// `BrokenPipe` if the other end is gone.
pub fn send_with_fds(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
        let why = format!("at most {MAX_FDS} descriptors, along with at least one byte");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut rest = bytes;
    let mut fds = fds;
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        match sendmsg(
            stream,
            &[IoSlice::new(rest)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                fds = &[];
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Receives what there is, up to the length of `buffer`, and appends descriptors that came along
/// to `fds`; they are closed on exec. Returns how many bytes; 0 if the other end has closed.
///
/// # Errors
/// `InvalidData` if more than [`MAX_FDS`] descriptors came: those of this message are lost.
pub fn recv_with_fds(
    stream: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = loop {
        let into = &mut [IoSliceMut::new(buffer)];
        match recvmsg(stream, into, &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let truncated = message.flags.contains(ReturnFlags::CTRUNC);
    for part in control.drain() {
        if let (RecvAncillaryMessage::ScmRights(received), false) = (part, truncated) {
            fds.extend(received);
        }
    }
    if truncated || fds.len() > MAX_FDS {
        let why = format!("more than {MAX_FDS} descriptors");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(message.bytes)
}

/// Fills `buffer`, appending descriptors that come along to `fds`.
///
/// # Errors
/// `UnexpectedEof` if the other end closes before; as [`recv_with_fds`].
pub fn recv_exact_with_fds(
    stream: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<()> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match recv_with_fds(stream, room, fds)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            count => filled += count,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn descriptors_travel_with_the_first_byte() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"through the socket").unwrap();
        file.rewind().unwrap();
        send_with_fds(
            &near,
            b"hello, with two files",
            &[file.as_fd(), far.as_fd()],
        )
        .unwrap();
        let (mut head, mut rest, mut fds) = ([0; 1], [0; 20], Vec::new());
        recv_exact_with_fds(&far, &mut head, &mut fds).unwrap();
        assert_eq!((head[0], fds.len()), (b'h', 2));
        recv_exact_with_fds(&far, &mut rest, &mut fds).unwrap();
        assert_eq!(&rest, b"ello, with two files");
        assert_eq!(fds.len(), 2);
        let mut text = String::new();
        File::from(fds.remove(0)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the socket");
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let (near, far) = UnixStream::pair().unwrap();
        let one = near.as_fd();
        let error = send_with_fds(&near, b"x", &[one; MAX_FDS + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(send_with_fds(&near, b"", &[one]).is_err());
        send_with_fds(&near, b"a", &[one; MAX_FDS]).unwrap();
        send_with_fds(&near, b"b", &[one; MAX_FDS]).unwrap();
        let mut fds = Vec::new();
        recv_exact_with_fds(&far, &mut [0], &mut fds).unwrap();
        assert_eq!(fds.len(), MAX_FDS);
        let error = recv_exact_with_fds(&far, &mut [0], &mut fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_end_of_a_stream_is_told_from_a_message() {
        let (near, far) = UnixStream::pair().unwrap();
        send_with_fds(&near, b"ab", &[]).unwrap();
        drop(near);
        let mut fds = Vec::new();
        let error = recv_exact_with_fds(&far, &mut [0; 3], &mut fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(recv_with_fds(&far, &mut [0; 3], &mut fds).unwrap(), 0);
    }
}
