//! Power cuts and failing disks: what was acknowledged is there afterwards, and nothing that
//! was not.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_cni::daemon::Identity;

use super::super::simulated::{Image, Simulated};
use super::super::{Durability, Journal, JournalError};
use crate::ipam::tests::{at, attachment, identity, ip};
use crate::ipam::{Attachment, Ledger, Record, Uptime};

const POOL: &str = "10.0.0.0/28";

#[derive(Clone, Debug)]
enum Step {
    Attach(u8),
    /// Dies between the two records.
    Reserve(u8),
    Detach(u8, Durability),
    Compact,
    Wait,
    /// The next of these operations of the disk fail.
    Fail(u64),
    /// The power is cut, which leaves one of the possible images.
    Cut(usize),
    /// The daemon is killed and starts again.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let durability = prop_oneof![Just(Durability::Cached), Just(Durability::Synced)];
    prop_oneof![
        6 => (0..5u8).prop_map(Step::Attach),
        1 => (0..5u8).prop_map(Step::Reserve),
        4 => (0..5u8, durability).prop_map(|(name, durability)| Step::Detach(name, durability)),
        1 => Just(Step::Compact),
        1 => Just(Step::Wait),
        2 => (0..8u8, 0..8u8).prop_map(|(one, other)| Step::Fail(1 << one | 1 << other)),
        1 => any::<usize>().prop_map(Step::Cut),
        1 => Just(Step::Kill),
    ]
}

/// What a caller knows of an attachment.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    /// Its commit was acknowledged, and nobody has asked to release it since.
    Attached(Box<Attachment>),
    /// Its release was acknowledged as synced, or it never was.
    Gone,
    /// Either, since something failed or was not synced.
    Unknown,
}

struct Daemon {
    disk: Simulated,
    journal: Journal,
    ledger: Ledger,
    known: BTreeMap<Identity, Known>,
    now: Uptime,
}

fn empty() -> Ledger {
    let pool = POOL.parse().unwrap();
    Ledger::new(vec![pool], &[].into(), std::time::Duration::from_secs(60))
}

/// What a daemon makes of an image, without its own records.
fn replay(image: Image) -> Ledger {
    let (_, records) = Journal::on(Box::new(Simulated::with(image))).unwrap();
    let mut ledger = empty();
    for record in records {
        ledger.apply(record).unwrap();
    }
    ledger
}

impl Daemon {
    fn new() -> Self {
        let disk = Simulated::default();
        let (journal, records) = Journal::on(Box::new(disk.clone())).unwrap();
        assert_eq!(records, []);
        Self {
            disk,
            journal,
            ledger: empty(),
            known: BTreeMap::new(),
            now: at("0", 10),
        }
    }

