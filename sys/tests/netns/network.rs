//! A pod, its node and a host outside.

use weft_sys::netlink::route::{self, Route};
use weft_sys::sysctl;

use crate::support::Namespace;

/// The node's interface to its pods.
pub(crate) const POD_INTERFACE: &str = "weft0";

/// A pod, its node and a host outside: 10.9.0.2 - 10.9.0.1, 192.0.2.1 - 192.0.2.2 and .3.
pub(crate) struct Network {
    pub(crate) pod: Namespace,
    pub(crate) node: Namespace,
    pub(crate) outside: Namespace,
}

impl Network {
    pub(crate) fn new() -> Self {
        let (mut pod, mut node) = (Namespace::new(), Namespace::new());
        let mut outside = Namespace::new();
        node.join(POD_INTERFACE, &pod, "eth0");
        node.join("up0", &outside, "eth0");
        node.address(POD_INTERFACE, &[("10.9.0.1", 24), ("fd09::1", 64)]);
        node.address("up0", &[("192.0.2.1", 24), ("2001:db8::1", 64)]);
        node.run(|| {
            sysctl::set("net/ipv4/ip_forward", "1").unwrap();
            sysctl::set("net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        let in_pod = pod.address("eth0", &[("10.9.0.2", 24), ("fd09::2", 64)]);
        let addresses = [
            ("192.0.2.2", 24),
            ("192.0.2.3", 24),
            ("2001:db8::2", 64),
            ("2001:db8::3", 64),
        ];
        let in_outside = outside.address("eth0", &addresses);
        for (namespace, index, gateways) in [
            (&mut pod, in_pod, ["10.9.0.1", "fd09::1"]),
            (&mut outside, in_outside, ["192.0.2.1", "2001:db8::1"]),
        ] {
            for gateway in gateways {
                let default = Route::default_via(gateway.parse().unwrap(), index, false);
                route::ensure(&mut namespace.netlink, &default).unwrap();
            }
        }
        Self { pod, node, outside }
    }
}
