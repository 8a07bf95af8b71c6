//! Random lives of a node: the ledger does what a list of all addresses does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use weft_cni::daemon::Identity;

use super::super::{IpamError, Ledger, Record, Uptime};
use super::{COOL_DOWN, at, attachment, identity, ip};

const POOLS: [&str; 2] = ["10.0.0.0/29", "fd00::/125"];
const RESERVED: [&str; 2] = ["10.0.0.3", "fd00::2"];
/// What pods can have.
const ADDRESSES: [&str; 9] = [
    "10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6", "fd00::3", "fd00::4", "fd00::5", "fd00::6",
    "fd00::7",
];

#[derive(Clone, Debug)]
enum Step {
    Attach {
        name: u8,
        asked: Option<usize>,
        commit: bool,
    },
    Detach {
        name: u8,
    },
    Wait {
        seconds: u64,
    },
    /// The daemon starts again, perhaps with the host, perhaps with a clock that went back.
    Restart {
        reboot: bool,
        back: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..8u8, prop::option::weighted(0.3, 0..ADDRESSES.len()), any::<bool>())
            .prop_map(|(name, asked, commit)| Step::Attach { name, asked, commit }),
        4 => (0..8u8).prop_map(|name| Step::Detach { name }),
        3 => (0..50u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (any::<bool>(), 0..3u64).prop_map(|(reboot, back)| Step::Restart { reboot, back: back * 40 }),
    ]
}

#[derive(Clone, Debug)]
enum State {
    Never,
    Held(Identity),
    /// In which place since the start, and when.
    Released(usize, Uptime),
}

/// Every address with its state.
#[derive(Debug)]
struct Model {
    states: BTreeMap<IpAddr, State>,
    committed: BTreeMap<Identity, bool>,
    releases: usize,
}

impl Model {
    fn new() -> Self {
        Self {
            states: ADDRESSES
                .iter()
                .map(|text| (ip(text), State::Never))
                .collect(),
            committed: BTreeMap::new(),
            releases: 0,
        }
    }

    fn choose(&self, asked: Option<IpAddr>, now: &Uptime) -> Option<Vec<IpAddr>> {
        if let Some(asked) = asked {
            let held = matches!(self.states[&asked], State::Held(_));
            return (!held).then(|| vec![asked]);
        }
        let family = |v4: bool| {
            let of_family = || self.states.iter().filter(move |(ip, _)| ip.is_ipv4() == v4);
            let never = of_family().find(|(_, state)| matches!(state, State::Never));
            let rested = of_family().filter_map(|(ip, state)| match state {
                State::Released(place, since) if rested(since, now) => Some((place, ip)),
                _ => None,
            });
            never
                .map(|(ip, _)| *ip)
                .or_else(|| rested.min().map(|(_, ip)| *ip))
        };
        Some(vec![family(true)?, family(false)?])
    }

    fn release(&mut self, identity: &Identity, now: &Uptime) {
        self.committed.remove(identity);
        // A ledger frees the addresses of one attachment in this order, too.
        for state in self.states.values_mut() {
            if matches!(state, State::Held(holder) if holder == identity) {
                *state = State::Released(self.releases, now.clone());
                self.releases += 1;
            }
        }
    }

    fn restart(&mut self, now: &Uptime) {
        for state in self.states.values_mut() {
            if let State::Released(_, since) = state
                && (since.boot != now.boot || since.nanos > now.nanos)
            {
                *since = now.clone();
            }
        }
        let halves: Vec<Identity> = self
            .committed
            .iter()
            .filter(|(_, committed)| !**committed)
            .map(|(identity, _)| identity.clone())
            .collect();
        halves
            .iter()
            .for_each(|identity| self.release(identity, now));
    }
}

fn rested(since: &Uptime, now: &Uptime) -> bool {
    since.nanos + u64::try_from(COOL_DOWN.as_nanos()).unwrap() <= now.nanos
}

/// A ledger beside its model and all that was ever applied.
#[derive(Debug)]
struct World {
    ledger: Ledger,
    model: Model,
    history: Vec<Record>,
    now: Uptime,
    twice: bool,
}

fn empty() -> Ledger {
    super::ledger(&POOLS, &RESERVED)
}

impl World {
    fn new(twice: bool) -> Self {
        Self {
            ledger: empty(),
            model: Model::new(),
            history: Vec::new(),
            now: at("0", 100),
            twice,
        }
    }

