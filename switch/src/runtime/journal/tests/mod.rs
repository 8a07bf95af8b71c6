//! Literal bytes, damage, failing disks and real directories; [`cuts`] has the power cuts.

use super::frame::{self, HEADER, ReadError};
use super::simulated::Simulated;
use super::{Durability, Journal, JournalError};
use crate::ipam::tests::{at, attachment, identity, ip};
use crate::ipam::{Ledger, Record};

mod cuts;
mod files;

fn reserve(name: &str) -> Record {
    Record::reserve(attachment(name, vec![ip("10.0.0.2")]))
}

fn commit(name: &str) -> Record {
    Record::Commit(identity(name))
}

fn open(disk: &Simulated) -> (Journal, Vec<Record>) {
    Journal::on(Box::new(disk.clone())).unwrap()
}

#[test]
fn the_layout_is_the_documented_one() {
    let bytes = frame::encode_file(&[commit("a")]).unwrap();
    let json = br#"{"commit":{"container_id":"a","ifname":"eth0"}}"#;
    let durable = (bytes.len() as u64).to_le_bytes();
    let sum = |json: &[u8]| crc32fast::hash(&[&durable, json].concat()).to_le_bytes();
    let witness = [&[4, 0, 0, 0], &sum(b"null")[..], &durable, b"null"].concat();
    let expected = [&[47, 0, 0, 0], &sum(json)[..], &durable, json].concat();
    assert_eq!(bytes, [HEADER, &witness, &expected].concat());
    assert_eq!(
        crc32fast::hash(b"123456789"),
        0xcbf4_3926,
        "the CRC of Ethernet and gzip"
    );
}

#[test]
fn what_was_appended_is_read_again() {
    let disk = Simulated::default();
    let (mut journal, records) = open(&disk);
    assert!(records.is_empty() && journal.is_empty());
    let written = [reserve("a"), commit("a"), reserve("b")];
    for record in &written {
        journal.append(record, Durability::Cached).unwrap();
    }
    assert_eq!(journal.len(), disk.seen().unwrap().len() as u64);
    drop(journal);
    let (journal, records) = open(&disk);
    assert_eq!((records, journal.dropped()), (written.to_vec(), 0));
}

#[test]
fn a_torn_tail_is_cut_off_and_what_follows_is_sound() {
    let whole = frame::encode_file(&[reserve("a"), commit("a")]).unwrap();
    let tail = frame::encode(&reserve("b"), whole.len() as u64).unwrap();
    for cut in 1..tail.len() {
        let torn = [&whole[..], &tail[..cut]].concat();
        let disk = Simulated::with(Some(torn));
        let (mut journal, records) = open(&disk);
        assert_eq!((records.len(), journal.dropped()), (2, cut as u64));
        journal.append(&commit("c"), Durability::Synced).unwrap();
        drop(journal);
        let (journal, records) = open(&disk);
        assert_eq!(records, [reserve("a"), commit("a"), commit("c")]);
        assert_eq!(journal.dropped(), 0);
    }
}

/// Records of which all but the last were durable before it was written.
fn three() -> (Vec<u8>, usize) {
    let disk = Simulated::default();
    let (mut journal, _) = open(&disk);
    for record in [reserve("a"), commit("a")] {
        journal.append(&record, Durability::Synced).unwrap();
    }
    let durable = usize::try_from(journal.len()).unwrap();
    journal.append(&commit("b"), Durability::Cached).unwrap();
    (disk.seen().unwrap(), durable)
}

#[test]
fn damage_to_what_was_durable_is_refused_at_every_byte() {
    let (bytes, durable) = three();
    for at in 0..durable {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let error = Journal::on(Box::new(Simulated::with(Some(damaged)))).unwrap_err();
        match error {
            JournalError::NotAJournal(_) | JournalError::OtherVersion(_) => {
                assert!(at < HEADER.len(), "{at}");
            }
            JournalError::Damaged { offset, .. } => {
                assert!(offset <= at as u64 && at >= HEADER.len(), "{at}: {offset}");
            }
            other => panic!("{at}: {other}"),
        }
    }
    for at in durable..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert_eq!(frame::read(&damaged).unwrap().records.len(), 2, "{at}");
    }
}

