//! How do socket addresses, traffic classes and segment sizes look to the kernel?
//!
//! Owns `sockaddr_in`, `sockaddr_in6` (ip(7), ipv6(7)) and the control messages of the traffic
//! class and of segment sizes as bytes, so that nothing here is unsafe. It never calls the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU16;

/// Bytes of `struct sockaddr_in6`, the longer of the two.
pub(super) const ADDRESS_LEN: libc::socklen_t = 28;
const IPV4_ADDRESS_LEN: libc::socklen_t = 16;

/// Bytes of `struct cmsghdr`; its data begins there, aligned to a word.
const CMSG_HEADER: usize = size_of::<libc::cmsghdr>();

/// Bytes of one control message with an `int` or less.
const ONE_CONTROL_LEN: usize = CMSG_HEADER + size_of::<u64>();

/// Bytes of the control messages of what is sent: a traffic class and a segment size.
pub(super) const SEND_CONTROL_LEN: usize = 2 * ONE_CONTROL_LEN;

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

/// Writes the control messages that set the traffic class of a message to `to` and, if it is to be
/// cut, the size of its segments; returns their bytes.
pub(super) fn set_control(
    control: &mut Control<SEND_CONTROL_LEN>,
    to: SocketAddr,
    tos: u8,
    segment: Option<NonZeroU16>,
) -> usize {
    let (level, kind) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    let mut writer = Writer(&mut control.0, 0);
    writer.put(&(CMSG_HEADER + size_of::<libc::c_int>()).to_ne_bytes());
    writer.put(&level.to_ne_bytes());
    writer.put(&kind.to_ne_bytes());
    writer.put(&libc::c_int::from(tos).to_ne_bytes());
    let Some(segment) = segment else {
        return ONE_CONTROL_LEN;
    };
    writer.put(&[0; 4]);
    writer.put(&(CMSG_HEADER + size_of::<u16>()).to_ne_bytes());
    writer.put(&libc::SOL_UDP.to_ne_bytes());
    writer.put(&libc::UDP_SEGMENT.to_ne_bytes());
    writer.put(&segment.get().to_ne_bytes());
    SEND_CONTROL_LEN
}

/// What received control messages say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The traffic class.
    pub(super) tos: Option<u8>,
    /// The size of every segment but the last.
    pub(super) segment: Option<NonZeroU16>,
}

/// Reads received control messages, up to the first that is malformed.
pub(super) fn read_control(control: &[u8]) -> Said {
    let mut said = Said::default();
    let mut rest = Some(control);
    while let Some(next) = rest {
        rest = read_one(next, &mut said);
    }
    said
}

/// Reads one control message; returns what is behind it.
fn read_one<'a>(control: &'a [u8], said: &mut Said) -> Option<&'a [u8]> {
    let (len, rest) = control.split_first_chunk()?;
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let len = usize::from_ne_bytes(*len);
    let data = control.get(CMSG_HEADER..len)?;
    let int = || data.first_chunk().map(|int| i32::from_ne_bytes(*int));
    match (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)) {
        // The kernel gives IP_TOS as one byte, IPV6_TCLASS as an int.
        (libc::IPPROTO_IP, libc::IP_TOS) => said.tos = data.first().copied(),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            said.tos = int().and_then(|tos| u8::try_from(tos).ok());
        }
        (libc::SOL_UDP, libc::UDP_GRO) => {
            let size = int().and_then(|size| u16::try_from(size).ok());
            said.segment = size.and_then(NonZeroU16::new);
        }
        _ => {}
    }
    control.get(len.next_multiple_of(size_of::<usize>())..)
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
    fn control_messages_are_found_behind_others() {
        let mut sent = Control([0; SEND_CONTROL_LEN]);
        let to = "[::1]:1".parse().unwrap();
        assert_eq!(set_control(&mut sent, to, 0xb9, None), ONE_CONTROL_LEN);
        let tos = sent.0[..ONE_CONTROL_LEN].to_vec();
        let said = |tos, segment| Said {
            tos,
            segment: NonZeroU16::new(segment),
        };
        assert_eq!(read_control(&tos), said(Some(0xb9), 0));
        let mut gro = tos.clone();
        gro[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        gro[12..16].copy_from_slice(&libc::UDP_GRO.to_ne_bytes());
        gro[16..20].copy_from_slice(&1400_i32.to_ne_bytes());
        assert_eq!(read_control(&gro), said(None, 1400));
        let two = [&gro[..], &tos].concat();
        assert_eq!(read_control(&two), said(Some(0xb9), 1400));
        assert_eq!(read_control(&two[..30]), said(None, 1400));
        let unknown = [0; 16];
        assert_eq!(read_control(&unknown), said(None, 0), "no loop");
    }

    #[test]
    fn a_segment_size_is_as_the_abi_says() {
        let mut sent = Control([0xff; SEND_CONTROL_LEN]);
        let to = "10.1.2.3:1".parse().unwrap();
        let len = set_control(&mut sent, to, 1, NonZeroU16::new(0x1234));
        assert_eq!(len, SEND_CONTROL_LEN);
        assert_eq!(sent.0[24..32], 18_u64.to_ne_bytes());
        assert_eq!(sent.0[32..36], 17_i32.to_ne_bytes());
        assert_eq!(sent.0[36..40], 103_i32.to_ne_bytes());
        assert_eq!(sent.0[40..42], 0x1234_u16.to_ne_bytes());
    }
}
