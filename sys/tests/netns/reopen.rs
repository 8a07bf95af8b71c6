//! A persistent TAP keeps a pod's configuration while nobody has it, and is taken up again.

use weft_sys::SysError;
use weft_sys::netlink::addr::{self, Address};
use weft_sys::netlink::link::{self, Tun};
use weft_sys::netlink::neigh::{self, Neighbor};
use weft_sys::netlink::route::{self, Route};
use weft_sys::tap::{self, TapConfig, TapError};

use crate::support::{Namespace, privileged};
use crate::tap::{MULTI, open, packet_socket, passes_frames};

const NAME: &str = "eth0";

/// What CHECK looks at.
#[derive(Debug, PartialEq)]
struct Configuration {
    mac: Option<[u8; 6]>,
    mtu: u32,
    kind: Option<String>,
    addresses: Vec<Address>,
    defaults: Vec<Route>,
    neighbors: Vec<Neighbor>,
}

fn configure(namespace: &mut Namespace) {
    let netlink = &mut namespace.netlink;
    let index = link::index_of(netlink, NAME).unwrap();
    let change = link::Change {
        mac: Some([2, 0, 0, 0, 0, 9]),
        mtu: Some(1450),
        ..link::Change::default()
    };
    link::change(netlink, index, &change).unwrap();
    let (ip, gateway) = ("10.9.0.2".parse().unwrap(), "169.254.1.1".parse().unwrap());
    addr::ensure(netlink, &Address::new(index, ip, 32)).unwrap();
    let neighbor = Neighbor {
        index,
        ip: gateway,
        mac: [2, 0x77, 0x65, 0x66, 0x74, 1],
    };
    neigh::ensure(netlink, &neighbor).unwrap();
    route::ensure(netlink, &Route::default_via(gateway, index, true)).unwrap();
}

fn configuration(namespace: &mut Namespace) -> Configuration {
    let netlink = &mut namespace.netlink;
    let link = link::get(netlink, NAME).unwrap().unwrap();
    Configuration {
        mac: link.mac,
        mtu: link.mtu,
        kind: link.kind,
        addresses: addr::list(netlink, Some(link.index)).unwrap(),
        defaults: route::list_default(netlink).unwrap(),
        neighbors: neigh::list(netlink).unwrap(),
    }
}

fn tun(namespace: &mut Namespace) -> Tun {
    let link = link::get(&mut namespace.netlink, NAME).unwrap().unwrap();
    link.tun.unwrap()
}

/// Opens, configures, keeps, drops, opens as `again`, and lets it go.
fn a_device_is_kept_and_taken_up(first: TapConfig, again: TapConfig) {
    let mut namespace = Namespace::new();
    let queues = open(&mut namespace, NAME, first);
    configure(&mut namespace);
    let configured = configuration(&mut namespace);
    assert_eq!(
        (configured.addresses.len(), configured.defaults.len()),
        (1, 1)
    );
    assert!(!queues[0].is_persistent().unwrap());
    queues[0].set_persist(true).unwrap();
    drop(queues);
    let left = link::get(&mut namespace.netlink, NAME).unwrap().unwrap();
    assert!(left.up && !left.carrier);
    assert!(tun(&mut namespace).persistent);
    assert_eq!(configuration(&mut namespace), configured);

    let queues = namespace.run(|| tap::open(Some(NAME), again)).unwrap();
    assert_eq!(queues.len(), again.queues);
    assert_eq!(queues[0].has_vnet(), again.vnet);
    assert!(queues[0].is_persistent().unwrap(), "opening ended it");
    let found = link::get(&mut namespace.netlink, NAME).unwrap().unwrap();
    assert!(found.up && found.carrier);
    assert_eq!(configuration(&mut namespace), configured);
    passes_frames(&queues, &packet_socket(&namespace, NAME));
    queues[0].set_persist(false).unwrap();
    drop(queues);
    assert_eq!(link::get(&mut namespace.netlink, NAME).unwrap(), None);
}

#[test]
fn a_multi_queue_tap_is_taken_up_with_any_number_of_queues() {
    if !privileged("a_multi_queue_tap_is_taken_up_with_any_number_of_queues") {
        return;
    }
    for queues in [1, 2, 4] {
        a_device_is_kept_and_taken_up(MULTI, TapConfig { queues, ..MULTI });
    }
}

#[test]
fn a_tap_is_taken_up_in_another_frame_format() {
    if !privileged("a_tap_is_taken_up_in_another_frame_format") {
        return;
    }
    let bare = TapConfig {
        vnet: false,
        ..MULTI
    };
    a_device_is_kept_and_taken_up(bare, MULTI);
    a_device_is_kept_and_taken_up(MULTI, bare);
}

#[test]
fn a_plain_tap_is_taken_up() {
    if !privileged("a_plain_tap_is_taken_up") {
        return;
    }
    a_device_is_kept_and_taken_up(TapConfig::PLAIN, TapConfig::PLAIN);
}

#[test]
fn a_device_that_somebody_has_is_left_to_him() {
    if !privileged("a_device_that_somebody_has_is_left_to_him") {
        return;
    }
    for config in [MULTI, TapConfig::PLAIN] {
        let mut namespace = Namespace::new();
        let queues = open(&mut namespace, NAME, config);
        let before = tun(&mut namespace);
        let error = namespace.run(|| tap::open(Some(NAME), config)).unwrap_err();
        assert!(!error.may_fall_back());
        let error = SysError::from(error);
        assert!(error.is_busy(), "{error}");
        assert!(error.to_string().contains("has it open"), "{error}");
        assert_eq!(tun(&mut namespace), before);
        passes_frames(&queues, &packet_socket(&namespace, NAME));
        if config == MULTI {
            for queue in &queues {
                queue.set_delivery(false).unwrap();
            }
            let error = namespace.run(|| tap::open(Some(NAME), config)).unwrap_err();
            assert!(SysError::from(error).is_busy(), "stopped queues count");
        }
    }
}

#[test]
fn another_kind_of_interface_is_named() {
    if !privileged("another_kind_of_interface_is_named") {
        return;
    }
    let mut namespace = Namespace::new();
    link::ensure_bridge(&mut namespace.netlink, NAME).unwrap();
    for config in [MULTI, TapConfig::PLAIN] {
        let error = namespace.run(|| tap::open(Some(NAME), config)).unwrap_err();
        assert!(matches!(error, TapError::Other(_)), "{error}");
        let error = SysError::from(error);
        assert!(error.is_exists(), "{error}");
        assert!(error.to_string().contains("bridge"), "{error}");
    }
    assert!(link::delete(&mut namespace.netlink, NAME).unwrap());

    let queues = open(&mut namespace, NAME, MULTI);
    queues[0].set_persist(true).unwrap();
    drop(queues);
    let plain = TapConfig::PLAIN;
    let error = namespace.run(|| tap::open(Some(NAME), plain)).unwrap_err();
    assert!(error.to_string().contains("it is multi-queue"), "{error}");
}

#[test]
fn a_device_can_be_made_persistent_by_opening_it() {
    if !privileged("a_device_can_be_made_persistent_by_opening_it") {
        return;
    }
    for config in [MULTI, TapConfig::PLAIN] {
        let mut namespace = Namespace::new();
        let stay = TapConfig {
            persist: true,
            ..config
        };
        let queues = open(&mut namespace, NAME, stay);
        assert!(queues.iter().all(|queue| queue.is_persistent().unwrap()));
        drop(queues);
        assert!(tun(&mut namespace).persistent);
    }
}
