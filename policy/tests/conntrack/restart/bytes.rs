//! Saved connections as bytes: what they are, and what becomes of others.

use proptest::prelude::*;
use weft_policy::ImportError;

use super::*;

/// One flow, byte by byte: what is written today must be readable by its version.
#[test]
fn the_format_is_this() {
    let old = table();
    established(&old);
    let bytes = old.export(NOW + Span::from_nanos(3));
    let mut expected = Vec::new();
    expected.extend(b"weftflow\x01\x00\x60\x00\x01\x00\x00\x00");
    expected.extend([2, 0, 1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([3, 0, 1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Ports 40,000 and 80; TCP; IPv4, initiator here; established; all numbers known.
    expected.extend([0x40, 0x9c, 80, 0, 6, 0b010, 2, 0b1111]);
    let numbers: [u32; 4] = [5_001, 1_001, 1_001, 5_501];
    numbers
        .iter()
        .for_each(|n| expected.extend(n.to_le_bytes()));
    for word in [3_u64, 2, 2, 2 * LENGTH, 2 * LENGTH] {
        expected.extend(word.to_le_bytes());
    }
    assert_eq!(bytes, expected);
}

#[test]
fn other_bytes_are_refused_as_a_whole() {
    let old = table();
    varied(&old);
    let saved = old.export(NOW);
    let edited = |at: usize, value: u8| {
        let mut bytes = saved.clone();
        bytes[at] = value;
        bytes
    };
    let version = ImportError::Version { found: 2, known: 1 };
    for (bytes, error) in [
        (vec![], ImportError::NotConnections),
        (saved[..15].to_vec(), ImportError::NotConnections),
        (edited(0, b'W'), ImportError::NotConnections),
        (edited(8, 2), version),
        (edited(10, 95), ImportError::NotConnections),
    ] {
        let new = successor_of(64, 64);
        assert_eq!(new.import(&bytes, LATER, owner_of), Err(error));
        assert!(new.is_empty());
    }
    assert_eq!(
        version.to_string(),
        "connections saved in format 2, this program reads format 1 only"
    );
}

#[test]
fn a_damaged_record_costs_itself_only() {
    let old = table();
    varied(&old);
    let saved = old.export(NOW);
    let all = old.len();
    let record = 16..112;
    for (what, at, value) in [
        ("an IPv4 address of more than four bytes", 4, 1),
        ("a protocol of another state", 36, 47),
        ("unknown flags", 37, 0xff),
        ("no end here", 37, 0),
        ("a state that is none", 38, 0x40),
        ("a TCP state that is none", 38, 7),
        ("unknown numbers", 39, 0x10),
    ] {
        let mut bytes = saved.clone();
        bytes[record.start + at] = value;
        let (new, count) = imported(&bytes);
        assert_eq!((count.imported, count.damaged), (all - 1, 1), "{what}");
        assert_eq!(new.len(), all - 1);
    }
    let (_, count) = imported(&saved[..saved.len() - 97]);
    assert_eq!((count.imported, count.damaged), (all - 2, 2), "torn");
    let (_, count) = imported(&[&saved[..], &saved[16..]].concat());
    assert_eq!(
        (count.imported, count.known),
        (all, 0),
        "bytes nobody promised"
    );
}

/// Saved bytes with some of them changed, cut or repeated.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let old = table();
    varied(&old);
    let saved = old.export(NOW);
    let len = saved.len();
    let changes = proptest::collection::vec((0..len, any::<u8>()), 0..40);
    let changed = (changes, 0..len + 1, 1..4_usize).prop_map(move |(changes, cut, times)| {
        let mut bytes = saved.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let (header, body) = bytes.split_at(16);
        let mut all = header.to_vec();
        all[12] = all[12].wrapping_mul(u8::try_from(times).unwrap());
        all.extend(body.repeat(times));
        all.truncate(cut.max(all.len() / 2));
        all
    });
    let noise = proptest::collection::vec(any::<u8>(), 0..400).prop_map(|noise| {
        let mut bytes = b"weftflow\x01\x00\x60\x00\xff\x00\x00\x00".to_vec();
        bytes.extend(noise);
        bytes
    });
    prop_oneof![
        changed,
        noise,
        proptest::collection::vec(any::<u8>(), 0..200)
    ]
}

proptest! {
    #[test]
    fn any_bytes_leave_a_sound_table(bytes in hostile(), owner in 0..20_u32) {
        let table = successor_of(64, 5);
        if let Ok(outcomes) = table.import(&bytes, LATER, |_| Some(owner)) {
            let ImportCount { imported, expired, gone, known, full, damaged } = outcomes;
            prop_assert_eq!(imported, count(&table));
            prop_assert!(imported <= 5);
            let whole = (bytes.len() - 16) / 96;
            let promised = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
            let promised = usize::try_from(promised).unwrap();
            prop_assert_eq!(imported + expired + gone + known + full + damaged, promised);
            prop_assert!(imported + expired + known + full <= whole);
        } else {
            prop_assert!(table.is_empty());
        }
        prop_assert!(listed(&table).iter().all(|flow| flow.seen <= LATER && flow.expires > LATER));
        let end = Moment::from_nanos(u64::MAX);
        let swept = table.expire(0, 1, usize::MAX, end);
        prop_assert_eq!(u64::try_from(swept).unwrap(), table.stats().created);
        prop_assert_eq!(count(&table), 0);
    }
}
