//! Which chains and rules does the table consist of?
//!
//! Owns their content and order. It never calls the kernel.
//!
//! - `guard`: packets that come by the pods' interface with a loopback address, to or from, are
//!   dropped before anything translates them, since `route_localnet` lets them pass.
//! - `prerouting`, `output`: host ports. Only what is addressed to this host is redirected, so
//!   that traffic routed through it to somebody else's port stays as it is.
//! - `postrouting`: a pod of this node, or the node by a loopback address, that came to a pod by a
//!   host port gets the node's address, or the answer would not pass the node to be translated
//!   back. Then the masquerading, its exclusions in front.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expression::{
    Expressions, Family, Side, came_by, drop_packet, is_family, is_for_this_host, leave, leaves_by,
    load_address, load_original_port, load_port, load_protocol, look_up, masquerade, redirect,
    was_redirected, within,
};
use super::forward::{Forwards, Sets};
use super::message::{Chain, Set, delete_table, new_chain, new_rule, new_set, new_table};
use super::{NatTable, Prefix};
use crate::error::Result;
use crate::netlink::Message;

const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_OUT: u32 = 3;
const NF_INET_POST_ROUTING: u32 = 4;

/// `NF_IP_PRI_RAW`: before connections are looked up.
const RAW_PRIORITY: i32 = -300;
/// `NF_IP_PRI_NAT_DST`: before everything that filters.
const DESTINATION_NAT_PRIORITY: i32 = -100;
/// `NF_IP_PRI_NAT_SRC`: after everything that filters.
const SOURCE_NAT_PRIORITY: i32 = 100;

const GUARD: Chain = Chain {
    name: "guard",
    kind: "filter",
    hook: NF_INET_PRE_ROUTING,
    priority: RAW_PRIORITY,
};
const PREROUTING: Chain = Chain {
    name: "prerouting",
    kind: "nat",
    hook: NF_INET_PRE_ROUTING,
    priority: DESTINATION_NAT_PRIORITY,
};
const OUTPUT: Chain = Chain {
    name: "output",
    kind: "nat",
    hook: NF_INET_LOCAL_OUT,
    priority: DESTINATION_NAT_PRIORITY,
};
const POSTROUTING: Chain = Chain {
    name: "postrouting",
    kind: "nat",
    hook: NF_INET_POST_ROUTING,
    priority: SOURCE_NAT_PRIORITY,
};

const LOOPBACK4: Prefix = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
const LOOPBACK6: Prefix = (IpAddr::V6(Ipv6Addr::LOCALHOST), 128);

/// The word at which the value of a lookup begins, behind the longest key.
const VALUE: u32 = 8;

/// The messages that put the table in place of one of that name.
pub(super) fn install(table: &NatTable) -> Result<Vec<Message>> {
    let mut build = Builder {
        table: &table.name,
        // Deleting a table that is not there would fail the transaction, so it is made first.
        messages: vec![
            new_table(&table.name),
            delete_table(&table.name),
            new_table(&table.name),
        ],
        sets: 0,
    };
    if let Some(interface) = &table.pod_interface {
        build.guard(interface);
    }
    let mut families = Vec::new();
    for family in Family::ALL {
        let sets = Forwards::of(family, &table.forwards)?.into_sets(family);
        families.extend(sets.map(|sets| (family, sets)));
    }
    build.forwards(&families);
    build.messages.push(new_chain(&table.name, POSTROUTING));
    if let Some(interface) = &table.pod_interface {
        for (family, sets) in &families {
            build.hairpins(*family, sets, interface, &table.sources);
        }
    }
    build.masquerade(table);
    Ok(build.messages)
}

struct Builder<'a> {
    table: &'a str,
    messages: Vec<Message>,
    sets: u32,
}