    fn apply(&mut self, record: Record) {
        for _ in 0..=usize::from(self.twice) {
            self.ledger.apply(record.clone()).unwrap();
        }
        self.history.push(record);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Attach {
                name,
                asked,
                commit,
            } => self.attach(name, asked, commit),
            Step::Detach { name } => {
                let identity = identity(&name.to_string());
                self.model.release(&identity, &self.now);
                let at = self.now.clone();
                self.apply(Record::Release { identity, at });
            }
            Step::Wait { seconds } => self.now.nanos += seconds * 1_000_000_000,
            Step::Restart { reboot, back } => {
                if reboot {
                    self.now = at(&self.history.len().to_string(), 1);
                }
                self.now.nanos = self.now.nanos.saturating_sub(back * 1_000_000_000);
                for record in self.ledger.recover(&self.now) {
                    self.apply(record);
                }
                self.model.restart(&self.now);
            }
        }
    }

    fn attach(&mut self, name: u8, asked: Option<usize>, commit: bool) {
        let asked = asked.map(|number| ip(ADDRESSES[number]));
        let chosen = self.ledger.choose(asked.as_slice(), &self.now);
        assert_eq!(chosen.clone().ok(), self.model.choose(asked, &self.now));
        let name = name.to_string();
        let identity = identity(&name);
        if self.ledger.get(&identity).is_some() {
            return;
        }
        let Ok(ips) = chosen else { return };
        for ip in &ips {
            self.model.states.insert(*ip, State::Held(identity.clone()));
        }
        self.model.committed.insert(identity.clone(), commit);
        self.apply(Record::reserve(attachment(&name, ips)));
        if commit {
            self.apply(Record::Commit(identity));
        }
    }

    /// The ledger says of every address what the list says.
    fn compare(&self) {
        for (ip, state) in &self.model.states {
            let holder = match state {
                State::Held(holder) => Some(holder),
                _ => None,
            };
            assert_eq!(self.ledger.holder_of(*ip), holder, "{ip}");
        }
        let committed = self.ledger.iter().map(|holding| {
            let identity = holding.attachment.identity.clone();
            (identity, holding.committed)
        });
        assert_eq!(committed.collect::<BTreeMap<_, _>>(), self.model.committed);
        for usage in self.ledger.usage(&self.now) {
            let of_range = || {
                self.model
                    .states
                    .iter()
                    .filter(|(ip, _)| usage.range.contains(**ip))
            };
            let count = |wanted: fn(&State, &Uptime) -> bool| {
                of_range()
                    .filter(|(_, state)| wanted(state, &self.now))
                    .count() as u64
            };
            let held = count(|state, _| matches!(state, State::Held(_)));
            let cooling = count(
                |state, now| matches!(state, State::Released(_, since) if !rested(since, now)),
            );
            assert_eq!((usage.used, usage.cooling), (held, cooling));
            let total = of_range().count() as u128;
            assert_eq!(
                (usage.total, usage.free),
                (total, total - u128::from(held + cooling))
            );
            if let Err(IpamError::Exhausted {
                range,
                next_free_in,
                ..
            }) = self.ledger.choose(&[], &self.now)
                && range == usage.range
            {
                assert_eq!((usage.free, next_free_in.is_some()), (0, cooling > 0));
            }
        }
    }

    /// Both ways back lead to the same state.
    fn rebuild(&self) {
        for records in [&self.history, &self.ledger.snapshot()] {
            let mut again = empty();
            for record in records {
                again.apply(record.clone()).unwrap();
            }
            assert_eq!(again.snapshot(), self.ledger.snapshot());
            assert!(again.snapshot().len() <= again.snapshot_len());
            drain(again, self.ledger.clone(), &self.now);
        }
    }
}

/// Two ledgers of one state give the same addresses until nothing is left.
fn drain(mut one: Ledger, mut other: Ledger, now: &Uptime) {
    let mut now = now.clone();
    for number in 0..40 {
        let chosen = one.choose(&[], &now);
        assert_eq!(chosen, other.choose(&[], &now));
        match chosen {
            Ok(ips) => {
                let reserve = Record::reserve(attachment(&format!("d{number}"), ips));
                one.apply(reserve.clone()).unwrap();
                other.apply(reserve).unwrap();
            }
            Err(_) => now.nanos += 7_000_000_000,
        }
    }
}

proptest! {
    #[test]
    fn the_ledger_does_what_a_list_does(steps in prop::collection::vec(step(), 1..80), twice: bool) {
        let mut world = World::new(twice);
        for step in &steps {
            world.take(step);
            world.compare();
        }
        world.rebuild();
    }

    /// Records in an order that no daemon writes: no address has two holders, and a snapshot
    /// still makes the same ledger.
    #[test]
    fn no_order_of_records_breaks_a_ledger(choices in prop::collection::vec((0..5u8, 0..4u8, 0..9usize, 0..200u64), 1..60)) {
        let mut ledger = empty();
        for (kind, name, number, seconds) in choices {
            let (name, when) = (name.to_string(), at(&(seconds % 3).to_string(), seconds));
            let ips = [number, number + 4].map(|place| ip(ADDRESSES[place % 9])).to_vec();
            let record = match kind {
                0 | 1 => Record::reserve(attachment(&name, ips)),
                2 => Record::Release { identity: identity(&name), at: when },
                3 => Record::Freed { ip: ip(ADDRESSES[number]), at: when },
                _ => Record::Restart { at: when },
            };
            let before = ledger.snapshot();
            if ledger.apply(record).is_err() {
                prop_assert_eq!(ledger.snapshot(), before);
            }
            let held = ledger.iter().flat_map(|holding| &holding.attachment.ips);
            let mut held: Vec<IpAddr> = held.copied().collect();
            let count = held.len();
            held.sort();
            held.dedup();
            prop_assert_eq!(held.len(), count);
            let mut again = empty();
            for record in ledger.snapshot() {
                again.apply(record).unwrap();
            }
            prop_assert_eq!(again.snapshot(), ledger.snapshot());
        }
    }
}
