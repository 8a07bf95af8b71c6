//! Does any sequence of received packets break a promise of [`Merger`]?
//!
//! Owns a naive model of four transfers, one of each kind that is merged: which of their packets
//! must be joined. Packets that were damaged on the way must come out as they went in, all of
//! them, each flow's in its order; how many frames they make is not asked of them.

use std::collections::BTreeMap;

use weft_encap::{Ecn, Merger, Outer};
use weft_wire::build::{self, TcpSpec};
use weft_wire::{Mac, Parsed, Pool, TcpFlags, VnetHeader, checksum, parse};

use crate::split;

const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 1, 0];
const FRONT: usize = VXLAN.len();
const L3: usize = FRONT + 14;
/// Payload of the usual packet.
const SIZE: usize = 10;
const MOST: usize = 64;
const PACKETS: usize = 400;

/// The harness: three bytes choose each packet.
///
/// # Panics
/// When a promise does not hold.
pub fn run(bytes: &[u8]) {
    let mut transfers = [(true, true), (true, false), (false, true), (false, false)]
        .map(|(v4, tcp)| Transfer::new(v4, tcp));
    let mut packets = Vec::new();
    let mut damaged = false;
    for choice in bytes.as_chunks::<3>().0.iter().take(PACKETS) {
        let [first, at, change] = *choice;
        let transfer = &mut transfers[usize::from(first & 3)];
        let mut packet = transfer.packet(first >> 2 & 0xf, at);
        if first & 0xc0 == 0xc0 && change != 0 {
            let at = usize::from(at) % packet.len();
            packet[at] ^= change;
            damaged = true;
        }
        packets.push(packet);
    }
    let frames = merge(&packets);
    if !damaged {
        let expected: usize = transfers.iter().map(|transfer| transfer.frames).sum();
        assert_eq!(frames.len(), expected, "frames");
    }
    let out: Vec<_> = frames.iter().flat_map(apart).collect();
    assert_eq!(pairs(&out), pairs(&packets));
    assert_eq!(flows(&out), flows(&packets), "each flow in its order");
}

/// One turn.
fn merge(packets: &[Vec<u8>]) -> Vec<(Vec<u8>, VnetHeader)> {
    let outer = Outer {
        source: [192, 0, 2, 1].into(),
        ecn: Ecn::NotEct,
    };
    let mut merger = Merger::new(7);
    // Small frames hold few packets, large ones a group of the longest.
    let mut pool = Pool::new(PACKETS, 200).with_large(PACKETS / 2, 8192);
    for packet in packets {
        assert_eq!(merger.offer(outer, packet, &mut pool), Ok(()));
    }
    merger.finish();
    let frames = merger
        .ready()
        .map(|(_, frame)| (frame.as_slice().to_vec(), frame.vnet));
    frames.collect()
}

/// The packets that a frame stands for; those of a super-frame are right.
fn apart((bytes, vnet): &(Vec<u8>, VnetHeader)) -> Vec<Vec<u8>> {
    if *vnet == VnetHeader::NONE {
        return vec![bytes.clone()];
    }
    let packets = split::packets(bytes, FRONT, vnet);
    assert!((2..=MOST).contains(&packets.len()));
    for packet in &packets {
        let Ok(Parsed::Ip(headers)) = parse(&packet[FRONT..]) else {
            panic!("a merged packet parses");
        };
        assert!(checksum::verify_transport(&packet[FRONT..], &headers));
    }
    packets
}

/// A transfer as its sender sees it, and how many frames it must become.
struct Transfer {
    v4: bool,
    tcp: bool,
    seq: u32,
    id: u16,
    /// Payload size and packets of the open group.
    open: Option<(usize, usize)>,
    frames: usize,
}

impl Transfer {
    const fn new(v4: bool, tcp: bool) -> Self {
        Self {
            v4,
            tcp,
            seq: u32::MAX - 50,
            id: u16::MAX - 5,
            open: None,
            frames: 0,
        }
    }

    /// The next packet, of one of sixteen kinds, most of them usual.
    fn packet(&mut self, kind: u8, choice: u8) -> Vec<u8> {
        let (len, flags, gap) = match kind {
            0 => (1 + usize::from(choice) % (SIZE - 1), 0, 0),
            1 => (SIZE + 1 + usize::from(choice) % 100, 0, 0),
            2 => (SIZE, 0x08, 0),
            3 => (SIZE, 0x01, 0),
            4 => (0, 0, 0),
            5 => (SIZE, 0, 1 + u32::from(choice)),
            _ => (SIZE, 0, 0),
        };
        let flags = if self.tcp { flags } else { 0 };
        self.count(len, flags != 0, self.tcp && gap != 0);
        self.seq = self.seq.wrapping_add(gap);
        let packet = self.build(len, TcpFlags(flags | TcpFlags::ACK.0));
        self.seq = self.seq.wrapping_add(u32::try_from(len).unwrap_or(0));
        self.id = self.id.wrapping_add(1);
        packet
    }

