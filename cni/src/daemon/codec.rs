//! How is one message laid out on the control socket?
//!
//! Owns the length prefix and its bound, and JSON in and out. Never waits beyond the time limit
//! its stream carries, and never allocates more than [`MAX_MESSAGE`] on a peer's word.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{MAX_MESSAGE, VERSION};

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The stream ended or failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The length prefix exceeds [`MAX_MESSAGE`], or the message to send does.
    #[error("a message of {0} bytes; at most {MAX_MESSAGE} are accepted")]
    TooLong(u64),
    /// The other side speaks another version of the messages.
    #[error("the other side speaks version {theirs} of the control messages, this one {VERSION}")]
    Version {
        /// The version in the message.
        theirs: u32,
    },
    /// Not JSON, or not a message of this version.
    #[error("not a control message: {0}")]
    Json(#[from] serde_json::Error),
}

/// Lays out one message: length and JSON.
///
/// # Errors
/// [`CodecError::TooLong`] when it would exceed [`MAX_MESSAGE`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    match u32::try_from(length) {
        Ok(prefix) if length <= MAX_MESSAGE => bytes.splice(..4, prefix.to_le_bytes()),
        _ => return Err(CodecError::TooLong(length as u64)),
    };
    Ok(bytes)
}

/// Reads the JSON of one `T` after checking its version, so that a newer peer is told about the
/// version and not about a field.
///
/// # Errors
/// [`CodecError::Version`] or [`CodecError::Json`].
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, CodecError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(json)?;
    if version != VERSION {
        return Err(CodecError::Version { theirs: version });
    }
    Ok(serde_json::from_slice(json)?)
}

/// Writes one message.
///
/// # Errors
/// As [`encode`], or the stream's error.
pub fn write_message(stream: &mut impl Write, message: &impl Serialize) -> Result<(), CodecError> {
    stream.write_all(&encode(message)?)?;
    Ok(stream.flush()?)
}

/// Reads the bytes of one message, or `None` where the stream ends between two messages.
///
/// # Errors
/// [`CodecError::TooLong`] before anything of an oversize message is read, or the stream's error.
pub fn read_frame(stream: &mut impl Read) -> Result<Option<Vec<u8>>, CodecError> {
    let mut prefix = [0; 4];
    let mut filled = 0;
    while let Some(rest) = prefix.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_le_bytes(prefix);
    if length as usize > MAX_MESSAGE {
        return Err(CodecError::TooLong(length.into()));
    }
    let mut body = Vec::new();
    let read = stream.take(length.into()).read_to_end(&mut body)?;
    if read < length as usize {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Call, Code, Failure, Outcome, Reply, Request};

    #[test]
    fn layout_is_length_then_json() {
        let bytes = encode(&Request::new(Call::Ready)).unwrap();
        assert_eq!(bytes, b"\x1c\0\0\0{\"version\":1,\"call\":\"ready\"}");
    }

    #[test]
    fn reply_form_is_the_documented_one() {
        let ok =
            serde_json::to_string(&Reply::new(Outcome::Ok(serde_json::json!({"a": 1})))).unwrap();
        assert_eq!(ok, r#"{"version":1,"ok":{"a":1}}"#);
        let failure = Failure::new(Code::Conflict, "taken", "choose another");
        let error = serde_json::to_string(&Reply::new(Outcome::Error(failure))).unwrap();
        assert_eq!(
            error,
            r#"{"version":1,"error":{"code":"conflict","message":"taken","next":"choose another"}}"#
        );
        let back: Reply = decode(error.as_bytes()).unwrap();
        assert!(matches!(
            back.outcome,
            Outcome::Error(Failure {
                code: Code::Conflict,
                ..
            })
        ));
    }

    #[test]
    fn oversize_is_refused_before_reading() {
        let mut stream: &[u8] = &[0x01, 0x00, 0x10, 0x00, b'{'];
        assert!(matches!(
            read_frame(&mut stream),
            Err(CodecError::TooLong(0x10_0001))
        ));
        let long = "x".repeat(MAX_MESSAGE);
        assert!(matches!(encode(&long), Err(CodecError::TooLong(_))));
    }

    #[test]
    fn ends_between_and_inside_messages_differ() {
        assert!(read_frame(&mut [].as_slice()).unwrap().is_none());
        for cut in [[1].as_slice(), &[9, 0, 0, 0], &[9, 0, 0, 0, b'{']] {
            let mut stream = cut;
            assert!(
                matches!(read_frame(&mut stream), Err(CodecError::Io(_))),
                "{cut:?}"
            );
        }
    }

    #[test]
    fn another_version_is_named_even_if_its_fields_are_unknown() {
        let error =
            decode::<Request<Call>>(br#"{"version":2,"call":{"teleport":{}}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the other side speaks version 2 of the control messages, this one 1"
        );
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [
            &b""[..],
            b"{}",
            b"[1]",
            b"{\"version\":1}",
            b"{\"version\":1,\"call\":\"x\"}",
        ] {
            assert!(
                matches!(decode::<Request<Call>>(bytes), Err(CodecError::Json(_))),
                "{bytes:?}"
            );
        }
    }
}