impl Builder<'_> {
    fn rule(&mut self, chain: Chain, fill: impl FnOnce(Expressions) -> Expressions) {
        self.messages.push(new_rule(self.table, chain, fill));
    }

    fn set(&mut self, set: &Set) {
        self.sets += 1;
        self.messages.extend(new_set(self.table, self.sets, set));
    }

    fn guard(&mut self, interface: &str) {
        self.messages.push(new_chain(self.table, GUARD));
        for side in [Side::Source, Side::Destination] {
            self.rule(GUARD, |list| {
                drop_packet(within(came_by(list, interface), side, LOOPBACK4))
            });
        }
    }

    fn forwards(&mut self, families: &[(Family, Sets)]) {
        if families.is_empty() {
            return;
        }
        self.messages.push(new_chain(self.table, PREROUTING));
        self.messages.push(new_chain(self.table, OUTPUT));
        // A packet with a loopback address cannot leave the host over IPv6, and none that came
        // from outside may reach one over IPv4.
        for (chain, loopback) in [
            (PREROUTING, LOOPBACK4),
            (PREROUTING, LOOPBACK6),
            (OUTPUT, LOOPBACK6),
        ] {
            self.rule(chain, |list| {
                leave(within(list, Side::Destination, loopback))
            });
        }
        for (family, sets) in families {
            self.set(&sets.by_address);
            self.set(&sets.by_port);
            self.set(&sets.pairs);
            for chain in [PREROUTING, OUTPUT] {
                self.rule(chain, |list| by_address(list, *family, &sets.by_address));
                self.rule(chain, |list| by_port(list, *family, &sets.by_port));
            }
        }
    }

    fn hairpins(&mut self, family: Family, sets: &Sets, interface: &str, sources: &[Prefix]) {
        let loopback = (family == Family::V4).then_some(&LOOPBACK4);
        for source in sources.iter().chain(loopback) {
            if source.0.is_ipv4() != (family == Family::V4) {
                continue;
            }
            self.rule(POSTROUTING, |list| {
                let list = within(leaves_by(list, interface), Side::Source, *source);
                masquerade(is_pair(was_redirected(list), family, &sets.pairs))
            });
        }
    }

    fn masquerade(&mut self, table: &NatTable) {
        for destination in &table.exclude_destinations {
            self.rule(POSTROUTING, |list| {
                leave(within(list, Side::Destination, *destination))
            });
        }
        for interface in &table.exclude_interfaces {
            self.rule(POSTROUTING, |list| leave(leaves_by(list, interface)));
        }
        for source in &table.sources {
            self.rule(POSTROUTING, |list| {
                masquerade(within(list, Side::Source, *source))
            });
        }
    }
}

fn by_port(list: Expressions, family: Family, map: &Set) -> Expressions {
    let list = is_for_this_host(is_family(list, family));
    let list = load_port(load_protocol(list, 0), 1);
    redirect(look_up(list, map.name, Some(VALUE)), family, VALUE)
}

fn by_address(list: Expressions, family: Family, map: &Set) -> Expressions {
    let behind = family.words();
    let list = is_for_this_host(is_family(list, family));
    let list = load_address(list, Side::Destination, family, 0);
    let list = load_port(load_protocol(list, behind), behind + 1);
    redirect(look_up(list, map.name, Some(VALUE)), family, VALUE)
}

/// The connection came to a host port and was led to its pod: other people's redirections, such
/// as those of Services, keep the source that policies judge.
fn is_pair(list: Expressions, family: Family, set: &Set) -> Expressions {
    let list = load_original_port(load_protocol(list, 0), 1);
    let list = load_address(list, Side::Destination, family, 2);
    let list = load_port(list, 2 + family.words());
    look_up(list, set.name, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{HostPort, Transport};

    fn table() -> NatTable {
        NatTable {
            name: "weft".to_owned(),
            sources: vec![
                ("10.0.1.0".parse().unwrap(), 24),
                ("fd00:1::".parse().unwrap(), 64),
            ],
            exclude_destinations: vec![("10.0.0.0".parse().unwrap(), 16)],
            exclude_interfaces: vec!["weft0".to_owned()],
            ..NatTable::default()
        }
    }

    #[test]
    fn every_prefix_and_interface_has_its_rule() {
        let messages = install(&table()).unwrap();
        assert_eq!(messages.len(), 4 + 4, "tables, chain and four rules");
    }

    #[test]
    fn the_number_of_rules_does_not_grow_with_the_ports() {
        let with = |count: u16| {
            let port = |number| HostPort {
                protocol: Transport::Udp,
                host_ip: None,
                host_port: 1000 + number,
                to: ("10.0.1.2".parse().unwrap(), 53),
            };
            let table = NatTable {
                forwards: (0..count).map(port).collect(),
                pod_interface: Some("weft0".to_owned()),
                ..table()
            };
            install(&table).unwrap().len()
        };
        assert_eq!(with(200), with(1), "one message of elements for each set");
        assert_eq!(with(1000), with(1) + 2 * 3, "four of them");
    }
}
