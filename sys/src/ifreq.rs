//! How does an interface name travel into an ioctl?
//!
//! Owns `struct ifreq` (netdevice(7)) as bytes: a name of at most 15 bytes and a NUL, then 24
//! bytes whose meaning depends on the request. It never calls the kernel.

use crate::error::{Result, SysError};

/// Longest interface name in bytes, without the NUL.
pub(crate) const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// `struct ifreq`, laid out as the kernel reads it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    data: [u8; 24],
}

const _: () = assert!(size_of::<InterfaceRequest>() >= size_of::<libc::ifreq>());
const _: () = assert!(align_of::<InterfaceRequest>() >= align_of::<libc::ifreq>());

impl InterfaceRequest {
    /// A request about `name`; an empty name lets the kernel choose where it can.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Ok(Self {
            name: name_bytes(name)?,
            data: [0; 24],
        })
    }

    /// The same with the 16-bit flags set.
    pub(crate) fn with_flags(mut self, flags: u16) -> Self {
        let [low, high] = flags.to_ne_bytes();
        self.data[0] = low;
        self.data[1] = high;
        self
    }

    /// The 16-bit flags.
    pub(crate) fn flags(&self) -> u16 {
        u16::from_ne_bytes([self.data[0], self.data[1]])
    }

    /// The name the kernel wrote.
    pub(crate) fn name(&self) -> String {
        let end = self.name.iter().position(|byte| *byte == 0);
        let bytes = self.name.split_at(end.unwrap_or(self.name.len())).0;
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// `name` padded with NUL.
pub(crate) fn name_bytes(name: &str) -> Result<[u8; libc::IFNAMSIZ]> {
    let mut bytes = [0; libc::IFNAMSIZ];
    if name.len() > NAME_MAX || name.bytes().any(|byte| byte == 0 || byte == b'/') {
        return Err(SysError::invalid(
            format!("use interface name {name:?}"),
            format!("an interface name has at most {NAME_MAX} bytes, none of them NUL or '/'"),
        ));
    }
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_terminated() {
        let request = InterfaceRequest::new("eth0").unwrap().with_flags(0x1002);
        assert_eq!(request.name(), "eth0");
        assert_eq!(request.flags(), 0x1002);
        assert!(InterfaceRequest::new("fifteen-bytes-x").is_ok());
        assert!(InterfaceRequest::new("sixteen-bytes-xx").is_err());
        assert!(InterfaceRequest::new("a/b").is_err());
    }
}
