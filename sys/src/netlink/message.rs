//! What does a netlink message look like?
//!
//! Owns the encoding of netlink(7): a header of 16 bytes, a fixed part that depends on the kind,
//! then attributes (`struct nlattr`) padded to 4 bytes, in host byte order. It never calls the
//! kernel and skips attributes it does not know, so newer kernels stay readable.

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// Attributes inside an attribute are marked so (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;

/// The bits of an attribute's kind that name it (`NLA_TYPE_MASK`).
const KIND_MASK: u16 = 0x3fff;

/// A request under construction.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A message of `kind` (`RTM_*`, `NFT_MSG_*`) with `flags` (`NLM_F_*`).
    pub(crate) fn new(kind: u16, flags: libc::c_int) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        // NLM_F_* are 16 bits wide on the wire.
        let flags = u16::try_from(flags).unwrap_or_default();
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    /// Appends raw bytes: the fixed part of a message.
    pub(crate) fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.pad()
    }

    /// Appends an attribute.
    pub(crate) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.put(value)
    }

    /// Appends an attribute with a string and its NUL.
    pub(crate) fn attr_str(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Appends an attribute with a number in host byte order.
    pub(crate) fn attr_u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute with a number in network byte order.
    pub(crate) fn attr_be32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends an attribute if there is a value for it.
    pub(crate) fn attr_opt(self, kind: u16, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.attr(kind, value),
            None => self,
        }
    }

    /// Appends an attribute that holds what `fill` appends.
    pub(crate) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let len = u16::try_from(filled.0.len() - start).unwrap_or(u16::MAX);
        filled.overwrite(start, &len.to_ne_bytes());
        filled
    }

    /// The same message with an acknowledgement asked for.
    pub(crate) fn acknowledged(mut self) -> Self {
        let flags = self.0.get(6..).and_then(<[u8]>::first_chunk);
        let flags = flags.map_or(0, |flags| u16::from_ne_bytes(*flags));
        let ack = u16::try_from(libc::NLM_F_ACK).unwrap_or_default();
        self.overwrite(6, &(flags | ack).to_ne_bytes());
        self
    }

    /// The bytes to send, under sequence number `sequence`.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.overwrite(0, &len.to_ne_bytes());
        self.overwrite(8, &sequence.to_ne_bytes());
        self.0
    }

    fn pad(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.0.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }
}

/// The attributes in a piece of a received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes behind the first `fixed` bytes of a message's payload.
    pub(crate) fn after(payload: &'a [u8], fixed: usize) -> Self {
        Self(payload.get(fixed..).unwrap_or_default())
    }

    /// The value of the first attribute of `kind`.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind)
            .map(|(_, value)| value)
    }

    /// The attributes inside the attribute `kind`; none if it is missing.
    pub(crate) fn inside(self, kind: u16) -> Self {
        Self(self.get(kind).unwrap_or_default())
    }

    /// A number in host byte order.
    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// One byte.
    pub(crate) fn u8(self, kind: u16) -> Option<u8> {
        self.get(kind)?.first().copied()
    }

    /// A string without its NUL.
    pub(crate) fn str(self, kind: u16) -> Option<String> {
        let bytes = self.get(kind)?;
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.0.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let len = usize::from(u16::from_ne_bytes(*len));
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind) & KIND_MASK, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let message = Message::new(16, 5)
            .attr_str(3, "eth0")
            .nest(18, |inner| inner.attr(1, b"vxlan").attr_u32(2, 7));
        let bytes = message.finish(9);
        let expected: &[u8] = &[
            52, 0, 0, 0, 16, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, // header
            9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0, // name, NUL, 3 of padding
            24, 0, 18, 0x80, 9, 0, 1, 0, b'v', b'x', b'l', b'a', b'n', 0, 0, 0, // nest, kind
            8, 0, 2, 0, 7, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
        let attributes = Attributes::after(&bytes, HEADER);
        assert_eq!(attributes.str(3).as_deref(), Some("eth0"));
        assert_eq!(attributes.inside(18).u32(2), Some(7));
        assert_eq!(attributes.inside(99).u32(2), None);
    }

    #[test]
    fn damaged_attributes_end_the_list() {
        for bytes in [&[3, 0, 1, 0][..], &[0, 0, 0, 0], &[9, 0, 1, 0, 5], &[1]] {
            assert_eq!(Attributes(bytes).next(), None, "{bytes:?}");
        }
    }
}
