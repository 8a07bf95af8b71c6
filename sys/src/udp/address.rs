//! How do socket addresses and traffic classes look to the kernel?
//!
//! Owns `sockaddr_in`, `sockaddr_in6` (ip(7), ipv6(7)) and the control messages of the traffic
//! class as bytes, so that nothing here is unsafe. It never calls the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of `struct sockaddr_in6`, the longer of the two.
pub(super) const ADDRESS_LEN: libc::socklen_t = 28;
const IPV4_ADDRESS_LEN: libc::socklen_t = 16;

/// Bytes of `struct cmsghdr`; its data begins there, aligned to a word.
const CMSG_HEADER: usize = size_of::<libc::cmsghdr>();

/// Bytes of one control message with an `int`.
pub(super) const TOS_CONTROL_LEN: usize = CMSG_HEADER + size_of::<u64>();

/// A socket address as the kernel reads and writes it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct RawAddress(pub(super) [u8; ADDRESS_LEN as usize]);

/// Room for control messages, aligned as `struct cmsghdr` needs.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Control<const N: usize>(pub(super) [u8; N]);

const _: () = assert!(size_of::<RawAddress>() >= size_of::<libc::sockaddr_in6>());
const _: () = assert!(size_of::<libc::sockaddr_in>() == IPV4_ADDRESS_LEN as usize);
const _: () = assert!(align_of::<RawAddress>() >= align_of::<libc::sockaddr_in6>());
const _: () = assert!(align_of::<Control<8>>() >= align_of::<libc::cmsghdr>());

impl RawAddress {
    pub(super) const EMPTY: Self = Self([0; ADDRESS_LEN as usize]);

    /// Writes `address`; returns how many bytes of it the kernel is to read.
    pub(super) fn set(&mut self, address: SocketAddr) -> libc::socklen_t {
        let mut writer = Writer(&mut self.0, 0);
        match address {
            SocketAddr::V4(v4) => {
                writer.put(&family(libc::AF_INET));
                writer.put(&v4.port().to_be_bytes());
                writer.put(&v4.ip().octets());
                writer.put(&[0; 8]);
                IPV4_ADDRESS_LEN
            }
            SocketAddr::V6(v6) => {
                writer.put(&family(libc::AF_INET6));
                writer.put(&v6.port().to_be_bytes());
                writer.put(&v6.flowinfo().to_be_bytes());
                writer.put(&v6.ip().octets());
                writer.put(&v6.scope_id().to_ne_bytes());
                ADDRESS_LEN
            }
        }
    }

    /// The address in the first `len` bytes, if it is IPv4 or IPv6.
    pub(super) fn get(&self, len: usize) -> Option<SocketAddr> {
        let bytes = self.0.get(..len)?;
        let (kind, rest) = bytes.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let port = u16::from_be_bytes(*port);
        match libc::c_int::from(u16::from_ne_bytes(*kind)) {
            libc::AF_INET => {
                let address = Ipv4Addr::from(*rest.first_chunk::<4>()?);
                Some(SocketAddr::new(IpAddr::V4(address), port))
            }
            libc::AF_INET6 => {
                let (flow, rest) = rest.split_first_chunk()?;
                let (address, rest) = rest.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(*rest.first_chunk()?);
                let flow = u32::from_be_bytes(*flow);
                let address = SocketAddrV6::new(Ipv6Addr::from(*address), port, flow, scope);
                Some(SocketAddr::V6(address))
            }
            _ => None,
        }
    }
}

/// Writes the control message that sets the traffic class of a datagram to `to`.
pub(super) fn set_tos(control: &mut Control<TOS_CONTROL_LEN>, to: SocketAddr, tos: u8) -> usize {
    let (level, kind) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    let mut writer = Writer(&mut control.0, 0);
    writer.put(&(CMSG_HEADER + size_of::<libc::c_int>()).to_ne_bytes());
    writer.put(&level.to_ne_bytes());
    writer.put(&kind.to_ne_bytes());
    writer.put(&libc::c_int::from(tos).to_ne_bytes());
    TOS_CONTROL_LEN
}

/// The traffic class among received control messages.
pub(super) fn find_tos(mut control: &[u8]) -> Option<u8> {
    loop {
        let (len, rest) = control.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let len = usize::from_ne_bytes(*len);
        let data = control.get(CMSG_HEADER..len)?;
        match (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)) {
            // The kernel gives IP_TOS as one byte, IPV6_TCLASS as an int.
            (libc::IPPROTO_IP, libc::IP_TOS) => return data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                return u8::try_from(i32::from_ne_bytes(*data.first_chunk()?)).ok();
            }
            _ => control = control.get(len.next_multiple_of(size_of::<usize>())..)?,
        }
    }
}

fn family(number: libc::c_int) -> [u8; 2] {
    // Address families are small positive numbers.
    u16::try_from(number).unwrap_or_default().to_ne_bytes()
}

/// Writes fields one behind the other; what does not fit is left out.
struct Writer<'a>(&'a mut [u8], usize);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.1 + bytes.len();
        if let Some(room) = self.0.get_mut(self.1..end) {
            room.copy_from_slice(bytes);
            self.1 = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["10.1.2.3:8472", "[fd00::1]:65535", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = RawAddress::EMPTY;
            let len = usize::try_from(raw.set(address)).unwrap();
            assert_eq!(len, if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(raw.get(len), Some(address));
            assert_eq!(raw.get(3), None);
        }
        assert_eq!(RawAddress::EMPTY.get(28), None);
    }

    #[test]
    fn sockaddr_in_is_as_the_abi_says() {
        let mut raw = RawAddress::EMPTY;
        raw.set("10.1.2.3:8472".parse().unwrap());
        assert_eq!(raw.0[2..8], [0x21, 0x18, 10, 1, 2, 3]);
    }

    #[test]
    fn traffic_class_is_found_behind_other_messages() {
        let mut other = Control([0; TOS_CONTROL_LEN]);
        set_tos(&mut other, "[::1]:1".parse().unwrap(), 0xb9);
        assert_eq!(find_tos(&other.0), Some(0xb9));
        let mut two = other.0.to_vec();
        two[8] = 0xff;
        two.extend_from_slice(&other.0);
        assert_eq!(find_tos(&two), Some(0xb9));
        assert_eq!(find_tos(&two[..30]), None);
        assert_eq!(find_tos(&[0; 16]), None, "a length of zero does not loop");
    }
}