    fn write(&mut self, record: Record, durability: Durability) -> Result<(), JournalError> {
        if durability == Durability::Synced {
            // The moment before the sync is the worst; `append` syncs without a pause.
            self.journal.append(&record, Durability::Cached)?;
            self.check_images();
            self.journal.sync()?;
        } else {
            self.journal.append(&record, durability)?;
        }
        self.ledger.apply(record).unwrap();
        Ok(())
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Attach(name) => self.attach(name, true),
            Step::Reserve(name) => self.attach(name, false),
            Step::Detach(name, durability) => self.detach(name, durability),
            // One that fails is tried again by the next step.
            Step::Compact => drop(self.journal.compact(&self.ledger)),
            Step::Wait => self.now.nanos += 25_000_000_000,
            Step::Fail(faults) => self.disk.fail(faults),
            Step::Cut(choice) => {
                let images = self.disk.images();
                let image = images[choice % images.len()].clone();
                self.restart(image, true);
            }
            Step::Kill => self.restart(self.disk.seen(), false),
        }
        self.check_images();
    }

    fn attach(&mut self, name: u8, commit: bool) {
        let identity = identity(&name.to_string());
        if self.journal.compact_if_large(&self.ledger).is_err()
            || self.ledger.get(&identity).is_some()
        {
            return;
        }
        let ips = self.ledger.choose(&[], &self.now).unwrap();
        let attachment = attachment(&name.to_string(), ips);
        self.known.insert(identity.clone(), Known::Unknown);
        let reserve = Record::reserve(attachment.clone());
        if self.write(reserve, Durability::Cached).is_err() || !commit {
            return;
        }
        let commit = Record::Commit(identity.clone());
        if self.write(commit, Durability::Synced).is_ok() {
            self.known
                .insert(identity, Known::Attached(Box::new(attachment)));
        }
    }

    fn detach(&mut self, name: u8, durability: Durability) {
        let identity = identity(&name.to_string());
        if self.ledger.get(&identity).is_none() {
            return;
        }
        self.known.insert(identity.clone(), Known::Unknown);
        let release = Record::Release {
            identity: identity.clone(),
            at: self.now.clone(),
        };
        if self.write(release, durability).is_ok() && durability == Durability::Synced {
            self.known.insert(identity, Known::Gone);
        }
    }

    /// A new daemon on what the old one left; what happened is known afterwards.
    fn restart(&mut self, image: Image, reboot: bool) {
        if reboot {
            self.disk = Simulated::with(image);
            self.now = at(&(self.now.nanos % 1000 + 1).to_string(), 1);
        }
        self.disk.fail(0);
        let (journal, records) = Journal::on(Box::new(self.disk.clone())).unwrap();
        (self.journal, self.ledger) = (journal, empty());
        for record in records {
            self.ledger.apply(record).unwrap();
        }
        for record in self.ledger.recover(&self.now) {
            self.write(record, Durability::Cached).unwrap();
        }
        self.journal.sync().unwrap();
        for (identity, known) in &mut self.known {
            if *known == Known::Unknown {
                *known = match self.ledger.get(identity) {
                    Some(holding) => Known::Attached(Box::new(holding.attachment.clone())),
                    None => Known::Gone,
                };
            }
        }
    }

    /// Whatever a power cut leaves now, the next daemon knows what was acknowledged.
    fn check_images(&self) {
        for image in self.disk.images() {
            let ledger = replay(image);
            for (identity, known) in &self.known {
                let found = ledger.get(identity);
                match known {
                    Known::Attached(attachment) => {
                        let found = found.expect("an acknowledged attachment is lost");
                        assert_eq!((&found.attachment, found.committed), (&**attachment, true));
                    }
                    Known::Gone => assert_eq!(found, None, "a released attachment is back"),
                    Known::Unknown => {}
                }
            }
            self.check_addresses(ledger);
        }
    }

    /// After the start on that image every address has one owner, rests or is free.
    fn check_addresses(&self, mut ledger: Ledger) {
        let now = at("after the cut", 1);
        for record in ledger.recover(&now) {
            ledger.apply(record).unwrap();
        }
        let owned = ledger.iter().flat_map(|holding| &holding.attachment.ips);
        let mut owned: Vec<_> = owned.copied().collect();
        assert!(ledger.iter().all(|holding| holding.committed));
        owned.sort();
        let count = owned.len() as u64;
        owned.dedup();
        assert_eq!(owned.len() as u64, count, "two owners");
        let usage = &ledger.usage(&now)[0];
        assert_eq!((usage.total, usage.used), (13, count));
        assert_eq!(usage.free + u128::from(usage.cooling + usage.used), 13);
        // Released for certain, so that it must rest in the new boot, unless somebody has it.
        for (ip, _) in ledger.snapshot().iter().filter_map(freed) {
            assert!(ledger.holder_of(ip).is_none());
        }
        let later = at("after the cut", 61);
        let usage = &ledger.usage(&later)[0];
        assert_eq!(usage.free, 13 - u128::from(count), "an address is lost");
    }
}

fn freed(record: &Record) -> Option<(std::net::IpAddr, &Uptime)> {
    match record {
        Record::Freed { ip, at } => Some((*ip, at)),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_cut_and_no_fault_loses_what_was_acknowledged(
        steps in prop::collection::vec(step(), 1..16),
    ) {
        let mut daemon = Daemon::new();
        for step in &steps {
            daemon.take(step);
        }
    }
}

/// As many sectors in doubt as are tried in every combination.
#[test]
fn every_subset_of_twelve_sectors() {
    let mut daemon = Daemon::new();
    daemon.take(&Step::Attach(0));
    let mut images = 0;
    for name in 1.. {
        let count = daemon.disk.images().len();
        if count > 4096 {
            break;
        }
        images = count;
        daemon.take(&Step::Reserve(name));
        daemon.take(&Step::Detach(name, Durability::Cached));
    }
    assert!(images > 1000, "{images}");
    daemon.take(&Step::Attach(0));
}

/// The kernel shows the next daemon what a failed sync has left unwritten for good.
#[test]
fn a_failed_sync_is_not_believed_after_a_restart() {
    let mut daemon = Daemon::new();
    // Two appends succeed, the sync does not.
    daemon.take(&Step::Fail(0b100));
    daemon.take(&Step::Attach(0));
    assert!(daemon.journal.is_broken());
    daemon.take(&Step::Kill);
    assert!(matches!(daemon.known[&identity("0")], Known::Attached(_)));
    daemon.take(&Step::Attach(1));
}

/// A released address that is known to be released rests in full after the cut.
#[test]
fn a_rest_survives_the_cut() {
    let mut daemon = Daemon::new();
    daemon.take(&Step::Attach(0));
    daemon.take(&Step::Detach(0, Durability::Synced));
    for image in daemon.disk.images() {
        let mut ledger = replay(image);
        let start = at("next", 5);
        for record in ledger.recover(&start) {
            ledger.apply(record).unwrap();
        }
        assert_eq!(ledger.usage(&at("next", 64))[0].cooling, 1);
        assert_eq!(ledger.usage(&at("next", 65))[0].cooling, 0);
        assert_eq!(ledger.choose(&[], &start).unwrap(), [ip("10.0.0.3")]);
    }
}
