//! Fragments of either version: which part, and whether enough of the headers shows.

use super::{headers, malformed, v4, v6};
use crate::{Fragment, IpProtocol, Malformed, Transport, parse};

const UDP8: [u8; 8] = [0, 1, 0, 2, 0, 8, 0, 0];

/// What the walk makes of an IPv4 fragment with identification 7.
fn part(
    protocol: IpProtocol,
    offset: u16,
    more: bool,
    payload: &[u8],
) -> Result<Fragment, Malformed> {
    let frame = v4().fragment(7, offset, more).payload(protocol, payload);
    parse(&frame).map(|_| headers(&frame).fragment)
}

fn first(len: u16) -> Result<Fragment, Malformed> {
    Ok(Fragment::First { id: 7, len })
}

const TINY: Result<Fragment, Malformed> = Err(Malformed::TinyFragment);

#[test]
fn ipv4_first_fragments_show_the_whole_transport_header() {
    let udp = [0, 1, 0, 2, 0, 200, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(part(IpProtocol::UDP, 0, true, &udp), first(16));
    assert_eq!(part(IpProtocol::UDP, 0, true, &udp[..8]), first(8));
    assert_eq!(part(IpProtocol::UDP, 0, true, &[]), TINY);
    let contradicted = part(IpProtocol::UDP, 0, true, &[UDP8, UDP8].concat());
    assert_eq!(contradicted, Err(Malformed::BadLength));

    let mut tcp = [0; 32];
    tcp[12] = 0x50;
    assert_eq!(part(IpProtocol::TCP, 0, true, &tcp[..24]), first(24));
    assert_eq!(part(IpProtocol::TCP, 0, true, &tcp[..16]), TINY);
    tcp[12] = 0x80;
    assert_eq!(part(IpProtocol::TCP, 0, true, &tcp), first(32));
    assert_eq!(
        part(IpProtocol::TCP, 0, true, &tcp[..24]),
        TINY,
        "options are cut"
    );

    assert_eq!(part(IpProtocol::SCTP, 0, true, &[0; 16]), first(16));
    assert_eq!(part(IpProtocol::SCTP, 0, true, &[0; 8]), TINY);
    assert_eq!(part(IpProtocol::ICMP, 0, true, &[8; 8]), first(8));
    assert_eq!(
        part(IpProtocol(47), 0, true, &[]),
        first(0),
        "no header that we know"
    );
}

#[test]
fn ipv4_later_fragments_never_reach_back_into_a_tcp_header() {
    let later = |offset, more| {
        Ok(Fragment::Later {
            id: 7,
            offset,
            more,
        })
    };
    assert_eq!(part(IpProtocol::TCP, 8, false, &[0; 8]), TINY);
    assert_eq!(part(IpProtocol::TCP, 8, true, &[0; 80]), TINY);
    assert_eq!(part(IpProtocol::UDP, 8, true, &[0; 8]), later(8, true));
    assert_eq!(part(IpProtocol::TCP, 16, false, &[0; 24]), later(16, false));
    assert_eq!(part(IpProtocol::UDP, 16, false, &[1]), later(16, false));
}

#[test]
fn later_fragments_show_no_ports() {
    let frames = [
        v4().fragment(7, 16, true)
            .payload(IpProtocol::TCP, &[0xff; 24]),
        v6().fragment(7, 16, true)
            .payload(IpProtocol::TCP, &[0xff; 24]),
    ];
    for frame in frames {
        let parsed = headers(&frame);
        assert_eq!(parsed.transport, Transport::Opaque);
        assert_eq!((parsed.flow.src_port, parsed.flow.dst_port), (0, 0));
        assert_eq!(parsed.payload_len(), 24);
    }
}

#[test]
fn ipv6_fragments() {
    let atomic = headers(&v6().fragment(7, 0, false).udp(1, 2, b"x"));
    assert_eq!(
        (atomic.fragment, atomic.transport),
        (Fragment::Whole, Transport::Udp)
    );
    assert_eq!((atomic.l4, atomic.flow.dst_port), (62, 2));

    let first = headers(&v6().fragment(7, 0, true).payload(IpProtocol::UDP, &UDP8));
    assert_eq!(
        (first.fragment, first.flow.dst_port),
        (Fragment::First { id: 7, len: 8 }, 2)
    );

    // Headers behind the fragment header are bytes of the fragment too.
    let padded = v6()
        .fragment(7, 0, true)
        .extension(IpProtocol::DEST_OPTIONS, &[1, 4, 0, 0, 0, 0])
        .payload(IpProtocol::UDP, &UDP8);
    let padded = headers(&padded);
    assert_eq!(padded.fragment, Fragment::First { id: 7, len: 16 });
    assert_eq!((padded.payload_len(), padded.flow.dst_port), (8, 2));

    // RFC 7112: the whole chain is in the first fragment.
    let tiny = v6().fragment(7, 0, true).payload(IpProtocol::TCP, &[0; 16]);
    assert_eq!(malformed(&tiny), Some(Malformed::TinyFragment));
    let options = v6().fragment(7, 0, true);
    let cut = options
        .clone()
        .payload(IpProtocol::DEST_OPTIONS, &[17, 1, 1, 4, 0, 0, 0, 0]);
    assert_eq!(malformed(&cut), Some(Malformed::TinyFragment));
    let missing = options.payload(IpProtocol::DEST_OPTIONS, &[]);
    assert_eq!(malformed(&missing), Some(Malformed::TinyFragment));
    let overlapping = v6().fragment(7, 8, false).payload(IpProtocol::TCP, &[0; 8]);
    assert_eq!(malformed(&overlapping), Some(Malformed::TinyFragment));

    // Behind a later fragment's header is payload, whatever it looks like.
    let later = v6()
        .fragment(7, 16, false)
        .payload(IpProtocol::FRAGMENT, &[44; 9]);
    let parsed = headers(&later);
    assert_eq!((parsed.l4, parsed.transport), (62, Transport::Opaque));
    assert_eq!(
        parsed.fragment,
        Fragment::Later {
            id: 7,
            offset: 16,
            more: false
        }
    );
}
