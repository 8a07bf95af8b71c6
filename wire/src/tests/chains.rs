//! IPv6 extension headers: how many, how long, in which order.

use super::{headers, malformed, v6};
use crate::{
    IpProtocol, Malformed, Transport,
    build::{IpBuilder, V6},
};

/// A chain of `count` headers of `len` bytes each.
fn chain(count: usize, len: usize) -> IpBuilder<V6> {
    let body = vec![0; len - 2];
    (0..count).fold(v6(), |ip, _| ip.extension(IpProtocol::DEST_OPTIONS, &body))
}

#[test]
fn chains_are_bounded_in_headers_and_bytes() {
    let refused = Some(Malformed::HeaderChain);
    let cases = [
        (0, 8, None),
        (8, 8, None),
        (9, 8, refused),
        (8, 32, None),
        (8, 40, refused),
        (1, 256, None),
        (1, 264, refused),
        (2, 128, None),
        (2, 136, refused),
    ];
    for (count, len, expected) in cases {
        let frame = chain(count, len).udp(1, 2, b"x");
        assert_eq!(
            malformed(&frame),
            expected,
            "{count} headers of {len} bytes"
        );
        if expected.is_none() {
            let parsed = headers(&frame);
            assert_eq!((parsed.l4, parsed.flow.dst_port), (54 + count * len, 2));
        }
    }
}

fn hop_by_hop() -> IpBuilder<V6> {
    v6().extension(IpProtocol::HOP_BY_HOP, &[])
}

#[test]
fn chains_out_of_order_or_cut() {
    let cut = |kind, bytes: &[u8]| v6().payload(kind, bytes);
    let twice = hop_by_hop().extension(IpProtocol::HOP_BY_HOP, &[]);
    let second = chain(1, 8).extension(IpProtocol::HOP_BY_HOP, &[]);
    let fragments = v6().fragment(1, 0, false).fragment(1, 0, false);
    let first = v6().fragment(1, 0, true).fragment(1, 8, false);
    let short_ah = [17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0];
    let refused = [
        ("hop-by-hop twice", twice.udp(1, 2, b"")),
        ("hop-by-hop second", second.udp(1, 2, b"")),
        ("two fragment headers", fragments.udp(1, 2, b"")),
        ("a later fragment in a first", first.udp(1, 2, b"")),
        (
            "cut inside a header",
            cut(IpProtocol::DEST_OPTIONS, &[17, 1, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "cut before a header",
            chain(1, 8).payload(IpProtocol::DEST_OPTIONS, &[]),
        ),
        (
            "fewer than 8 bytes",
            cut(IpProtocol::DEST_OPTIONS, &[17, 0, 0]),
        ),
        ("AH below 12 bytes", cut(IpProtocol::AH, &short_ah)),
    ];
    for (name, frame) in refused {
        assert_eq!(malformed(&frame), Some(Malformed::HeaderChain), "{name}");
    }
}

#[test]
fn chains_that_are_passed() {
    let every_kind = hop_by_hop()
        .extension(IpProtocol::DEST_OPTIONS, &[])
        .extension(IpProtocol::ROUTING, &[2, 0])
        .fragment(1, 0, false)
        .extension(IpProtocol::AH, &[0; 14]);
    let accepted = [
        ("hop-by-hop first", hop_by_hop()),
        ("AH", v6().extension(IpProtocol::AH, &[0; 22])),
        ("every kind", every_kind),
    ];
    for (name, ip) in accepted {
        assert_eq!(headers(&ip.udp(1, 2, b"")).flow.dst_port, 2, "{name}");
    }
    let end = headers(&hop_by_hop().payload(IpProtocol::NO_NEXT, b"ignored"));
    assert_eq!(
        (end.transport, end.flow.protocol),
        (Transport::Other, IpProtocol::NO_NEXT)
    );
}
