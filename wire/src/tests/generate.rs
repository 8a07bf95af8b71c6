//! Random packets: right ones from the builder, and almost right ones.

use proptest::{collection::vec, option, prelude::*};

use super::{fix_ipv4, v4, v6};
use crate::{
    IpProtocol, Mac, TcpFlags,
    build::{self, IpBuilder, Network, TcpSpec, V4, V6},
};

/// What a packet carries, as the builder is told.
#[derive(Clone, Debug)]
pub(super) enum Load {
    Udp(u16, u16),
    Tcp(TcpSpec),
    EchoRequest(u16),
    EchoReply(u16),
    Raw(u8),
}

pub(super) fn finish<N: Network>(ip: IpBuilder<N>, load: &Load, payload: &[u8]) -> Vec<u8> {
    match load {
        Load::Udp(src, dst) => ip.udp(*src, *dst, payload),
        Load::Tcp(spec) => ip.tcp(spec.clone(), payload),
        Load::EchoRequest(id) => ip.icmp_echo_request(*id, 1, payload),
        Load::EchoReply(id) => ip.icmp_echo_reply(*id, 1, payload),
        Load::Raw(protocol) => ip.payload(IpProtocol(*protocol), payload),
    }
}

pub(super) fn tcp() -> impl Strategy<Value = TcpSpec> {
    let options = vec(any::<u8>(), 0..=40);
    (any::<(u16, u16, u32, u32, u8, u16)>(), options).prop_map(
        |((src_port, dst_port, seq, ack, flags, window), options)| TcpSpec {
            src_port,
            dst_port,
            seq,
            ack,
            flags: TcpFlags(flags),
            window,
            options,
        },
    )
}

/// Loads with a transport header we know.
pub(super) fn known_load() -> impl Strategy<Value = Load> {
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(src, dst)| Load::Udp(src, dst)),
        tcp().prop_map(Load::Tcp),
        any::<u16>().prop_map(Load::EchoRequest),
        any::<u16>().prop_map(Load::EchoReply),
    ]
}

fn load() -> impl Strategy<Value = Load> {
    prop_oneof![4 => known_load(), 1 => any::<u8>().prop_map(Load::Raw)]
}

pub(super) fn ipv4() -> impl Strategy<Value = IpBuilder<V4>> {
    let option = prop_oneof![
        Just(vec![1]),
        Just(vec![7, 3, 4]),
        Just(vec![131, 3, 4]),
        Just(vec![148, 4, 0, 0]),
    ];
    let fragment = option::weighted(0.3, (any::<u16>(), 0..4u16, any::<bool>()));
    (
        any::<[u8; 8]>(),
        any::<(u8, u8, bool)>(),
        vec(option, 0..4),
        fragment,
    )
        .prop_map(
            |(addresses, (ttl, class, dont_fragment), options, fragment)| {
                let [a, b, c, d, e, f, g, h] = addresses;
                let ip = build::ethernet(Mac::new([2; 6]), Mac::new([4; 6]))
                    .ipv4([a, b, c, d].into(), [e, f, g, h].into())
                    .ttl(ttl)
                    .dscp_ecn(class)
                    .dont_fragment(dont_fragment)
                    .options(&options.concat());
                match fragment {
                    Some((id, units, more)) => ip.fragment(id, units * 8, more),
                    None => ip,
                }
            },
        )
}

pub(super) fn ipv6() -> impl Strategy<Value = IpBuilder<V6>> {
    let kind = prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60), Just(60)];
    let extensions = vec((kind, vec(any::<u8>(), 0..24)), 0..4);
    let fragment = option::weighted(0.3, (any::<u32>(), 0..4u16, any::<bool>()));
    (any::<[u8; 32]>(), any::<(u8, u8)>(), extensions, fragment).prop_map(
        |(addresses, (ttl, class), extensions, fragment)| {
            let (src, dst) = addresses.split_at(16);
            let address = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).unwrap().into();
            let mut ip = build::ethernet(Mac::new([2; 6]), Mac::new([4; 6]))
                .ipv6(address(src), address(dst))
                .ttl(ttl)
                .dscp_ecn(class);
            if let Some((id, units, more)) = fragment {
                ip = ip.fragment(id, units * 8, more);
            }
            for (kind, body) in extensions {
                ip = ip.extension(IpProtocol(kind), &body);
            }
            ip
        },
    )
}

/// Packets as the builder makes them; not all of them are valid.
pub(super) fn packet() -> impl Strategy<Value = Vec<u8>> {
    let payload = || vec(any::<u8>(), 0..64);
    prop_oneof![
        (ipv4(), load(), payload()).prop_map(|(ip, load, payload)| finish(ip, &load, &payload)),
        (ipv6(), load(), payload()).prop_map(|(ip, load, payload)| finish(ip, &load, &payload)),
        (known_load(), payload()).prop_map(|(load, payload)| finish(v4(), &load, &payload)),
        (known_load(), payload()).prop_map(|(load, payload)| finish(v6(), &load, &payload)),
    ]
}

/// Packets with a few bytes changed, cut or padded, and the IPv4 checksum made right
/// again, so that the changes are judged and not the checksum.
pub(super) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (packet(), edits, -8..8i64).prop_map(|(mut frame, edits, growth)| {
        for (at, value) in edits {
            // Headers are where the interesting bytes are.
            let at = at.index(frame.len().min(80));
            frame[at] = value;
        }
        let len = usize::try_from(i64::try_from(frame.len()).unwrap() + growth).unwrap();
        frame.resize(len, 0xa5);
        fix_ipv4(&mut frame);
        frame
    })
}