    /// The rules of joining in as few words as possible.
    fn count(&mut self, len: usize, last: bool, gap: bool) {
        match self.open {
            Some((size, count)) if len > 0 && len <= size && !gap => {
                let ends = len < size || last || count + 1 == MOST;
                self.open = (!ends).then_some((size, count + 1));
            }
            _ => {
                self.open = (len > 0 && !last).then_some((len, 1));
                self.frames += 1;
            }
        }
    }

    fn build(&self, len: usize, flags: TcpFlags) -> Vec<u8> {
        let ethernet = build::ethernet(Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]));
        let payload: Vec<u8> = (0..=u8::MAX)
            .cycle()
            .skip(self.seq as usize & 0xff)
            .take(len)
            .collect();
        let spec = TcpSpec {
            src_port: 40_000,
            dst_port: 80,
            seq: self.seq,
            flags,
            ..TcpSpec::default()
        };
        let mut frame = if self.v4 {
            let ip = ethernet.ipv4([10, 0, 0, 2].into(), [10, 0, 1, 2].into());
            if self.tcp {
                ip.tcp(spec, &payload)
            } else {
                ip.udp(40_000, 53, &payload)
            }
        } else {
            let (src, dst) = (
                [0xfd00, 0, 0, 0, 0, 0, 0, 2].into(),
                [0xfd00, 0, 0, 0, 0, 0, 1, 2].into(),
            );
            let ip = ethernet.ipv6(src, dst);
            if self.tcp {
                ip.tcp(spec, &payload)
            } else {
                ip.udp(40_000, 53, &payload)
            }
        };
        if self.v4 {
            frame[18..20].copy_from_slice(&self.id.to_be_bytes());
            // One of the two may be fragmented: there the identification counts.
            frame[20] = if self.tcp { 0x40 } else { 0 };
            frame[24..26].fill(0);
            let checksum = checksum::ipv4_header(&frame[14..34]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        [&VXLAN[..], &frame].concat()
    }
}

/// EtherType, protocol and addresses, where they lie in a packet without options.
fn pair(packet: &[u8]) -> [&[u8]; 2] {
    let addresses = if packet[20] == 8 {
        L3 + 12..L3 + 20
    } else {
        L3 + 8..L3 + 40
    };
    [&packet[20..22], packet.get(addresses).unwrap_or_default()]
}

/// [`pair`], protocol and ports.
fn flow(packet: &[u8]) -> [&[u8]; 4] {
    let (protocol, l4) = if packet[20] == 8 {
        (L3 + 9, L3 + 20)
    } else {
        (L3 + 6, L3 + 40)
    };
    let [ether_type, addresses] = pair(packet);
    let field = |range| packet.get(range).unwrap_or_default();
    [
        ether_type,
        addresses,
        field(protocol..protocol + 1),
        field(l4..l4 + 4),
    ]
}

/// The packets of every flow, in their order.
fn flows(packets: &[Vec<u8>]) -> BTreeMap<[Vec<u8>; 4], Vec<Vec<u8>>> {
    let mut flows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for packet in packets {
        let key = flow(packet).map(<[u8]>::to_vec);
        flows.entry(key).or_default().push(atomic(packet));
    }
    flows
}

/// Whether the flow of an IP packet can be told from its ports.
fn is_plain(packet: &[u8]) -> bool {
    match packet[20..] {
        [8, 0, first, _, _, _, _, _, high, low, _, protocol, ..] => {
            first == 0x45 && high & 0x3f == 0 && low == 0 && matches!(protocol, 6 | 17)
        }
        [0x86, 0xdd, first, _, _, _, _, _, protocol, ..] => {
            first >> 4 == 6 && matches!(protocol, 6 | 17)
        }
        _ => true,
    }
}

/// For every pair of addresses its packets, in any order between two that are not plain: those
/// nothing passes.
fn pairs(packets: &[Vec<u8>]) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut pairs: BTreeMap<Vec<u8>, Vec<Vec<Vec<u8>>>> = BTreeMap::new();
    for packet in packets {
        let runs = pairs.entry(pair(packet).concat()).or_default();
        if !is_plain(packet) || runs.is_empty() {
            runs.push(Vec::new());
        }
        if let Some(run) = runs.last_mut() {
            run.push(atomic(packet));
        }
        if !is_plain(packet) {
            runs.push(Vec::new());
        }
    }
    let sorted = |(pair, mut runs): (Vec<u8>, Vec<Vec<Vec<u8>>>)| {
        runs.iter_mut().for_each(|run| run.sort());
        (pair, runs.concat())
    };
    pairs.into_iter().map(sorted).collect()
}

/// The packet without what DF makes meaningless: identification and the checksum over it.
fn atomic(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[20..22] == [8, 0] && packet[28] & 0x40 != 0 {
        packet[26..28].fill(0);
        packet[32..34].fill(0);
    }
    packet
}
