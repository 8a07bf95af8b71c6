//! Reasons that take policies or earlier packets: how each comes about.

use weft_policy::Direction::{Egress, Ingress};
use weft_switch::path::{PortId, TablesBuilder};

use super::*;
use crate::bandwidth;
use crate::cluster::{only, under};

/// The last frame's fate of each.
pub(super) fn staged() -> Vec<(R, Fate)> {
    let mut world = World::new();
    let frame = v4(REMOTE.v4()).udp(1, 2, b"");
    let to_us = inner().ipv6(REMOTE.v6(), POD.v6()).udp(1, 2, b"");
    let later = v4(REMOTE.v4())
        .fragment(7, 64, false)
        .payload(IpProtocol::UDP, b"rest");
    let first = v4(REMOTE.v4()).fragment(7, 0, true).udp(1, 2, &[0; 64]);
    let (mut shut, _) = under([only(Egress, POD, vec![]), only(Ingress, POD, vec![])]);
    vec![
        (R::DeniedEgress, shut.pod_sends(POD, &frame).fate),
        (R::DeniedIngress, shut.peer_sends(&to_us).fate),
        (R::FragmentWithoutFirst, world.pod_sends(POD, &later).fate),
        (R::FragmentOverlap, {
            world.pod_sends(POD, &first);
            world.pod_sends(POD, &later).fate
        }),
        (R::FragmentTableFull, flood()),
        (R::RateLimited, over_the_rate()),
    ]
}

/// A pod says two things at once, and may say one.
fn over_the_rate() -> Fate {
    let limits = bandwidth::limits(Some(0), None);
    let mut world = bandwidth::limited([(POD, limits)]);
    let frame = v4(REMOTE.v4()).udp(1, 2, b"");
    world.pod_sends(POD, &frame);
    world.pod_sends(POD, &frame).fate
}

/// Every pod of a crowded node begins datagrams that never end, until there is no room for
/// another.
fn flood() -> Fate {
    const PODS: u16 = 4000;
    let v4 = |pod: u16| Ipv4Addr::from_bits(0x0a01_0000 | u32::from(pod));
    let v6 = |pod: u16| Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, pod);
    let mac = |pod: u16| {
        let [high, low] = pod.to_be_bytes();
        Mac::new([2, 0xcc, 0, 0, high, low])
    };
    let mut crowd = node();
    crowd.cidrs = vec!["10.1.0.0/16".parse().unwrap(), "fd01::/64".parse().unwrap()];
    let ports = (1..=PODS).map(|pod| {
        let mut entry = POD.entry();
        (entry.mac, entry.ipv4, entry.ipv6) = (mac(pod), Some(v4(pod)), Some(v6(pod)));
        (PortId::new(pod).unwrap(), entry)
    });
    let builder = ports.fold(TablesBuilder::new(crowd), |builder, (id, entry)| {
        builder.port(id, entry)
    });
    let mut world = World::with(builder.build().unwrap(), 8, 65_536);
    for pod in 1..PODS {
        let says = || build::ethernet(mac(pod), GATEWAY_MAC);
        let frames = [
            says()
                .ipv4(v4(pod), v4(pod + 1))
                .fragment(7, 0, true)
                .udp(1, 2, &[0; 8]),
            says()
                .ipv6(v6(pod), v6(pod + 1))
                .fragment(7, 0, true)
                .udp(1, 2, &[0; 8]),
        ];
        for frame in frames {
            let fate = world
                .send(Door::Port(PortId::new(pod).unwrap()), &frame)
                .fate;
            if fate == Fate::Drop(R::FragmentTableFull) {
                return fate;
            }
            assert_eq!(fate, Fate::ToPod(PortId::new(pod + 1).unwrap()));
        }
    }
    Fate::Hairpin
}