#[test]
fn a_snapshot_that_lost_its_end_is_refused() {
    let witness = frame::encode_file(&[]).unwrap().len();
    let record = frame::encode(&commit("a"), 0).unwrap().len();
    for count in 1..=3 {
        let bytes = frame::encode_file(&vec![commit("a"); count]).unwrap();
        for length in witness..bytes.len() {
            let last = length - (length - witness) % record;
            let read = frame::read(&bytes[..length]);
            assert!(
                matches!(read, Err(ReadError::Damaged { offset }) if offset == last as u64),
                "{length} of {count}: {read:?}"
            );
        }
    }
}

#[test]
fn what_is_no_journal_of_this_version_is_refused() {
    let other = b"weft attachments, version 2\n".to_vec();
    let mut newer = frame::encode_file(&[commit("a")]).unwrap();
    let json = br#"{"teleport":{}}"#;
    let body = [&0_u64.to_le_bytes()[..], json].concat();
    newer.extend([15, 0, 0, 0]);
    newer.extend(crc32fast::hash(&body).to_le_bytes());
    newer.extend(body);
    let offset = newer.len() - 31;
    let cases = [
        (
            Vec::new(),
            "is not a journal of weft; move it away".to_owned(),
        ),
        (
            HEADER[..9].to_vec(),
            "is not a journal of weft; move it away".to_owned(),
        ),
        (
            b"{}".to_vec(),
            "is not a journal of weft; move it away".to_owned(),
        ),
        (
            other,
            "was written by another version of weft; start that version".to_owned(),
        ),
        (
            newer,
            format!("has an unknown record at byte {offset}: unknown variant `teleport`"),
        ),
    ];
    for (bytes, text) in cases {
        let error = Journal::on(Box::new(Simulated::with(Some(bytes)))).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.starts_with("/simulated/attachments.journal"),
            "{shown}"
        );
        assert!(shown.contains(&text), "{shown}");
    }
}

#[test]
fn a_record_that_does_not_fit_on_the_disk_leaves_no_trace() {
    let disk = Simulated::default();
    let (mut journal, _) = open(&disk);
    journal.append(&reserve("a"), Durability::Synced).unwrap();
    let before = disk.seen();
    disk.fail(0b1);
    let error = journal
        .append(&commit("a"), Durability::Synced)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("; make room on its file system"),
        "{error}"
    );
    assert_eq!((disk.seen(), journal.is_broken()), (before, false));
    journal.append(&commit("b"), Durability::Synced).unwrap();
    assert_eq!(open(&disk).1, [reserve("a"), commit("b")]);
}

#[test]
fn a_disk_in_doubt_takes_nothing_until_the_file_is_replaced() {
    // The append and the cut that should undo it; the sync.
    for (faults, records) in [(0b11, 1), (0b10, 2)] {
        let disk = Simulated::default();
        let (mut journal, _) = open(&disk);
        let mut ledger = Ledger::new(Vec::new(), &[].into(), std::time::Duration::ZERO);
        journal.append(&reserve("a"), Durability::Synced).unwrap();
        ledger.apply(reserve("a")).unwrap();
        disk.fail(faults);
        journal
            .append(&commit("a"), Durability::Synced)
            .unwrap_err();
        assert!(journal.is_broken());
        let error = journal
            .append(&commit("b"), Durability::Cached)
            .unwrap_err();
        assert!(matches!(error, JournalError::Broken(_)), "{error}");
        assert_eq!(
            frame::read(&disk.seen().unwrap()).unwrap().records.len(),
            records
        );
        // Staging, installing and making that durable fail, one after the other.
        for faults in [0b1, 0b10, 0b100] {
            disk.fail(faults);
            journal.compact_if_large(&ledger).unwrap_err();
            assert!(journal.is_broken(), "{faults}");
        }
        assert!(journal.compact_if_large(&ledger).unwrap());
        journal.append(&commit("b"), Durability::Synced).unwrap();
        assert_eq!(open(&disk).1, [reserve("a"), commit("b")]);
    }
}

