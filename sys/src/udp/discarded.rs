//! How much did a socket lose before anybody read it?
//!
//! Owns the reading of the kernel's own count, which it keeps for each socket whether or not
//! anybody asks. It never reads a datagram. See sk_get_meminfo in net/core/sock.c and
//! __udp_enqueue_schedule_skb in net/ipv4/udp.c.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use crate::error::{Context, Result};
use crate::sockopt;

/// Values that SO_MEMINFO gives: `SK_MEMINFO_VARS` of linux/sock_diag.h.
const MEMINFO_VARS: usize = 9;

/// How many buffers the kernel discarded of what came for this socket, since it was opened and
/// modulo 2^32: those its receive buffer had no room for, and those whose UDP checksum was wrong.
/// After [`super::set_gro`] one buffer may hold up to 64 datagrams that came together, and counts
/// once.
///
/// # Errors
/// ENOPROTOOPT before Linux 4.12.
pub fn discarded(socket: &UdpSocket) -> Result<u32> {
    let values: [u32; MEMINFO_VARS] =
        sockopt::get(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO)
            .context(|| "count discarded UDP datagrams".to_owned())?;
    let [.., drops] = values;
    Ok(drops)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::num::NonZeroU16;
    use std::time::Duration;

    use super::super::{Buffers, MAX_PAYLOAD, SendBatch, Target, bind_rx, bind_tx, set_gro};
    use super::*;

    const MESSAGES: u32 = 40;
    const SEGMENTS: usize = 30;
    const SEGMENT: u16 = 1000;

    #[test]
    fn the_number_is_the_last_value() {
        assert_eq!(
            usize::try_from(libc::SK_MEMINFO_DROPS).unwrap(),
            MEMINFO_VARS - 1
        );
    }

    /// Sends messages of [`SEGMENTS`] to a socket with hardly any room, and answers how many
    /// buffers were read and how many discarded once they are `expected` together.
    fn overflow(host: IpAddr, gro: bool, expected: u32) -> (u32, u32) {
        let small = Buffers {
            receive: 0,
            ..Buffers::default()
        };
        let rx = bind_rx(SocketAddr::new(host, 0), true, small).unwrap();
        if gro {
            set_gro(&rx).unwrap();
        }
        assert_eq!(discarded(&rx).unwrap(), 0);
        let tx = bind_tx(host, Buffers::default()).unwrap();
        let target = Target {
            to: rx.local_addr().unwrap(),
            tos: 0,
            segment: NonZeroU16::new(SEGMENT),
        };
        let part = vec![7; usize::from(SEGMENT) * SEGMENTS];
        for _ in 0..MESSAGES {
            let mut batch = SendBatch::new(1, 1);
            let mut filling = batch.fill();
            assert!(filling.begin(target) && filling.part(&part));
            assert_eq!(filling.send(&tx, |_, error| panic!("{error}")), 1);
        }
        rx.set_nonblocking(false).unwrap();
        rx.set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let mut buffer = vec![0; MAX_PAYLOAD];
        let mut read = 0;
        for _ in 0..500 + expected {
            read += u32::from(rx.recv(&mut buffer).is_ok());
            if read + discarded(&rx).unwrap() >= expected {
                break;
            }
        }
        (read, discarded(&rx).unwrap())
    }

    #[test]
    fn what_finds_no_room_is_counted_exactly() {
        for host in [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ] {
            let datagrams = MESSAGES * u32::try_from(SEGMENTS).unwrap();
            for (gro, buffers) in [(false, datagrams), (true, MESSAGES)] {
                let (read, lost) = overflow(host, gro, buffers);
                assert_eq!(read + lost, buffers, "{host}, joined: {gro}");
                assert!(lost > buffers / 2, "{lost} lost of {buffers}");
            }
        }
    }
}
