//! Do any bytes in the journal's place mislead the daemon?
//!
//! Fuzzers do not find checksums, so the bytes are also taken as bodies of records, one a line,
//! and framed here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use weft_switch::ipam::{Ledger, Record, Uptime};
use weft_switch::runtime::journal::frame::{self, HEADER, ReadError};

/// The harness: `bytes` as the file, and as the JSON of its records.
///
/// # Panics
/// When a promise does not hold.
pub fn run(bytes: &[u8]) {
    file(bytes);
    let body = bytes.strip_prefix(HEADER).unwrap_or(bytes);
    let lines = body.split(|byte| *byte == b'\n');
    let records = lines.filter_map(|line| serde_json::from_slice(line).ok());
    let records: Vec<Record> = records.collect();
    let framed = frame::encode_file(&records).expect("short records");
    assert_eq!(frame::read(&framed).expect("our own").records, records);
    file(&framed);
    // Torn within what was durable, and behind it.
    if let Some(last) = framed.len().checked_sub(1).filter(|_| !records.is_empty()) {
        let torn = frame::read(&framed[..last]);
        assert!(matches!(torn, Err(ReadError::Damaged { .. })), "{torn:?}");
    }
    let longer = [&framed[..], &[0; 40]].concat();
    let read = frame::read(&longer).expect("the tail is no record");
    assert_eq!((read.records, read.length), (records, framed.len() as u64));
}

/// What is read of a file is read again from what it says, and makes a sound ledger.
fn file(bytes: &[u8]) {
    let Ok(read) = frame::read(bytes) else {
        return;
    };
    assert!(bytes.starts_with(HEADER));
    let length = usize::try_from(read.length).expect("within the bytes");
    let again = frame::read(&bytes[..length]).expect("the same records");
    assert_eq!(again, read);
    let written = frame::encode_file(&read.records).expect("records that were read");
    let again = frame::read(&written).expect("our own");
    assert_eq!(again.records, read.records);
    ledger(read.records);
}

fn ledger(records: Vec<Record>) {
    let mut ledger = empty();
    for record in records {
        let before = ledger.snapshot();
        if ledger.apply(record).is_err() {
            assert_eq!(
                ledger.snapshot(),
                before,
                "a refused record changes nothing"
            );
        }
    }
    let now = Uptime {
        boot: "now".to_owned(),
        nanos: 1,
    };
    for record in ledger.recover(&now) {
        ledger.apply(record).expect("what recovery wants applies");
    }
    assert!(ledger.iter().all(|holding| holding.committed));
    let addresses = ledger.iter().flat_map(|holding| {
        let own: BTreeSet<IpAddr> = holding.attachment.ips.iter().copied().collect();
        own
    });
    let mut owned = BTreeSet::new();
    for ip in addresses {
        assert!(owned.insert(ip), "{ip} has two owners");
    }
    for ip in ledger.choose(&[], &now).unwrap_or_default() {
        assert!(!owned.contains(&ip), "{ip} is held and free");
    }
    let mut again = empty();
    for record in ledger.snapshot() {
        again.apply(record).expect("a snapshot applies");
    }
    assert_eq!(again.snapshot(), ledger.snapshot());
}

fn empty() -> Ledger {
    let pools = ["10.0.0.0/28", "fd00::/64"].map(|text| text.parse().expect("a range"));
    Ledger::new(pools.to_vec(), &BTreeSet::new(), Duration::from_secs(60))
}

/// A journal with a record of every kind.
///
/// # Panics
/// Never: the records are whole.
#[must_use]
pub fn example() -> Vec<u8> {
    let texts = [
        r#"{"freed":{"ip":"10.0.0.3","at":{"boot":"a","nanos":7}}}"#,
        r#"{"reserve":{"identity":{"container_id":"c","ifname":"eth0"},"network":"n","namespace":"d","pod":"p","netns":[4,9],"boot":"a","ips":["10.0.0.2","fd00::2"],"mac":"02:00:00:00:00:01","mtu":1450,"backend":"fast"}}"#,
        r#"{"commit":{"container_id":"c","ifname":"eth0"}}"#,
        r#"{"release":{"identity":{"container_id":"c","ifname":"eth0"},"at":{"boot":"a","nanos":9}}}"#,
        r#"{"restart":{"at":{"boot":"b","nanos":1}}}"#,
    ];
    let records = texts.map(|text| serde_json::from_str(text).expect("a record"));
    frame::encode_file(&records).expect("short records")
}
