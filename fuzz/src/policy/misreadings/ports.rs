//! Misreadings of `ports`.

use weft_policy::model::{PortMatch, PortRange, Ports, Protocol};
use weft_policy::oracle::{Literal, Reading, View};

super::misreadings! {
    NoPortsMatchNothing {
        fn ports_match(&self, view: &View<'_>, ports: &Ports) -> bool {
            *ports != Ports::Any && Literal.ports_match(view, ports)
        }
    }
    NoPortsMatchTcpOnly {
        fn ports_match(&self, view: &View<'_>, ports: &Ports) -> bool {
            match ports {
                Ports::Any => view.question.protocol == Some(Protocol::Tcp),
                Ports::Of(_) => Literal.ports_match(view, ports),
            }
        }
    }
    NoPortsMatchNoIcmp {
        fn ports_match(&self, view: &View<'_>, ports: &Ports) -> bool {
            match ports {
                Ports::Any => view.question.protocol.is_some(),
                Ports::Of(_) => Literal.ports_match(view, ports),
            }
        }
    }
    IcmpPassesAnyPort {
        fn ports_match(&self, view: &View<'_>, ports: &Ports) -> bool {
            view.question.protocol.is_none() || Literal.ports_match(view, ports)
        }
    }
    IcmpHasPorts {
        fn port_matches(&self, view: &View<'_>, item: &PortMatch) -> bool {
            self.protocol_matches(view.question.protocol.or(Some(Protocol::Tcp)), item)
                && self.number_matches(view, item, view.question.port)
        }
    }
    AllPortsMustMatch {
        fn ports_match(&self, view: &View<'_>, ports: &Ports) -> bool {
            match ports {
                Ports::Any => true,
                Ports::Of(items) => items.iter().all(|item| self.port_matches(view, item)),
            }
        }
    }
    TheFirstPortOnly {
        fn ports_match(&self, view: &View<'_>, ports: &Ports) -> bool {
            match ports {
                Ports::Any => true,
                Ports::Of(items) => self.port_matches(view, &items[0]),
            }
        }
    }
    ProtocolsAreIgnored {
        fn protocol_matches(&self, protocol: Option<Protocol>, _: &PortMatch) -> bool {
            protocol.is_some()
        }
    }
    EveryProtocolIsTcp {
        fn protocol_matches(&self, protocol: Option<Protocol>, _: &PortMatch) -> bool {
            protocol == Some(Protocol::Tcp)
        }
    }
    SctpIsTcp {
        fn protocol_matches(&self, protocol: Option<Protocol>, item: &PortMatch) -> bool {
            let tcp = |protocol| match protocol {
                Protocol::Sctp => Protocol::Tcp,
                other => other,
            };
            protocol.map(tcp) == Some(tcp(item.protocol))
        }
    }
    NoPortIsEveryProtocol {
        fn protocol_matches(&self, protocol: Option<Protocol>, item: &PortMatch) -> bool {
            protocol == Some(item.protocol)
                || (protocol.is_some() && item.port == PortRange::Any)
        }
    }
    NoPortIsNoPort {
        fn number_matches(&self, view: &View<'_>, item: &PortMatch, port: u16) -> bool {
            item.port != PortRange::Any && Literal.number_matches(view, item, port)
        }
    }
    EndPortIsExclusive {
        fn number_matches(&self, view: &View<'_>, item: &PortMatch, port: u16) -> bool {
            match &item.port {
                PortRange::Numbers(first, last) if first < last => *first <= port && port < *last,
                _ => Literal.number_matches(view, item, port),
            }
        }
    }
    EndPortIsIgnored {
        fn number_matches(&self, view: &View<'_>, item: &PortMatch, port: u16) -> bool {
            match &item.port {
                PortRange::Numbers(first, _) => *first == port,
                _ => Literal.number_matches(view, item, port),
            }
        }
    }
    RangesBeginOneLate {
        fn number_matches(&self, view: &View<'_>, item: &PortMatch, port: u16) -> bool {
            match &item.port {
                PortRange::Numbers(first, last) if first < last => *first < port && port <= *last,
                _ => Literal.number_matches(view, item, port),
            }
        }
    }
    RangesAreOpenAtTheTop {
        fn number_matches(&self, view: &View<'_>, item: &PortMatch, port: u16) -> bool {
            match &item.port {
                PortRange::Numbers(first, last) if first < last => *first <= port,
                _ => Literal.number_matches(view, item, port),
            }
        }
    }
    NamesAreForAnyProtocol {
        fn name_matches(&self, view: &View<'_>, name: &str, _: Protocol, port: u16) -> bool {
            let destination = self.pod_at(view.cluster, view.question.to);
            destination.is_some_and(|pod| {
                let mut ports = pod.ports.iter();
                ports.any(|named| named.name == name && named.port == port)
            })
        }
    }
    NamesAreThoseOfTheSelectedPod {
        fn name_matches(&self, view: &View<'_>, name: &str, protocol: Protocol, port: u16) -> bool {
            view.pod.ports.iter().any(|named| {
                named.name == name && named.protocol == protocol && named.port == port
            })
        }
    }
    NamesAreThoseOfAnyPod {
        fn name_matches(&self, view: &View<'_>, name: &str, protocol: Protocol, port: u16) -> bool {
            let mut ports = view.cluster.pods.values().flat_map(|pod| &pod.ports);
            ports.any(|named| {
                named.name == name && named.protocol == protocol && named.port == port
            })
        }
    }
    NamesAreTheFirstContainers {
        fn name_matches(&self, view: &View<'_>, name: &str, protocol: Protocol, port: u16) -> bool {
            let destination = self.pod_at(view.cluster, view.question.to);
            destination.is_some_and(|pod| {
                let mut ports = pod.ports.iter();
                ports
                    .find(|named| named.name == name && named.protocol == protocol)
                    .is_some_and(|named| named.port == port)
            })
        }
    }
    UnknownNamesAreEveryPort {
        fn name_matches(&self, view: &View<'_>, name: &str, protocol: Protocol, port: u16) -> bool {
            let destination = self.pod_at(view.cluster, view.question.to);
            destination.is_none_or(|pod| {
                let is_meant = |named: &&weft_policy::model::NamedPort| {
                    named.name == name && named.protocol == protocol
                };
                let mut meant = pod.ports.iter().filter(is_meant).peekable();
                meant.peek().is_none() || meant.any(|named| named.port == port)
            })
        }
    }
    NamesOfPodsGoForAddressesThatAreNoPods {
        fn name_matches(&self, view: &View<'_>, name: &str, protocol: Protocol, port: u16) -> bool {
            match self.pod_at(view.cluster, view.question.to) {
                Some(_) => Literal.name_matches(view, name, protocol, port),
                None => true,
            }
        }
    }
}