#[test]
fn a_failed_replacement_leaves_a_sound_file_in_use() {
    let disk = Simulated::default();
    let (mut journal, _) = open(&disk);
    let ledger = Ledger::new(Vec::new(), &[].into(), std::time::Duration::ZERO);
    journal.append(&reserve("a"), Durability::Synced).unwrap();
    for faults in [0b1, 0b10] {
        disk.fail(faults);
        journal.compact(&ledger).unwrap_err();
        assert!(!journal.is_broken());
    }
    journal.append(&commit("a"), Durability::Synced).unwrap();
    assert_eq!(open(&disk).1, [reserve("a"), commit("a")]);
}

#[test]
fn a_disk_that_fails_at_the_start_is_reported() {
    // Read, stage, install, sync the directory.
    let new = [0b1, 0b10, 0b100, 0b1000].map(|faults| (None, faults));
    // Read; and without room for a copy cut, sync, sync the directory; or with a copy the syncs.
    let old = [0b1, 0b110, 0b1010, 0b1_0010, 0b1000, 0b1_0000];
    let old = old.map(|faults| (Some(torn()), faults));
    for (image, faults) in new.into_iter().chain(old) {
        let disk = Simulated::with(image.clone());
        disk.fail(faults);
        let opened = Journal::on(Box::new(disk));
        assert!(
            matches!(opened, Err(JournalError::Io { .. })),
            "{image:?} {faults:b}"
        );
    }
}

#[test]
fn a_full_disk_does_not_keep_the_daemon_from_starting() {
    for faults in [0b10, 0b100] {
        let disk = Simulated::with(Some(torn()));
        disk.fail(faults);
        let (mut journal, records) = open(&disk);
        assert_eq!((records, journal.dropped()), (vec![commit("a")], 3));
        journal.append(&commit("b"), Durability::Synced).unwrap();
        assert_eq!(open(&disk).1, [commit("a"), commit("b")]);
    }
}

fn torn() -> Vec<u8> {
    let mut bytes = frame::encode_file(&[commit("a")]).unwrap();
    bytes.extend([1, 2, 3]);
    bytes
}

#[test]
fn a_record_longer_than_any_is_refused_before_the_disk_sees_it() {
    let disk = Simulated::default();
    let (mut journal, _) = open(&disk);
    let long = Record::Commit(identity(&"x".repeat(frame::MAX_RECORD)));
    let error = journal.append(&long, Durability::Synced).unwrap_err();
    assert!(matches!(error, JournalError::TooLong(_)));
    assert_eq!(disk.seen(), frame::encode_file(&[]));
}

#[test]
fn the_file_stays_near_its_snapshot() {
    let disk = Simulated::default();
    let (mut journal, _) = open(&disk);
    let pool = "10.0.0.0/24".parse().unwrap();
    let mut ledger = Ledger::new(vec![pool], &[].into(), std::time::Duration::from_secs(60));
    let mut longest = 0;
    for second in 0..3000 {
        let now = at("first", second);
        let ips = ledger.choose(&[], &now).unwrap();
        let records = [
            Record::reserve(attachment("a", ips)),
            commit("a"),
            Record::Release {
                identity: identity("a"),
                at: now,
            },
        ];
        for record in records {
            journal.append(&record, Durability::Synced).unwrap();
            ledger.apply(record).unwrap();
        }
        journal.compact_if_large(&ledger).unwrap();
        longest = longest.max(journal.len());
    }
    let records = 2 * 253 + 1024 + 3;
    assert!(longest < records * 250, "{longest}");
    drop(journal);
    let mut again = Ledger::new(vec![pool], &[].into(), std::time::Duration::from_secs(60));
    open(&disk)
        .1
        .into_iter()
        .for_each(|record| again.apply(record).unwrap());
    assert_eq!(again.snapshot(), ledger.snapshot());
}
