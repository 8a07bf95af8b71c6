//! Literal cases of the ledger, and what they share with the comparison in [`model`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_cni::daemon::Identity;

use super::{Attachment, Conflict, IpamError, Ledger, Record, Uptime};

mod model;

const COOL_DOWN: Duration = Duration::from_secs(60);

pub(crate) fn identity(name: &str) -> Identity {
    Identity {
        container_id: name.to_owned(),
        ifname: "eth0".to_owned(),
    }
}

pub(crate) fn attachment(name: &str, ips: Vec<IpAddr>) -> Attachment {
    Attachment {
        identity: identity(name),
        network: "weft".to_owned(),
        namespace: "default".to_owned(),
        pod: name.to_owned(),
        uid: String::new(),
        netns_path: format!("/run/netns/{name}"),
        netns: (4, 4_026_532_000),
        boot: "first".to_owned(),
        ips,
        delegated: false,
        mac: "02:77:65:66:74:02".to_owned(),
        mtu: 1450,
        backend: "fast".to_owned(),
        ports: Vec::new(),
        bandwidth: None,
    }
}

/// Seconds after the boot named `boot`.
pub(crate) fn at(boot: &str, seconds: u64) -> Uptime {
    Uptime {
        boot: boot.to_owned(),
        nanos: seconds * 1_000_000_000,
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ledger(pools: &[&str], reserved: &[&str]) -> Ledger {
    let pools = pools.iter().map(|text| text.parse().unwrap()).collect();
    let reserved = reserved.iter().map(|text| ip(text)).collect();
    Ledger::new(pools, &reserved, COOL_DOWN)
}

impl Ledger {
    /// Chooses, reserves and commits.
    fn attach(&mut self, name: &str, now: &Uptime) -> Result<Vec<IpAddr>, IpamError> {
        let ips = self.choose(&[], now)?;
        self.apply(Record::reserve(attachment(name, ips.clone())))
            .unwrap();
        self.apply(Record::Commit(identity(name))).unwrap();
        Ok(ips)
    }

    fn detach(&mut self, name: &str, now: &Uptime) {
        let identity = identity(name);
        let at = now.clone();
        self.apply(Record::Release { identity, at }).unwrap();
    }
}

#[test]
fn both_families_start_after_the_gateway() {
    let mut ledger = ledger(&["10.244.1.0/24", "fd00:1::/64"], &[]);
    let now = at("first", 1);
    assert_eq!(
        ledger.attach("a", &now),
        Ok(vec![ip("10.244.1.2"), ip("fd00:1::2")])
    );
    assert_eq!(
        ledger.attach("b", &now),
        Ok(vec![ip("10.244.1.3"), ip("fd00:1::3")])
    );
    assert_eq!(ledger.holder_of(ip("fd00:1::3")), Some(&identity("b")));
    assert!(ledger.get(&identity("a")).unwrap().committed);
}

#[test]
fn one_range_gives_one_address_and_none_gives_none() {
    let now = at("first", 1);
    let v6 = ledger(&["fd00:1::/64"], &["fd00:1::2", "fd00:1::3"]);
    assert_eq!(v6.choose(&[], &now), Ok(vec![ip("fd00:1::4")]));
    assert_eq!(ledger(&[], &[]).choose(&[], &now), Err(IpamError::NoRange));
}

#[test]
fn asked_addresses_are_judged() {
    let mut ledger = ledger(&["10.244.1.0/24", "fd00:1::/126"], &["10.244.1.9"]);
    let now = at("first", 1);
    ledger.attach("a", &now).unwrap();
    let cases: [(&[&str], Result<(), &str>); 13] = [
        (&["10.244.1.200"], Ok(())),
        (&["10.244.1.254", "fd00:1::3"], Ok(())),
        (&["10.244.1.0"], Err("is no pod's address")),
        (&["10.244.1.1"], Err("is no pod's address")),
        (&["10.244.1.255"], Err("is no pod's address")),
        (&["fd00:1::"], Err("is no pod's address")),
        (&["fd00:1::1"], Err("is no pod's address")),
        (&["10.244.1.9"], Err("is reserved")),
        (
            &["10.244.2.9"],
            Err("not in this node's ranges (10.244.1.0/24, fd00:1::/126)"),
        ),
        (&["::ffff:10.244.1.7"], Err("not in this node's ranges")),
        (
            &["10.244.1.2"],
            Err("held by interface eth0 of container a"),
        ),
        (
            &["10.244.1.7", "fd00:1::2"],
            Err("held by interface eth0 of container a"),
        ),
        (&["10.244.1.7", "10.244.1.8"], Err("are of one family")),
    ];
    for (asked, expected) in cases {
        let asked: Vec<IpAddr> = asked.iter().map(|text| ip(text)).collect();
        match (ledger.choose(&asked, &now), expected) {
            (Ok(given), Ok(())) => assert_eq!(given, asked),
            (Err(error), Err(part)) => {
                let text = error.to_string();
                assert!(
                    text.contains(part) && text.contains("; "),
                    "{asked:?}: {text}"
                );
            }
            (given, _) => panic!("{asked:?}: {given:?}"),
        }
    }
}

#[test]
fn a_released_address_rests_and_asking_for_it_overrides() {
    let mut ledger = ledger(&["10.244.1.0/30"], &[]);
    let given = ledger.attach("a", &at("first", 1)).unwrap();
    ledger.detach("a", &at("first", 10));
    let exhausted = ledger.choose(&[], &at("first", 69)).unwrap_err();
    assert_eq!(
        exhausted.to_string(),
        "10.244.1.0/30 has no free address: 0 held, 1 resting after use, the next is free in 1 s; \
         delete pods, or give the node a larger range in node.pod_cidrs"
    );
    assert_eq!(ledger.choose(&given, &at("first", 69)), Ok(given.clone()));
    assert_eq!(ledger.choose(&[], &at("first", 70)), Ok(given));
}

#[test]
fn a_full_range_names_no_time() {
    let mut ledger = ledger(&["10.244.1.0/30", "fd00:1::/64"], &[]);
    let now = at("first", 1);
    ledger.attach("a", &now).unwrap();
    let range = "10.244.1.0/30".parse().unwrap();
    let (used, cooling, next_free_in) = (1, 0, None);
    let expected = IpamError::Exhausted {
        range,
        used,
        cooling,
        next_free_in,
    };
    assert_eq!(ledger.choose(&[], &now), Err(expected));
}

#[test]
fn never_given_comes_first_then_released_first() {
    let mut ledger = ledger(&["10.244.1.0/29"], &["10.244.1.4"]);
    for (name, second) in [("a", 1), ("b", 2), ("c", 3)] {
        ledger.attach(name, &at("first", second)).unwrap();
    }
    for (name, second) in [("b", 4), ("a", 5), ("c", 6)] {
        ledger.detach(name, &at("first", second));
    }
    let late = at("first", 1000);
    let order: Vec<_> = ["d", "e", "f", "g"]
        .map(|name| ledger.attach(name, &late).unwrap())
        .concat();
    assert_eq!(
        order,
        ["10.244.1.6", "10.244.1.3", "10.244.1.2", "10.244.1.5"].map(ip)
    );
}

#[test]
fn a_rest_begins_anew_after_a_reboot_and_a_clock_that_went_back() {
    for (boot, seconds) in [("second", 5), ("first", 30)] {
        let mut ledger = ledger(&["10.244.1.0/30"], &[]);
        let given = ledger.attach("a", &at("first", 1)).unwrap();
        ledger.detach("a", &at("first", 100));
        let start = at(boot, seconds);
        let records = ledger.recover(&start);
        assert_eq!(records, [Record::Restart { at: start.clone() }]);
        records
            .into_iter()
            .for_each(|record| ledger.apply(record).unwrap());
        assert_eq!(ledger.recover(&start), []);
        assert!(ledger.choose(&[], &at(boot, seconds + 59)).is_err());
        assert_eq!(ledger.choose(&[], &at(boot, seconds + 60)), Ok(given));
    }
}

#[test]
fn a_restart_in_the_same_boot_shortens_no_rest_and_lengthens_none() {
    let mut ledger = ledger(&["10.244.1.0/30"], &[]);
    let given = ledger.attach("a", &at("first", 1)).unwrap();
    ledger.detach("a", &at("first", 100));
    assert_eq!(ledger.recover(&at("first", 150)), []);
    assert!(ledger.choose(&[], &at("first", 159)).is_err());
    assert_eq!(ledger.choose(&[], &at("first", 160)), Ok(given));
}

#[test]
fn what_was_not_finished_is_released() {
    let mut ledger = ledger(&["10.244.1.0/29"], &[]);
    ledger.attach("whole", &at("first", 1)).unwrap();
    let half = attachment("half", vec![ip("10.244.1.3")]);
    ledger.apply(Record::reserve(half)).unwrap();
    let now = at("first", 2);
    let release = Record::Release {
        identity: identity("half"),
        at: now.clone(),
    };
    assert_eq!(ledger.recover(&now), [release]);
    ledger.detach("half", &now);
    assert_eq!(ledger.iter().count(), 1);
    assert_eq!(ledger.usage(&now)[0].cooling, 1);
}

#[test]
fn records_that_contradict_change_nothing() {
    let mut ledger = ledger(&["10.244.1.0/29"], &[]);
    ledger.attach("a", &at("first", 1)).unwrap();
    let before = ledger.snapshot();
    let taken = attachment("b", vec![ip("10.244.1.3"), ip("10.244.1.2")]);
    let conflict = Conflict::Held {
        ip: ip("10.244.1.2"),
        by: identity("a"),
    };
    assert_eq!(ledger.apply(Record::reserve(taken)), Err(conflict));
    let moved = attachment("a", vec![ip("10.244.1.3")]);
    assert_eq!(
        ledger.apply(Record::reserve(moved)),
        Err(Conflict::Attached(identity("a")))
    );
    ledger.apply(Record::Commit(identity("b"))).unwrap();
    ledger.detach("b", &at("first", 2));
    assert_eq!(ledger.snapshot(), before);
}

#[test]
fn other_facts_of_an_attachment_may_change() {
    let mut ledger = ledger(&["10.244.1.0/29"], &[]);
    let ips = ledger.attach("a", &at("first", 1)).unwrap();
    let changed = Attachment {
        mtu: 1400,
        ..attachment("a", ips)
    };
    ledger.apply(Record::reserve(changed.clone())).unwrap();
    let holding = ledger.get(&identity("a")).unwrap();
    assert_eq!((&holding.attachment, holding.committed), (&changed, true));
}

#[test]
fn addresses_of_another_plugin_are_held_wherever_they_are() {
    let mut ledger = ledger(&["10.244.1.0/29"], &[]);
    let now = at("first", 1);
    let ips = vec![ip("10.244.1.2"), ip("192.0.2.7")];
    let foreign = Attachment {
        delegated: true,
        ..attachment("a", ips)
    };
    ledger.apply(Record::reserve(foreign)).unwrap();
    assert_eq!(ledger.holder_of(ip("192.0.2.7")), Some(&identity("a")));
    assert_eq!(ledger.choose(&[], &now), Ok(vec![ip("10.244.1.3")]));
    ledger.detach("a", &now);
    assert_eq!(ledger.holder_of(ip("192.0.2.7")), None);
    let again = Attachment {
        delegated: true,
        ..attachment("b", vec![ip("10.244.1.2")])
    };
    assert_eq!(
        ledger.apply(Record::reserve(again)),
        Ok(()),
        "the other plugin needs no rest"
    );
}

#[test]
fn a_range_that_changed_keeps_its_holders() {
    let mut old = ledger(&["10.244.1.0/29"], &[]);
    old.attach("a", &at("first", 1)).unwrap();
    old.attach("b", &at("first", 1)).unwrap();
    old.detach("b", &at("first", 2));
    let mut new = ledger(&["10.244.2.0/29"], &["10.244.2.2"]);
    old.snapshot()
        .into_iter()
        .for_each(|record| new.apply(record).unwrap());
    assert_eq!(new.holder_of(ip("10.244.1.2")), Some(&identity("a")));
    assert_eq!(new.choose(&[], &at("first", 3)), Ok(vec![ip("10.244.2.3")]));
    new.detach("a", &at("first", 4));
    assert_eq!(new.snapshot(), []);
    let usage = &new.usage(&at("first", 4))[0];
    assert_eq!(
        (usage.total, usage.used, usage.cooling, usage.free),
        (4, 0, 0, 4)
    );
}

#[test]
fn a_large_range_does_not_remember_every_pod() {
    let mut ledger = ledger(&["fd00:1::/64"], &[]);
    for second in 0..20_000 {
        let now = at("first", second);
        ledger.attach("a", &now).unwrap();
        ledger.detach("a", &now);
    }
    assert!(ledger.snapshot_len() <= 1025, "{}", ledger.snapshot_len());
    let [usage] = &ledger.usage(&at("first", 20_000))[..] else {
        panic!("one range");
    };
    assert_eq!((usage.used, usage.cooling), (0, 59));
    assert_eq!(usage.total, (1 << 64) - 2);
    assert_eq!(usage.free, usage.total - 59);
}

#[test]
fn ranges_too_small_for_a_pod_are_exhausted() {
    for range in [
        "10.0.0.0/31",
        "10.0.0.0/32",
        "fd00::/127",
        "255.255.255.255/32",
        "fd00::/128",
    ] {
        let chosen = ledger(&[range], &[]).choose(&[], &at("first", 1));
        assert!(
            matches!(chosen, Err(IpamError::Exhausted { .. })),
            "{range}: {chosen:?}"
        );
    }
}

#[test]
fn every_address_of_a_range_is_given_once() {
    let mut ledger = ledger(&["10.0.0.0/24"], &[]);
    let now = at("first", 1);
    let given: BTreeSet<IpAddr> = (0..253)
        .flat_map(|number| ledger.attach(&number.to_string(), &now).unwrap())
        .collect();
    let range: IpNetwork = "10.0.0.0/24".parse().unwrap();
    let expected = range.iter().skip(2).take(253).collect();
    assert_eq!(given, expected);
    assert!(ledger.choose(&[], &now).is_err());
}

#[test]
fn records_have_the_documented_form() {
    let texts = [
        (
            Record::Commit(identity("a")),
            r#"{"commit":{"container_id":"a","ifname":"eth0"}}"#,
        ),
        (
            Record::Release {
                identity: identity("a"),
                at: at("first", 1),
            },
            r#"{"release":{"identity":{"container_id":"a","ifname":"eth0"},"at":{"boot":"first","nanos":1000000000}}}"#,
        ),
        (
            Record::Freed {
                ip: ip("fd00::2"),
                at: at("first", 0),
            },
            r#"{"freed":{"ip":"fd00::2","at":{"boot":"first","nanos":0}}}"#,
        ),
        (
            Record::Restart { at: at("first", 0) },
            r#"{"restart":{"at":{"boot":"first","nanos":0}}}"#,
        ),
        (
            Record::reserve(attachment("a", vec![ip("10.0.0.2")])),
            r#"{"reserve":{"identity":{"container_id":"a","ifname":"eth0"},"network":"weft","namespace":"default","pod":"a","netns_path":"/run/netns/a","netns":[4,4026532000],"boot":"first","ips":["10.0.0.2"],"delegated":false,"mac":"02:77:65:66:74:02","mtu":1450,"backend":"fast"}}"#,
        ),
    ];
    for (record, text) in texts {
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record);
    }
}
